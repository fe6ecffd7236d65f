"""Overlap and shift of uncertainties on a whole run, and their tools."""
import os
import shutil

import numpy as np
import pytest
import torch
from helpers.mdn_runs import learn, mdn_config, tool
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData

from mmal.analysis.finished_round import find_round, rounds_of, trained_rounds
from mmal.analysis.uncertainty import (
    UNCERTAINTIES,
    ShiftAnalysis,
    reduced,
    selection_overlap,
    shift_tables,
)
from mmal.engine import round_config
from mmal.scores import Scores
from mmal.scoring import ScoringData, Split
from mmal.scoring.detections.predict import detect

pytestmark = pytest.mark.run
SHIFT = ShiftAnalysis(score_thr=0.1, progress=False)


@pytest.fixture(autouse=True)
def keep_scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp('mdn'))
    return learn(mdn_config(folder), os.path.join(folder, 'work'))


def numbers(table):
    return np.array([[float(c) for c in row[1:]] for row in table.rows])


def test_rounds_are_found(run, tmp_path):
    assert rounds_of(run) == trained_rounds(run) == [0, 1]
    assert find_round(run).number == find_round(run, -1).number == 1
    chosen = find_round(run, 0).selected()
    labelled = find_round(run, 1).labelled().ids
    assert len(chosen) == 3 and set(chosen) < set(labelled)
    assert find_round(run, 1).selected() == []
    for number in (2, -3):
        with pytest.raises(FileNotFoundError, match='it has the rounds 0, 1'):
            find_round(run, number)
    with pytest.raises(FileNotFoundError, match='no work folder of a run'):
        find_round(str(tmp_path))
    os.makedirs(tmp_path / 'round_00')
    with pytest.raises(FileNotFoundError, match='is trained yet'):
        find_round(str(tmp_path))
    with pytest.raises(FileNotFoundError, match='has no whole checkpoint'):
        shutil.copy(
            os.path.join(run, 'round_00', 'config.py'), tmp_path / 'round_00')
        find_round(str(tmp_path), 0).model()


def test_model_of_a_round_has_its_weights(run):
    model, cfg = find_round(run, 1).model()
    path = os.path.join(run, 'round_01', 'epoch_2.pth')
    weights = torch.load(path, weights_only=False)['state_dict']
    found = model.state_dict()
    assert found.keys() == weights.keys() and not model.training
    assert all(torch.equal(found[k].cpu(), v) for k, v in weights.items())
    assert cfg.work_dir.endswith('round_01')


def test_overlap_against_the_columns(run):
    scores = Scores.load(os.path.join(run, 'round_00', 'scores.npz'))
    chosen = []
    for name in UNCERTAINTIES:
        values = scores.columns[f'{name}_max']
        order = sorted(
            range(len(scores)),
            key=lambda i: (-values[i], scores.tiebreak[i]))
        chosen.append({scores.ids[i] for i in order[:3]})
    expected = [[100 * len(a & b) / 3 for b in chosen] for a in chosen]
    table = selection_overlap(run)
    np.testing.assert_array_equal(numbers(table), np.round(expected))
    assert '3 (round 0, pool of 8; 38 by chance)' in table.title
    assert (numbers(selection_overlap(run, 0, 8)) == 100).all()


@pytest.mark.parametrize('kwargs, message', [
    (dict(n=9), 'cannot choose 9 images of the 8'),
    (dict(n=0), 'cannot choose 0 images'),
    (dict(number=1), 'round 1 of .* has made no query'),
])
def test_overlap_names_mistakes(run, kwargs, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        selection_overlap(run, **kwargs)


def test_overlap_says_what_is_empty(run, tmp_path):
    """Images without detections are chosen by the tiebreak alone."""
    work = tmp_path / 'work'
    os.makedirs(work / 'round_00')
    n = 6
    seen = np.array([1.0, 2.0] + [-np.inf] * 4)
    Scores(
        list(range(n)), np.zeros(n), np.arange(n) / n,
        dict(box_aleatoric_max=seen, cls_aleatoric_max=seen[::-1])).save(
            str(work / 'round_00' / 'scores.npz'))
    table = selection_overlap(str(work), 0, 3)
    assert 'only 2 images have detections' in table.title
    # {1, 0, 2} and {4, 5, 0}
    assert numbers(table).tolist() == [[100, 33], [33, 100]]
    Scores([1], np.zeros(1), np.zeros(1)).save(
        str(work / 'round_00' / 'scores.npz'))
    with pytest.raises(ValueError, match='MixtureUncertaintyScorer'):
        selection_overlap(str(work), 0, 1)


def test_a_model_agrees_with_itself(run):
    last = find_round(run)
    table = SHIFT.by_data(last, last)
    first, second, change = table.rows
    assert first[1:] == second[1:] and first[1] != '0'
    assert set(change[2:]) <= {'+0%', '-0%', '–'}
    assert f'over {first[1]} detections in common' in table.title


def test_means_are_those_of_the_detections(run):
    """The model with itself has all its detections in common."""
    this = find_round(run)
    model, cfg = this.model()
    val = dict(cfg.val_dataloader.dataset,
               pipeline=round_config.test_pipeline(cfg))
    data = ScoringData(dict(val=Split(val, labels=False)), batch_size=2,
                       num_workers=0, progress=False)
    values = []
    for batch in data.batches('val', model):
        for found in detect(model, batch):
            sure = found[found.scores >= 0.1]
            values += [[
                float(sure.box_aleatoric[i].max()),
                float(sure.box_epistemic[i].max()),
                float(sure.cls_aleatoric[i]),
                float(sure.cls_epistemic[i])
            ] for i in range(len(sure))]
    row = SHIFT.by_data(this, this).rows[0]
    assert row[1] == str(len(values)) != '0'
    np.testing.assert_allclose([float(c) for c in row[2:]],
                               np.mean(values, 0), rtol=1e-2)


def test_tables_do_not_depend_on_batches(run):
    rounds = [find_round(run, n) for n in (0, 1)]
    for folder in (r.folder.path for r in rounds):
        assert 'batch_size=2' in open(os.path.join(folder, 'config.py')).read()
    before = shift_tables(SHIFT, run)
    assert len(before) == 2 and 'round 0, 4 images' in before[0].text()
    assert [t.text() for t in shift_tables(SHIFT, run, [0, 1])] == [
        t.text() for t in before]
    texts = [t.text() for t in before]
    for this in rounds:
        path = this.folder.config
        with open(path) as f:
            text = f.read()
        with open(path, 'w') as f:
            f.write(text.replace('batch_size=2', 'batch_size=5'))
    assert [t.text() for t in shift_tables(SHIFT, run)] == texts


def test_noise_depends_on_its_seed_alone(run):
    last = find_round(run)
    table = SHIFT.by_noise(last, 0.01)
    assert table.text() == SHIFT.by_noise(last, 0.01).text()
    other = ShiftAnalysis(score_thr=0.1, seed=1, progress=False)
    assert table.rows[1] != other.by_noise(last, 0.01).rows[1]
    faint = SHIFT.by_noise(last, 1e-9)  # rounds to the same pixels
    assert faint.rows[0][1:] == faint.rows[1][1:]


def test_nothing_in_common(run):
    analysis = ShiftAnalysis(score_thr=1.0, progress=False)
    table = analysis.by_data(find_round(run, 0), find_round(run, 1))
    assert 'over 0 detections' in table.title
    assert [row[2:] for row in table.rows] == [('–', ) * 4] * 3


def test_nothing_to_compare(run):
    with pytest.raises(ValueError, match='nothing to compare'):
        shift_tables(SHIFT, run, [1], 0)


def test_detector_without_uncertainties(tmp_path):
    from helpers.runs import make_config
    config = make_config(
        str(tmp_path),
        active_learning=dict(rounds=1, scorer=dict(type='mmal.RandomScorer')))
    plain = learn(config, str(tmp_path / 'work'))
    with pytest.raises(ValueError, match='FCOS in .* carry no uncertainty'):
        SHIFT.by_noise(find_round(plain), 0.01)


def test_boxes_are_reduced_to_their_largest_value():
    found = InstanceData(
        box_aleatoric=torch.tensor([[1., 4, 2, 3], [8, 5, 6, 7]]),
        cls_epistemic=torch.tensor([0.5, 0.25]))
    names = ['box_aleatoric', 'cls_epistemic']
    assert reduced(found, names).tolist() == [[4, 0.5], [8, 0.25]]
    assert reduced(InstanceData(), names).shape == (0, 2)


def test_overlap_tool(run, tmp_path, capsys):
    main = tool('analysis', 'uncertainty_overlap.py').main
    path = str(tmp_path / 'overlap.csv')
    assert main([run, '--round', '0', '-n', '5', '--save', path]) == 0
    assert 'percent of 5' in capsys.readouterr().out
    with open(path) as f:
        assert f.readline() == ',' + ','.join(
            u.replace('_', ' ') for u in UNCERTAINTIES) + '\n'
    assert main([run, '-n', '99']) == 1
    assert 'cannot choose 99' in capsys.readouterr().err


def test_shift_tool(run, tmp_path, capsys):
    main = tool('analysis', 'uncertainty_shift.py').main
    path = str(tmp_path / 'shift.md')
    assert main([run, '--rounds', '0', '1', '--noise', '0.02', '--score-thr',
                 '0.1', '--save', path]) == 0
    out = capsys.readouterr().out
    assert 'More training data' in out and 'Noise N(0, 0.02), round 1' in out
    with open(path) as f:
        assert f.read().count('| change |') == 2
    with pytest.raises(SystemExit):
        main([run, '--noise', '-1'])
    assert "--noise: '-1' is no number of at least 0" in \
        capsys.readouterr().err
