"""Whole runs in which labelled images compete with the unlabelled ones."""
import copy
import os
from collections import Counter

import numpy as np
import pytest
from helpers.forks import fork_two
from helpers.runs import (
    LAUNCHER,
    SELECT,
    ids_of,
    make_config,
    rounds_of,
    succeeded,
)
from helpers.tiny import tiny_config
from mmengine.config import Config
from mmengine.registry import DATASETS
from mmengine.runner.loops import EpochBasedTrainLoop

from mmal.commands.select import load_model
from mmal.engine import ActiveLearner
from mmal.engine.inputs import read_inputs
from mmal.engine.query_result import QueryResult
from mmal.engine.single_query import query_once
from mmal.fileio import read_json, write_json
from mmal.pool import LabelsPending, draw_initial
from mmal.reporting import Curve, round_table
from mmal.scores import Scores
from mmal.selection import TopN

pytestmark = pytest.mark.run
ALL = dict(scorer=dict(type='mmal.RandomScorer'), candidates='all')


def read(*path):
    return read_json(os.path.join(*map(str, path)))


def images_of(path):
    return [i['id'] for i in read(path)['images']]


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """A config and the folder of a run that nobody killed."""
    folder = str(tmp_path_factory.mktemp('whole'))
    config = make_config(folder, active_learning=ALL)
    work_dir = os.path.join(folder, 'work')
    learner(config, work_dir).run()
    return config, work_dir


def load(config, work_dir, rounds=3):
    cfg = Config.fromfile(config)
    cfg.work_dir = str(work_dir)
    cfg.active_learning.rounds = rounds
    return cfg


def learner(config, work_dir, rounds=3, **kwargs):
    return ActiveLearner(load(config, work_dir, rounds), **kwargs)


def test_a_round_labels_its_budget_and_takes_better_ones_again(whole):
    _, work_dir = whole
    rounds = rounds_of(work_dir)
    assert [len(r['ids']) for r in rounds] == [4, 3, 3]
    done = set(rounds[0]['ids'])
    for number, chosen in enumerate(rounds[1:]):
        scores = Scores.load(
            os.path.join(work_dir, f'round_{number:02d}', 'scores.npz'))
        assert len(scores) == 12  # labelled ones too
        order = [scores.ids[n] for n in np.argsort(-scores.values)]
        new = [i for i in order if i not in done]
        assert chosen['ids'] == new[:3]
        before = order[:order.index(new[2])]
        assert chosen.get('reselected', []) == [i for i in before if i in done]
        done |= set(chosen['ids'])
    assert any('reselected' in r for r in rounds)


def test_all_images_are_scored(whole):
    scores = Scores.load(os.path.join(whole[1], 'round_01', 'scores.npz'))
    assert len(scores) == 12


def test_training_repeats_what_was_taken_again(whole, mmdet_scope):
    _, work_dir = whole
    rounds = rounds_of(work_dir)
    for number in range(3):
        folder = os.path.join(work_dir, f'round_{number:02d}')
        expected = Counter(
            i for r in rounds[:number + 1]
            for i in (*r['ids'], *r.get('reselected', ())))
        assert sorted(images_of(os.path.join(folder, 'labelled.json'))) == \
            sorted(expected)
        cfg = Config.fromfile(os.path.join(folder, 'config.py'))
        data = DATASETS.build(cfg.train_dataloader.dataset)
        found = Counter(
            data.get_data_info(i)['img_id'] for i in range(len(data)))
        assert found == expected


def test_unique_images_and_boxes_are_reported(whole):
    _, work_dir = whole
    rounds = rounds_of(work_dir)
    again = np.cumsum([len(r.get('reselected', ())) for r in rounds])
    curve = Curve.load(work_dir)
    assert [r.images for r in curve.records] == [4, 7, 10]
    assert [r.reselected for r in curve.records] == again.tolist()
    boxes = [len(read(work_dir, f'round_{n:02d}', 'labelled.json')
                 ['annotations']) for n in range(3)]
    assert [r.boxes for r in curve.records] == boxes
    for n in range(2):  # what a query reports is what comes new
        chosen = read(work_dir, f'round_{n:02d}', 'selected.json')
        assert chosen['boxes'] == boxes[n + 1] - boxes[n]
    header, *_, last = round_table(curve).splitlines()
    assert header.split()[:4] == ['round', 'images', 'reselected', 'boxes']
    assert last.split()[:3] == ['2', '10', str(again[-1])]
    with open(os.path.join(work_dir, 'report.html')) as f:
        page = f.read()
    assert '<th>reselected</th>' in page
    assert '"how":"reselected"' in page
    with open(os.path.join(work_dir, 'active_learning.log')) as f:
        assert 'reselected ones' in f.read()


class Killed(BaseException):
    """Nobody catches it; test_resume.py kills processes for good."""


@pytest.mark.parametrize('owner, name, number, when', [
    (QueryResult, 'save', 1, 'after'),
    (EpochBasedTrainLoop, 'run_iter', 5, 'before'),
], ids=['between select and commit', 'while repeating'])
def test_killed_and_resumed_ends_the_same(whole, tmp_path, monkeypatch,
                                          owner, name, number, when):
    config, expected = whole
    original, calls = getattr(owner, name), []

    def deadly(*args, **kwargs):
        calls.append(1)
        if len(calls) == number:
            if when == 'after':
                original(*args, **kwargs)
            raise Killed
        return original(*args, **kwargs)

    with monkeypatch.context() as m, pytest.raises(Killed):
        m.setattr(owner, name, deadly)
        learner(config, tmp_path, 2).run()
    assert len(rounds_of(tmp_path)) == 1 + (when == 'before')
    learner(config, tmp_path, 2, resume=True).run()
    assert rounds_of(tmp_path) == rounds_of(expected)[:2]
    found, right = (Curve.load(str(w)).records[:2]
                    for w in (tmp_path, expected))
    assert found[1].reselected
    assert [(r.images, r.reselected, r.metrics) for r in found] == \
        [(r.images, r.reselected, r.metrics) for r in right]


@pytest.fixture
def single(whole, mmdet_scope):
    """What one query in this process needs, and its config."""
    config, work_dir = whole
    last = os.path.join(work_dir, 'round_01')
    cfg = Config.fromfile(config)
    model = load_model(
        cfg, os.path.join(last, 'epoch_2.pth'))
    return cfg, model, os.path.join(last, 'labelled.json')


def check_query(out, labelled, pool):
    """What its files say; returns the ids chosen."""
    names = {i['id']: i['file_name'] for i in read(pool)['images']}
    labelled = images_of(labelled)
    chosen = read(out, 'selected.json')
    again = chosen.get('reselected', [])
    new = [i for i in chosen['ids'] if i not in again]
    assert len(new) == 3 and not set(new) & set(labelled)
    assert set(again) <= set(labelled)
    for file, ids in (('selected.txt', new), ('reselected.txt', again)):
        with open(os.path.join(out, file)) as f:
            assert f.read().split() == [names[i] for i in ids]
    assert len(np.load(os.path.join(out, 'embeddings.npy'))) == 12
    return chosen


def test_one_query_by_one_and_by_two_processes(whole, single, tmp_path):
    cfg, model, labelled = single
    cfg.active_learning.selector = dict(type='mmal.CoreSet', start='best')
    pool = os.path.join(cfg.train_dataloader.dataset.data_root, 'pool.json')
    one, two = (str(tmp_path / n) for n in ('one', 'two'))
    query_once(cfg, model, one, labelled)
    chosen = check_query(one, labelled, pool)
    assert chosen['reselected']  # so that the test sees some
    done, _ = map(succeeded, fork_two(
        SELECT, whole[0],
        os.path.join(os.path.dirname(labelled), 'epoch_2.pth'), '--labelled',
        labelled, '--out-dir', two, *LAUNCHER, '--cfg-options',
        'active_learning.selector.type=mmal.CoreSet',
        'active_learning.selector.start=best'))
    assert check_query(two, labelled, pool)['ids'] == chosen['ids']
    assert f'3 images with {chosen["boxes"]} boxes' in done.stdout


def test_another_query_leaves_nothing_of_the_last_one(single, tmp_path):
    cfg, model, labelled = single
    query_once(cfg, model, str(tmp_path), labelled)
    files = {'reselected.txt'}
    assert files <= set(os.listdir(tmp_path))
    cfg.active_learning.candidates = 'unlabelled'
    query_once(cfg, model, str(tmp_path), labelled)
    assert not files & set(os.listdir(tmp_path))


@pytest.mark.parametrize('kind', ['CoreSet', 'KMeansPlusPlus'])
def test_a_selector_that_starts_from_the_labelled_images_is_refused(
        whole, tmp_path, kind):
    cfg = load(whole[0], tmp_path)
    cfg.active_learning.selector = dict(type=f'mmal.{kind}', start='labelled')
    with pytest.raises(ValueError, match="candidates is 'all'") as e:
        read_inputs(cfg)
    assert 'selector.start' in str(e.value)


@pytest.fixture
def preferring_the_first(monkeypatch, mmdet_scope):
    """Selectors that rank the first labelled set highest."""
    def order(self, scores, embeddings=None, labelled=None):
        first = draw_initial(scores.ids, 4, 0)
        yield from first
        yield from (i for i in scores.ids if i not in first)

    monkeypatch.setattr(TopN, 'order', order)


def in_process(tmp_path, rounds, budget, **block):
    cfg = tiny_config(str(tmp_path / 'data'))
    cfg.val_dataloader = cfg.val_cfg = cfg.val_evaluator = None
    cfg.work_dir = str(tmp_path / 'work')
    cfg.active_learning = dict(
        data=dict(ann_file='pool.json'), initial=dict(size=4), rounds=rounds,
        budget=budget, candidates='all',
        score_dataloader=dict(batch_size=2, num_workers=0), **block)
    return cfg


def test_counted_repetitions_may_leave_nothing_new(
        tmp_path, preferring_the_first):
    """Nobody is asked to label anything again, and the run ends."""
    budget = dict(size=3, repeats='counted')
    oracle = dict(type='mmal.ManualOracle')
    cfg = in_process(tmp_path, 3, budget, oracle=oracle)
    with pytest.raises(LabelsPending) as e:
        ActiveLearner(cfg).run()
    assert len(e.value.ids) == 4
    labels = dict(read(tmp_path, 'data', 'pool.json'), confirm_empty=True)
    write_json(str(tmp_path / 'work' / 'labels' / 'labels.json'), labels)
    ActiveLearner(cfg, resume=True).run()
    first, *others = rounds_of(cfg.work_dir)
    assert len(others) == 2
    for chosen in others:
        assert chosen['ids'] == []
        assert chosen['reselected'] == first['ids'][:3]
    curve = Curve.load(cfg.work_dir)
    assert [(r.images, r.reselected) for r in curve.records] == [
        (4, 0), (4, 3), (4, 6)]
    assert curve.stopped == 'rounds'
    assert 'nothing new is labelled' in curve.note


def test_free_repetitions_end_with_the_pool(tmp_path, preferring_the_first):
    cfg = in_process(tmp_path, 9, dict(size=6, unit='boxes'))
    ActiveLearner(cfg).run()
    first, *others = rounds_of(cfg.work_dir)
    assert all(r['ids'] and r['reselected'][:4] == first['ids']
               for r in others)
    assert sum(len(r['ids']) for r in (first, *others)) == 12
    assert read(cfg.work_dir, 'state.json')['stopped'] == 'exhausted'
    records = Curve.load(cfg.work_dir).records
    gains = np.diff([r.boxes for r in records])
    sizes = [len(r['ids']) for r in others]
    assert all(g <= 6 or n == 1 for g, n in zip(gains, sizes))


def test_an_older_state_goes_on(tmp_path):
    """Its rounds have no 'reselected', its config no 'candidates'."""
    cfg = in_process(tmp_path, 1, dict(size=3))
    del cfg.active_learning['candidates']
    ActiveLearner(copy.deepcopy(cfg)).run()
    assert all(set(r) == {'ids', 'seed'} for r in rounds_of(cfg.work_dir))
    assert 'reselected' not in read(cfg.work_dir, 'curve.json')['rounds'][0]
    cfg.active_learning.rounds = 2
    cfg.active_learning.candidates = 'unlabelled'  # as before
    ActiveLearner(copy.deepcopy(cfg), resume=True).run()
    assert [len(r) for r in ids_of(cfg.work_dir)] == [4, 3]
    folder = tmp_path / 'work' / 'round_00'
    assert 'reselected' not in read(folder, 'selected.json')
    cfg.active_learning.rounds = 3
    cfg.active_learning.candidates = 'all'
    with pytest.raises(ValueError, match='candidates: .none. -> all'):
        ActiveLearner(copy.deepcopy(cfg), resume=True).run()
    ActiveLearner(cfg, resume=True, accept_changes=True).run()
    assert [len(r) for r in ids_of(cfg.work_dir)] == [4, 3, 3]
    scores = Scores.load(str(tmp_path / 'work' / 'round_01' / 'scores.npz'))
    assert len(scores) == 12
