"""``mmal report`` reads files: it needs neither torch nor a detector."""
import errno
import os
import subprocess
import sys

import pytest

from mmal.commands import main
from mmal.fileio import write_json
from mmal.pool import Pool
from mmal.reporting import Curve, Record, report

WITHOUT = '''
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition('.')[0] in ('torch', 'mmengine', 'mmcv', 'mmdet'):
            raise ModuleNotFoundError(f'{name} is blocked', name=name)
sys.meta_path.insert(0, Blocker())
'''
CODE = '''
import sys
from mmal.commands import main
status = main(sys.argv[1:])
loaded = {'torch', 'mmengine', 'mmcv', 'mmdet'} & set(sys.modules)
sys.exit(f'{loaded} was imported' if loaded else status)
'''


@pytest.fixture
def runs(tmp_path):
    """Work folders of two methods with two seeds each."""
    runs = []
    for name, scorer, last in (('isal', 'isal', .4), ('random', 'random', .2)):
        for seed in (0, 1):
            runs.append(str(tmp_path / f'{name}_{seed}'))
            Curve([Record(r, 10 * r + 10, 30 * r + 30,
                          {'coco/bbox_mAP': v})
                   for r, v in enumerate((.1, last))],
                  'rounds').save(os.path.join(runs[-1], 'curve.json'))
            write_json(os.path.join(runs[-1], 'identity.json'), {
                'active_learning.scorer.type': scorer,
                'active_learning.seed': seed})
    return runs


def test_the_report_is_made_without_torch_and_mmdet(runs, tmp_path):
    printed = []
    # where they are installed nobody imports them; where not, nobody must
    for code in (CODE, WITHOUT + CODE):
        out = tmp_path / f'out_{len(printed)}'
        done = subprocess.run(
            [sys.executable, '-c', code, 'report', *runs, '--out', str(out)],
            text=True, capture_output=True)
        assert done.returncode == 0, done.stderr
        assert (out / 'curves.png').stat().st_size > 1000
        printed.append(done.stdout.replace(str(out), 'OUT'))
    assert printed[0] == printed[1]
    assert any(line.split()[:1] == ['isal'] and '0.400' in line.split()
               for line in printed[0].splitlines())


def read(run):
    with open(os.path.join(run, 'report.html'), encoding='utf-8') as f:
        return f.read()


def test_pages_are_made_again_with_a_tab_to_compare(runs, capsys):
    assert main(['report', *runs, '--against', 'random']) == 0
    assert capsys.readouterr().out.splitlines()[-4:] == [
        os.path.join(run, 'report.html') for run in runs]
    for run in runs:
        page = read(run)
        assert 'id="tab-compare"' in page
        assert 'paired by seed' in page and 'mean and spread' not in page
    assert main(['report', runs[0]]) == 0
    assert 'id="tab-compare"' not in read(runs[0])


def test_pages_may_be_left_as_they_are(runs):
    assert main(['report', *runs, '--no-page']) == 0
    assert not any(os.path.exists(os.path.join(run, 'report.html'))
                   for run in runs)


def test_a_run_that_has_no_curve_yet_has_a_page(runs, tmp_path, capsys):
    begun = str(tmp_path / 'begun')
    pool = Pool([1, 2])
    pool.commit([1])
    pool.save(os.path.join(begun, 'state.json'), config_hash='', seed=0)
    assert main(['report', begun, runs[0]]) == 0
    assert f'{begun} has no finished round yet.' in capsys.readouterr().out
    assert 'No round is finished yet.' in read(begun)
    assert main(['report', begun]) == 0


def test_a_classifier_needs_no_metric_named(tmp_path, capsys):
    run = str(tmp_path / 'run')
    Curve([Record(0, 10, 10, {'accuracy/top1': 0.7})], 'rounds').save(
        os.path.join(run, 'curve.json'))
    assert main(['report', run, '--no-page']) == 0
    assert '0.700' in capsys.readouterr().out


def test_a_page_that_cannot_be_written_does_not_stop_the_others(
        runs, capsys, monkeypatch):
    """A disk that fills up, as the writing of files words it, and a folder
    in the place of the page."""
    os.mkdir(os.path.join(runs[1], 'report.html'))
    write_text = report.write_text

    def full(path, text):
        if path.startswith(runs[0]):
            raise OSError(errno.ENOSPC, f'No space left while writing {path}. '
                          'Run the same command with --resume')
        write_text(path, text)

    monkeypatch.setattr(report, 'write_text', full)
    assert main(['report', *runs]) == 0
    assert all(os.path.isfile(os.path.join(run, 'report.html'))
               for run in runs[2:])
    lines = [line for line in capsys.readouterr().err.splitlines()
             if line.startswith('no page for')]
    assert len(lines) == 2 and all('--no-page' in line for line in lines)
    for run, line, reason in zip(runs, lines, ('No space left on device',
                                               'Is a directory')):
        assert line.startswith(f'no page for {run}: {reason} ({run}/')
        assert '--resume' not in line


def test_tables_that_nothing_can_be_made_of_are_said(tmp_path, capsys):
    begun, out = str(tmp_path / 'begun'), tmp_path / 'out'
    pool = Pool([1, 2])
    pool.commit([1])
    pool.save(os.path.join(begun, 'state.json'), config_hash='', seed=0)
    assert main(['report', begun, '--out', str(out)]) == 0
    assert not out.exists()
    assert f'nothing is written to {out}: no run has a finished round' in (
        capsys.readouterr().err)
