"""Whole runs in which labelled images compete with the unlabelled ones."""
import copy
import os
import sys
from collections import Counter

import numpy as np
import pytest
from helpers.runs import ROOT, SELECT, make_config, succeed
from helpers.tiny import tiny_config
from mmengine.config import Config
from mmengine.registry import DATASETS
from mmengine.runner import Runner
from mmengine.runner.loops import EpochBasedTrainLoop

from mmal.engine import ActiveLearner
from mmal.engine.query import Query
from mmal.engine.query_result import QueryResult
from mmal.engine.settings import Settings
from mmal.engine.single_query import UnlabelledOracle, query_once
from mmal.fileio import read_json, write_json
from mmal.pool import CocoData, LabelsPending, draw_initial
from mmal.reporting import Curve, round_table
from mmal.scores import Scores

sys.path.append(os.path.join(ROOT, 'tools'))

ALL = dict(scorer=dict(type='mmal.RandomScorer'), candidates='all')
TORCHRUN = ('-m', 'torch.distributed.run', '--standalone',
            '--nproc_per_node', '2')
LAUNCHER = ('--launcher', 'pytorch')


def read(*path):
    return read_json(os.path.join(*map(str, path)))


def rounds_of(work_dir):
    return read(work_dir, 'state.json')['rounds']


def ids_of(path):
    return [i['id'] for i in read(path)['images']]


@pytest.fixture(scope='module')
def whole(tmp_path_factory):
    """A config and the folder of a run that nobody killed."""
    folder = str(tmp_path_factory.mktemp('whole'))
    config = make_config(folder, active_learning=ALL)
    work_dir = os.path.join(folder, 'work')
    learner(config, work_dir).run()
    return config, work_dir


@pytest.fixture(scope='module', autouse=True)
def without_a_look_at_compilers():
    """Each Runner asks programs for their versions, which takes long."""
    with pytest.MonkeyPatch.context() as m:
        m.setattr(Runner, '_log_env', lambda *args: None)
        yield


def learner(config, work_dir, rounds=3, **kwargs):
    cfg = Config.fromfile(config)
    cfg.work_dir = str(work_dir)
    cfg.active_learning.rounds = rounds
    return ActiveLearner(cfg, **kwargs)


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
        assert chosen.get('repeated', []) == [i for i in before if i in done]
        done |= set(chosen['ids'])
    assert any('repeated' in r for r in rounds)


def test_scored_images_carry_no_labels(whole):
    folder = os.path.join(whole[1], 'round_01')
    content = read(folder, 'candidates.json')
    assert content['annotations'] == [] and len(content['images']) == 12


def test_training_repeats_what_was_taken_again(whole, mmdet_scope):
    _, work_dir = whole
    rounds = rounds_of(work_dir)
    for number in range(3):
        folder = os.path.join(work_dir, f'round_{number:02d}')
        expected = Counter(
            i for r in rounds[:number + 1]
            for i in (*r['ids'], *r.get('repeated', ())))
        assert sorted(ids_of(os.path.join(folder, 'labelled.json'))) == \
            sorted(expected)
        cfg = Config.fromfile(os.path.join(folder, 'config.py'))
        data = DATASETS.build(cfg.train_dataloader.dataset)
        found = Counter(
            data.get_data_info(i)['img_id'] for i in range(len(data)))
        assert found == expected


def test_unique_images_and_boxes_are_reported(whole):
    _, work_dir = whole
    rounds = rounds_of(work_dir)
    again = np.cumsum([len(r.get('repeated', ())) for r in rounds])
    curve = Curve.load(work_dir)
    assert [r.images for r in curve.records] == [4, 7, 10]
    assert [r.repeated for r in curve.records] == again.tolist()
    boxes = [len(read(work_dir, f'round_{n:02d}', 'labelled.json')
                 ['annotations']) for n in range(3)]
    assert [r.boxes for r in curve.records] == boxes
    for n in range(2):  # what a query reports is what comes new
        chosen = read(work_dir, f'round_{n:02d}', 'selected.json')
        assert chosen['boxes'] == boxes[n + 1] - boxes[n]
    header, *_, last = round_table(curve).splitlines()
    assert header.split()[:4] == ['round', 'images', 'repeated', 'boxes']
    assert last.split()[:3] == ['2', '10', str(again[-1])]
    with open(os.path.join(work_dir, 'report.html')) as f:
        page = f.read()
    assert '<th>repeated</th>' in page and '(taken again)' in page
    with open(os.path.join(work_dir, 'active_learning.log')) as f:
        assert 'labelled ones again' in f.read()


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
    assert found[1].repeated
    assert [(r.images, r.repeated, r.metrics) for r in found] == \
        [(r.images, r.repeated, r.metrics) for r in right]


@pytest.fixture
def single(whole, mmdet_scope):
    """What one query in this process needs, and its config."""
    from al_select import load_model
    config, work_dir = whole
    last = os.path.join(work_dir, 'round_01')
    cfg = Config.fromfile(config)
    model = load_model(cfg, os.path.join(last, 'epoch_2.pth'))
    return cfg, model, os.path.join(last, 'labelled.json')


def check_query(out, labelled, pool):
    """What its files say; returns the ids chosen."""
    names = {i['id']: i['file_name'] for i in read(pool)['images']}
    labelled = ids_of(labelled)
    chosen = read(out, 'selected.json')
    again = chosen.get('repeated', [])
    new = [i for i in chosen['ids'] if i not in again]
    assert len(new) == 3 and not set(new) & set(labelled)
    assert set(again) <= set(labelled)
    for file, ids in (('selected.txt', new), ('repeated.txt', again)):
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
    assert chosen['repeated']  # so that the test sees some
    done = succeed(
        '-m', 'torch.distributed.run', '--standalone', '--nproc_per_node',
        '2', SELECT, whole[0],
        os.path.join(os.path.dirname(labelled), 'epoch_2.pth'), '--labelled',
        labelled, '--out-dir', two, '--launcher', 'pytorch', '--cfg-options',
        'active_learning.selector.type=mmal.CoreSet',
        'active_learning.selector.start=best')
    assert check_query(two, labelled, pool)['ids'] == chosen['ids']
    assert f'3 images with {chosen["boxes"]} boxes' in done.stdout


def test_another_query_leaves_nothing_of_the_last_one(single, tmp_path):
    cfg, model, labelled = single
    query_once(cfg, model, str(tmp_path), labelled)
    files = {'repeated.txt', 'candidates.json'}
    assert files <= set(os.listdir(tmp_path))
    cfg.active_learning.candidates = 'unlabelled'
    query_once(cfg, model, str(tmp_path), labelled)
    assert not files & set(os.listdir(tmp_path))


@pytest.mark.parametrize('kind', ['CoreSet', 'KMeansPlusPlus'])
def test_a_selector_that_starts_from_the_labelled_images_is_refused(
        whole, tmp_path, kind):
    refused = learner(whole[0], tmp_path)
    refused.settings.selector = dict(type=f'mmal.{kind}', start='labelled')
    with pytest.raises(ValueError, match="candidates is 'all'") as e:
        refused.plan()
    assert 'selector.start' in str(e.value)


@pytest.fixture
def preferring_the_first(monkeypatch, mmdet_scope):
    """Selectors that rank the first labelled set highest."""
    def rank(self, labelled, scores, n):
        first = draw_initial(scores.ids, 4, 0)
        return [*first, *(i for i in scores.ids if i not in first)][:n]

    monkeypatch.setattr(Query, '_rank', rank)


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
    labels = read(tmp_path, 'data', 'pool.json')
    write_json(str(tmp_path / 'work' / 'labels' / 'labels.json'), labels)
    ActiveLearner(cfg, resume=True).run()
    first, *others = rounds_of(cfg.work_dir)
    assert len(others) == 2
    for chosen in others:
        assert chosen['ids'] == []
        assert chosen['repeated'] == first['ids'][:3]
    curve = Curve.load(cfg.work_dir)
    assert [(r.images, r.repeated) for r in curve.records] == [
        (4, 0), (4, 3), (4, 6)]
    assert curve.stopped == 'rounds'
    assert 'nothing new is labelled' in curve.note


def test_free_repetitions_end_with_the_pool(tmp_path, preferring_the_first):
    cfg = in_process(tmp_path, 9, dict(size=6, unit='boxes'))
    ActiveLearner(cfg).run()
    first, *others = rounds_of(cfg.work_dir)
    assert all(r['ids'] and r['repeated'][:4] == first['ids'] for r in others)
    assert sum(len(r['ids']) for r in (first, *others)) == 12
    assert read(cfg.work_dir, 'state.json')['stopped'] == 'exhausted'
    records = Curve.load(cfg.work_dir).records
    gains = np.diff([r.boxes for r in records])
    sizes = [len(r['ids']) for r in others]
    assert all(g <= 6 or n == 1 for g, n in zip(gains, sizes))


def test_an_older_state_goes_on(tmp_path):
    """Its rounds have no 'repeated', its config no 'candidates'."""
    cfg = in_process(tmp_path, 1, dict(size=3))
    del cfg.active_learning['candidates']
    ActiveLearner(copy.deepcopy(cfg)).run()
    assert all(set(r) == {'ids', 'seed'} for r in rounds_of(cfg.work_dir))
    assert 'repeated' not in read(cfg.work_dir, 'curve.json')['rounds'][0]
    cfg.active_learning.rounds = 2
    cfg.active_learning.candidates = 'unlabelled'  # as before
    ActiveLearner(copy.deepcopy(cfg), resume=True).run()
    assert [len(r['ids']) for r in rounds_of(cfg.work_dir)] == [4, 3]
    folder = tmp_path / 'work' / 'round_00'
    assert 'repeated' not in read(folder, 'selected.json')
    assert not (folder / 'candidates.json').exists()
    cfg.active_learning.rounds = 3
    cfg.active_learning.candidates = 'all'
    with pytest.raises(ValueError, match='candidates: .none. -> all'):
        ActiveLearner(copy.deepcopy(cfg), resume=True).run()
    ActiveLearner(cfg, resume=True, accept_changes=True).run()
    assert [len(r['ids']) for r in rounds_of(cfg.work_dir)] == [4, 3, 3]
    scores = Scores.load(str(tmp_path / 'work' / 'round_01' / 'scores.npz'))
    assert len(scores) == 12


def test_labelled_images_that_are_gone_are_not_set_aside(tmp_path):
    query = Query(
        Settings(data=dict(ann_file='pool.json'), budget=dict(size=9),
                 candidates='all', on_bad_image='skip',
                 selector=dict(type='mmal.TopN')),
        CocoData('', {i: dict(file_name=f'{i}.png') for i in range(4)}, {},
                 []), str(tmp_path), UnlabelledOracle())
    query.scorer.needs_images = True
    scores = Scores([0, 1], np.ones(2), np.arange(2.),
                    unreadable={2: 'gone', 3: 'gone'})
    chosen = query._select(scores, None, frozenset([0, 2]))
    assert chosen.ids == [0, 1] and chosen.repeated == [0]
    assert chosen.new == [1] and [b.id for b in chosen.set_aside] == [3]
    none = query._select(scores, None, frozenset([0, 1, 2]))
    assert none.ids == [] and [b.id for b in none.set_aside] == [3]
