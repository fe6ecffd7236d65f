"""``mmal report`` reads files: it needs neither torch nor a detector."""
import os
import subprocess
import sys

import pytest

from mmal.commands import main
from mmal.fileio import write_json
from mmal.pool import Pool
from mmal.reporting import Curve, Record

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
