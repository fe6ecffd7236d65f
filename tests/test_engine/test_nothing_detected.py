"""A run whose detector finds nothing, which must not look like a success."""
import json
import os

import pytest
from helpers.forks import ROOT
from helpers.runs import SELECT, TRAIN, make_config, succeed

from mmal.reporting import Curve, MergedCurve, Run

SCORER = dict(type='mmal.DetectionEntropyScorer')
pytestmark = pytest.mark.run


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """The finished process, its config and its work folder."""
    folder = str(tmp_path_factory.mktemp('nothing'))
    config = make_config(
        folder,
        model=dict(test_cfg=dict(score_thr=0.999)),
        active_learning=dict(scorer=SCORER, rounds=2))
    work_dir = os.path.join(folder, 'work')
    return succeed(TRAIN, config, '--work-dir', work_dir), config, work_dir


def read(*path):
    with open(os.path.join(*path)) as f:
        return f.read()


def test_the_console_says_so(run):
    said = run[0].stdout + run[0].stderr
    assert 'selected 3 images' in said and '3 of them drawn at random' in said
    end = said[said.index('Round 1'):]
    assert 'No query chose an image by its score' in end
    assert 'all rounds are done' in end


def test_the_files_say_so(run):
    selected = json.loads(read(run[2], 'round_00', 'selected.json'))
    assert selected['by_score'] == 0 and 'at random' in selected['note']
    first, last = json.loads(read(run[2], 'curve.json'))['rounds']
    assert first['by_score'] == 0 and 'by_score' not in last
    page = read(run[2], 'report.html')
    assert 'No query chose an image by its score' in page
    assert '<th>by score</th>' in page and '<td>0%</td>' in page


def test_its_ap_is_zero_and_merged(run):
    curve = Curve.load(run[2])
    for name in ('AP', 'AP50', 'AP75'):
        assert [r.value(name) for r in curve.records] == [0, 0]
    assert MergedCurve('nothing', [Run('nothing', curve)]).last.value.mean == 0
    done = succeed(os.path.join(ROOT, 'tools', 'al_report.py'), run[2])
    assert '0.000' in done.stdout


def test_a_single_query_says_so(run, tmp_path):
    done = succeed(
        SELECT, run[1], os.path.join(run[2], 'round_01', 'epoch_2.pth'),
        '--labelled', os.path.join(run[2], 'round_01', 'labelled.json'),
        '--out-dir', tmp_path)
    assert '3 images' in done.stdout
    assert '3 of them drawn at random' in done.stdout
    assert 'nothing was detected' in done.stdout + done.stderr
    assert json.loads(read(tmp_path, 'selected.json'))['by_score'] == 0
