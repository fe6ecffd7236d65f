"""The steps of tools/gpu_check.sh: what fails or hangs costs its own rows."""
import importlib.util
import json
import os
import os.path as osp
import re
import subprocess
import sys

import pytest
from helpers import pretended_gpu
from helpers.forks import ROOT

PATH = osp.join(ROOT, 'tools', 'gpu', 'check.py')
GOOD = ['-c', 'print("## " + \'{"name": "a", "value": 1}\'); print("done")']
BAD = ['-c', 'print("## " + \'{"name": "b"}\', flush=True); 1 / 0']
# a child of its own must end, too
HANGS = ['-c', 'import subprocess, sys; print("## " + \'{"name": "c"}\', '
               'flush=True); subprocess.run([sys.executable, "-c", '
               '"import time; time.sleep(600)"])']


@pytest.fixture
def check(monkeypatch):
    spec = importlib.util.spec_from_file_location('gpu_check', PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(check, monkeypatch, folder, steps, *arguments):
    monkeypatch.setattr(check, 'steps', lambda: steps)
    monkeypatch.setattr(sys, 'argv', ['check.py', str(folder), *arguments])
    code = check.main()
    return code, json.loads((folder / 'report.json').read_text())


def test_a_step_that_fails_or_hangs_costs_its_own_rows(
        check, monkeypatch, tmp_path):
    code, report = run(check, monkeypatch, tmp_path, dict(
        hangs=(HANGS, 2), bad=(BAD, 60), good=(GOOD, 60)))
    steps = report['steps']
    assert code == 1 and report['failed'] == ['hangs', 'bad']
    # two seconds, and more on a busy machine
    assert re.fullmatch(r'stopped after \d+ s', steps['hangs']['status'])
    assert steps['hangs']['figures'] == [dict(name='c')]
    assert steps['bad']['status'] == 'failed with 1'
    assert 'ZeroDivisionError' in steps['bad']['last']
    assert 'Traceback' in steps['bad']['tail']
    assert steps['good'] == dict(
        status='ok', seconds=steps['good']['seconds'], last='done',
        figures=[dict(name='a', value=1)])
    assert (tmp_path / 'good.log').read_text().endswith('done\n')


def test_without_a_gpu_nothing_else_is_tried(check, monkeypatch, tmp_path):
    code, report = run(check, monkeypatch, tmp_path, dict(
        environment=(BAD, 60), good=(GOOD, 60)))
    assert code == 1 and list(report['steps']) == ['environment']


def test_time_is_shared(check, monkeypatch, tmp_path):
    code, report = run(check, monkeypatch, tmp_path, dict(
        hangs=(HANGS, 60), good=(GOOD, 60)), '--minutes', '0.1')
    assert re.fullmatch(r'stopped after \d+ s',
                        report['steps']['hangs']['status'])
    assert report['steps']['good']['status'] == 'no time left'
    assert code == 1


def test_steps_that_were_named(check, monkeypatch, tmp_path):
    steps = dict(bad=(BAD, 60), good=(GOOD, 60))
    code, report = run(check, monkeypatch, tmp_path, steps, '--steps', 'good')
    assert code == 0 and list(report['steps']) == ['good']
    with pytest.raises(SystemExit, match='no step xyz, but bad, good'):
        run(check, monkeypatch, tmp_path, steps, '--steps', 'xyz')


def test_files_of_something_else_are_left_alone(check, monkeypatch, tmp_path):
    (tmp_path / 'report.json').write_text('{"mine": 1}')
    with pytest.raises(SystemExit, match='give a new folder'):
        run(check, monkeypatch, tmp_path, dict(good=(GOOD, 60)))
    assert (tmp_path / 'report.json').read_text() == '{"mine": 1}'
    assert [p.name for p in tmp_path.iterdir()] == ['report.json']


def test_every_step_is_there(check):
    for name, (command, limit) in check.steps().items():
        assert limit > 0
        if command[0].endswith('.py'):
            assert osp.isfile(command[0]), name


@pytest.mark.cuda
@pytest.mark.run
@pytest.mark.parametrize('step', ['claims', 'runs', 'speed'])
def test_rehearsal(tmp_path, step):
    """The script runs to its end on the pretended GPU."""
    if not pretended_gpu.is_on():
        pytest.skip('only a pretended GPU is rehearsed on')
    # the tests are the other step, and would come by here again
    done = subprocess.run(
        ['bash', osp.join(ROOT, 'tools', 'gpu_check.sh'), str(tmp_path),
         '--minutes', '30', '--steps', 'environment', step],
        capture_output=True, text=True,
        env=dict(os.environ, PYTHON=sys.executable, MMAL_PRETEND_GPU='1'))
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    report = json.loads((tmp_path / 'report.json').read_text())
    assert report['pretended'] and report['failed'] == []
    rows = {row['name']: row for row in report['steps'][step]['figures']}
    assert not any('error' in row for row in rows.values())
    if step == 'claims':
        assert rows['scores of isal']['same_order_at_batch_1']
        assert rows['random tensors']['masks_equal']
    elif step == 'runs':
        assert rows['killed and resumed, deterministic']['same_images']
    else:
        assert rows['FCOS-R50, GradScorer']['waits_an_image'] <= 2
        assert rows['FCOS-R50, predict']['waits_an_image'] <= 20
        assert rows['FCOS-R50, InfluenceScorer']['waits_an_image'] <= 30
        assert rows['Faster R-CNN-R50, predict']['waits_an_image'] <= 20
