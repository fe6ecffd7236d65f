"""Queries that spend expected boxes, aim at classes and keep distances, with
one process and with two; and a run in which people label."""
import os
import shutil

import numpy as np
import pytest
from helpers.forks import fork_two
from helpers.runs import succeeded
from helpers.tiny import tiny_active_learning, tiny_config, tiny_fcos
from helpers.tiny_classifier import tiny_classifier
from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmal.dist import close_dist, setup_dist
from mmal.engine import ActiveLearner
from mmal.engine.query_checks import check_query
from mmal.engine.settings import Settings
from mmal.engine.single_query import query_once
from mmal.fileio import read_json, write_json
from mmal.pool import LabelsPending, UnreadableImagesError
from mmal.scores import Scores
from mmal.scoring import ScoringData, score_pool
from mmal.scoring.data import Split
from mmal.scoring.detections.predict import detect
from mmal.scoring.expected_boxes import ExpectedBoxes

CLASSES = ('class_0', 'class_1', 'class_2')


@pytest.fixture(scope='module', autouse=True)
def keep_scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """The pool, the same without labels, and with others; 3 are labelled."""
    root = str(tmp_path_factory.mktemp('data'))
    tiny_config(root)
    pool = read_json(f'{root}/pool.json')
    write_json(f'{root}/unlabelled.json', dict(pool, annotations=[]))
    write_json(f'{root}/otherwise.json', dict(pool, annotations=[
        dict(a, category_id=1, image_id=pool['images'][-1 - n]['id'])
        for n, a in enumerate(pool['annotations'][:5])]))
    write_json(f'{root}/labelled.json', dict(
        pool, images=pool['images'][:3], annotations=[
            a for a in pool['annotations']
            if a['image_id'] in {i['id'] for i in pool['images'][:3]}]))
    return root


def ask(root, out, pool='unlabelled', labelled=True, **block):
    cfg = tiny_config(root)
    cfg.active_learning = tiny_active_learning(
        **dict(dict(data=dict(ann_file=f'{pool}.json')), **block))
    return query_once(cfg, tiny_fcos(), str(out),
                      f'{root}/labelled.json' if labelled else None)


@pytest.fixture(scope='module')
def truth(data):
    """What is expected by hand: id -> [3]."""
    cfg = tiny_config(data)

    def sums_of(name):
        dataset = dict(cfg.test_dataloader.dataset, ann_file=name)
        images = ScoringData(dict(all=Split(dataset, False)), num_workers=0,
                             batch_size=1)
        model, sums = tiny_fcos(), {}
        for batch in images.batches('all', model):
            found, = detect(model, batch)
            sums[batch.ids[0]] = [
                sum(s for s, n in zip(found.scores.tolist(),
                                      found.labels.tolist()) if n == c)
                for c in range(3)]
        return sums

    seen, val = sums_of('val.json'), read_json(f'{data}/val.json')
    found = sums_of('unlabelled.json')
    expected = {i: [] for i in found}
    for c in range(3):
        x = [s[c] for s in seen.values()]
        y = [sum(a['image_id'] == i and a['category_id'] == c + 1
                 for a in val['annotations']) for i in seen]
        slope, intercept = np.polyfit(x, y, 1)
        if slope < 0:
            slope, intercept = 0, np.mean(y)
        for i, s in found.items():
            expected[i].append(max(0, intercept + slope * s[c]))
    assert len({round(n, 3) for e in expected.values() for n in e}) > 10
    return expected


def test_a_detector_that_sees_nothing_expects_the_mean(data):
    """Else a budget in boxes would take the whole pool in a first round."""
    cfg, blind = tiny_config(data), tiny_fcos()
    blind.bbox_head.conv_cls.bias.data.fill_(-30.)
    datasets = [dict(cfg.test_dataloader.dataset, ann_file=name)
                for name in ('unlabelled.json', 'val.json')]
    images = ScoringData(dict(all=Split(datasets[0], False),
                              val=Split(datasets[1], True)), num_workers=0)
    val = read_json(f'{data}/val.json')
    mean = [sum(a['category_id'] == c for a in val['annotations'])
            / len(val['images']) for c in (1, 2, 3)]
    ids = images.ids('all')[:3]
    expected = ExpectedBoxes(blind, images, 'all', CLASSES, 'val')
    np.testing.assert_allclose(expected.count_by_class(ids), [mean] * 3)
    np.testing.assert_allclose(expected.count_boxes(ids), [sum(mean)] * 3)
    # without references there are only the detections
    expected = ExpectedBoxes(blind, images, 'all', CLASSES)
    assert not expected.count_by_class(ids).any()
    assert expected.count_by_class([]).shape == (0, 3)


def ranked(out):
    """The images in the order of their scores."""
    scores = Scores.load(os.path.join(str(out), 'scores.npz'))
    return [scores.ids[n] for n in np.lexsort(
        (scores.tiebreak, -scores.values))]


@pytest.mark.parametrize('batch_size', [1, 4])
def test_people_label_for_so_many_expected_seconds(data, tmp_path, truth,
                                                   monkeypatch, batch_size):
    looked = []
    real = ExpectedBoxes._detect
    monkeypatch.setattr(ExpectedBoxes, '_detect', lambda self, ids: (
        looked.extend(ids), real(self, ids)) and None)
    costs = {i: 2 + 10 * (t[0] + t[2]) + 1 * t[1] for i, t in truth.items()}
    size = 150
    chosen = ask(data, tmp_path, budget=dict(
        size=size, unit='seconds', per_image=2, per_box=10,
        per_class=dict(class_1=1)), score_dataloader=dict(
            batch_size=batch_size, num_workers=0))
    order, spent, ids = ranked(tmp_path), 0, []
    for i in order:
        if ids and spent + costs[i] > size:
            break
        ids.append(i)
        spent += costs[i]
    assert chosen.ids == ids and 1 < len(ids) < len(order)
    assert chosen.boxes is None
    assert list(chosen.expected_boxes) == list(CLASSES)
    sums = np.sum([truth[i] for i in ids], 0)
    np.testing.assert_allclose(list(chosen.expected_boxes.values()), sums,
                               rtol=1e-5)
    saved = read_json(f'{tmp_path}/selected.json')
    assert saved['expected_boxes'] == chosen.expected_boxes
    assert f'about {sums.sum():.0f} boxes expected' in str(chosen)
    # lazily: never more than those drawn (one does not fit) and a batch
    assert len(set(looked)) <= len(ids) + batch_size


def by_targets(order, truth, targets):
    """What comes first, by hand; the others follow in their order."""
    left, first = dict(targets), []
    for i in order:
        wanted = [c for c in left if left[c] > 1e-9]
        if not wanted:
            break
        if any(truth[i][c] >= .5 for c in wanted):
            first.append(i)
            left = {c: n - truth[i][c] for c, n in left.items()}
    # an order that ended too early: the likeliest ones then
    for i in sorted((i for i in order if i not in first), key=lambda i: -sum(
            truth[i][c] for c in left if left[c] > 1e-9)):
        if any(n > 1e-9 for n in left.values()):
            first.append(i)
            left = {c: n - truth[i][c] for c, n in left.items()}
    return [*first, *(i for i in order if i not in first)]


@pytest.mark.parametrize('wanted', [
    dict(class_1=.5), dict(class_0=1, class_2=.6), dict(class_1=99)])
def test_targets_are_filled_without_a_look_at_the_truth(data, tmp_path, truth,
                                                        wanted):
    budget = dict(size=4, targets=wanted)
    chosen = [ask(data, tmp_path / pool, pool, budget=budget)
              for pool in ('unlabelled', 'pool', 'otherwise')]
    assert chosen[0].ids == chosen[1].ids == chosen[2].ids
    order = by_targets(
        ranked(tmp_path / 'pool'), truth,
        {CLASSES.index(name): n for name, n in wanted.items()})
    assert chosen[0].ids == order[:4]
    # a target that is out of reach is told
    missed = [name for name, number in wanted.items()
              if chosen[0].expected_boxes[name] < number]
    assert ('fewer boxes are expected' in chosen[0].note) == bool(missed)
    assert all(f' {name}' in chosen[0].note for name in missed)
    assert missed or 'class_1' not in wanted or wanted['class_1'] < 99
    assert chosen[1].boxes is not None and chosen[1].expected_boxes


def test_an_order_changes_by_targets(data, tmp_path):
    """Or the test above would tell nothing."""
    plain = ask(data, tmp_path / 'a', budget=dict(size=4))
    aimed = ask(data, tmp_path / 'b',
                budget=dict(size=4, targets=dict(class_1=2.5)))
    assert plain.ids != aimed.ids and plain.expected_boxes is None
    assert 'expected_boxes' not in read_json(f'{tmp_path}/a/selected.json')


@pytest.mark.parametrize('labelled', [True, False])
@pytest.mark.parametrize('selector', [
    dict(type='mmal.TopN'), dict(type='mmal.CoreSet', start='random')])
def test_a_distance_is_kept(data, tmp_path, selector, labelled):
    plain = ask(data, tmp_path / 'a', labelled=labelled,
                budget=dict(size=99), selector=selector)
    least = .11
    chosen = ask(data, tmp_path / 'b', labelled=labelled, budget=dict(size=99),
                 selector=selector, spacing=dict(min_distance=least))
    scores = Scores.load(f'{tmp_path}/b/scores.npz')
    unit = {i: e / np.linalg.norm(e) for i, e in zip(
        scores.ids, np.asarray(scores.embeddings, float))}
    kept = [e / np.linalg.norm(e) for e in np.load(
        f'{tmp_path}/b/embeddings_labelled.npy')] if labelled else []
    first, late = [], []
    for i in plain.ids:
        if any(np.linalg.norm(unit[i] - e) < least for e in kept):
            late.append(i)
        else:
            kept.append(unit[i])
            first.append(i)
    assert first and late and chosen.ids == [*first, *late]
    assert f'{len(late)} images were put off' in chosen.note
    assert f'and {len(late)} of them chosen all the same' in chosen.note


def test_at_most_k_of_a_sequence(data, tmp_path):
    plain = ask(data, tmp_path / 'a', budget=dict(size=99))
    chosen = ask(data, tmp_path / 'b', budget=dict(size=5), spacing=dict(
        max_per_group=dict(k=2, by=r'pool_0(\d)')))
    # of pool_003 to pool_011 nine are left: seven and two
    first, late, number = [], [], {}
    for i, name in zip(plain.ids, plain.file_names):
        number[name[6]] = number.get(name[6], 0) + 1
        (first if number[name[6]] <= 2 else late).append(i)
    assert len(first) == 4 and chosen.ids == [*first, late[0]]
    assert '5 images were put off' in chosen.note
    assert 'and 1 of them chosen all the same' in chosen.note


@pytest.mark.parametrize('skip', [True, False])
def test_an_image_that_breaks_after_its_score(data, tmp_path, monkeypatch,
                                              skip):
    """It is not counted on, and named."""
    root = str(tmp_path / 'data')
    shutil.copytree(data, root)
    names = {}

    def lose_the_best(*args, **kwargs):
        scores = score_pool(*args, **kwargs)
        names.update(best=scores.ids[int(np.argmax(scores.values))])
        path = {i['id']: i['file_name'] for i in read_json(
            f'{root}/pool.json')['images']}[names['best']]
        os.unlink(f'{root}/images/{path}')
        return scores

    monkeypatch.setattr('mmal.engine.query.score_pool', lose_the_best)
    block = dict(budget=dict(size=150, unit='seconds', per_image=2,
                             per_box=10),
                 scorer=dict(type='mmal.EntropyScorer'),
                 on_bad_image='skip' if skip else 'raise')
    if not skip:
        with pytest.raises(UnreadableImagesError):
            ask(root, tmp_path / 'out', **block)
        return
    chosen = ask(root, tmp_path / 'out', **block)
    assert [image.id for image in chosen.unreadable] == [names['best']]
    assert names['best'] not in chosen.ids and len(chosen.ids) > 1


BLOCKS = dict(
    seconds=dict(budget=dict(size=150, unit='seconds', per_image=2, per_box=10,
                             targets=dict(class_1=2.5))),
    core_set=dict(budget=dict(size=15, unit='boxes'),
                  selector=dict(type='mmal.CoreSet'),
                  spacing=dict(min_distance=.11)))


def test_two_processes_choose_what_one_chooses(data, tmp_path):
    def work():
        setup_dist('pytorch')
        rank = os.environ['RANK']
        with DefaultScope.overwrite_default_scope('mmdet'):
            out = [ask(data, tmp_path / name, **block).ids
                   for name, block in BLOCKS.items()]
        close_dist()
        write_json(f'{tmp_path}/{rank}.json', out)

    for done in fork_two(work):
        succeeded(done)
    alone = [ask(data, tmp_path / f'{name}_alone', **block).ids
             for name, block in BLOCKS.items()]
    assert all(len(ids) > 1 for ids in alone)
    for rank in range(2):
        assert read_json(f'{tmp_path}/{rank}.json') == alone


@pytest.mark.parametrize('block, message', [
    (dict(budget=dict(size=1, targets=dict(clas_1=2))),
     r"budget\.targets has 'clas_1'.*Did you mean class_1\?"),
    (dict(budget=dict(size=1, per_class=dict(cat=2.))),
     r"budget\.per_class has 'cat'.*Known: class_0, class_1"),
    (dict(budget=dict(size=1, targets=dict(class_1=0))),
     r'budget\.targets\.class_1 is 0'),
    (dict(budget=dict(size=1, per_class=dict(class_1=-1.))),
     r'budget\.per_class\.class_1 is -1'),
    (dict(budget=dict(size=1, unit='second')), 'Did you mean seconds'),
    (dict(spacing=dict(min_distance=3)),
     r'spacing makes no sense: min_distance is 3\S* give a number above 0'),
    (dict(spacing=dict(min_distanc=1.)),
     r'spacing\.min_distanc is not known. Did you mean min_distance'),
    (dict(spacing={}), 'spacing makes no sense: .*give at least one of them'),
    (dict(spacing=dict(max_per_group=dict(k=1, by='('))),
     r"spacing makes no sense: max_per_group\.by is '\('"),
])
def test_mistakes_are_named(data, tmp_path, block, message):
    with pytest.raises(ValueError, match=message):
        ask(data, tmp_path, **block)


def test_a_classifier_expects_no_boxes():
    settings = Settings(data=dict(ann_file='a'),
                        budget=dict(size=1, unit='boxes'))
    images = ScoringData(dict(unlabelled=Split(dict(
        type='mmdet.CocoDataset', metainfo=dict(classes=CLASSES)), False)))
    with pytest.raises(ValueError, match=r"Set budget\.unit='images'"):
        check_query(settings, None, None, None, tiny_classifier(), images,
                    expects_boxes=True)


@pytest.mark.run
def test_a_run_in_which_people_label_for_seconds(data, tmp_path):
    cfg = tiny_config(data, epochs=2)
    cfg.work_dir = str(tmp_path / 'work')
    cfg.active_learning = tiny_active_learning(
        data=dict(ann_file='unlabelled.json'),
        oracle=dict(type='mmal.ManualOracle'),
        budget=dict(size=200, unit='seconds', per_image=5, per_box=7,
                    per_class=dict(class_2=3), targets=dict(class_0=1)),
        spacing=dict(min_distance=.01))
    full = dict(read_json(f'{data}/pool.json'), confirm_empty=True)
    for _ in range(2):
        with pytest.raises(LabelsPending):
            ActiveLearner(Config(cfg.to_dict()), resume=True).run()
        asked = read_json(f'{cfg.work_dir}/labels/to_label.json')['images']
        write_json(f'{cfg.work_dir}/labels/labels.json', dict(
            full, images=asked, annotations=[
                a for a in full['annotations']
                if a['image_id'] in {i['id'] for i in asked}]))
    ActiveLearner(Config(cfg.to_dict()), resume=True).run()

    state = read_json(f'{cfg.work_dir}/state.json')
    selected = read_json(f'{cfg.work_dir}/round_00/selected.json')
    curve = read_json(f'{cfg.work_dir}/curve.json')
    of_image = {}
    for a in full['annotations']:
        of_image.setdefault(a['image_id'], []).append(a['category_id'])
    hours, ids = [], []
    for number in (0, 1):
        ids += state['rounds'][number]['ids']
        drawn = [c for i in ids for c in of_image.get(i, ())]
        hours.append((5 * len(ids) + sum(3 if c == 3 else 7
                                         for c in drawn)) / 3600)
    assert [r['hours'] for r in curve['rounds']] == pytest.approx(hours)
    new = state['rounds'][1]['ids']
    number = sum(len(of_image.get(i, ())) for i in new)
    total = sum(selected['expected_boxes'].values())
    told = [n for n in state['meta']['notes'] if 'were expected' in n]
    assert len(told) == 1 and told[0].startswith(
        f'round 1: {total:,.1f} boxes were expected on its {len(new)} images '
        f'and {number} drawn')
    # the curve is made again from the files of the rounds
    os.unlink(f'{cfg.work_dir}/curve.json')
    ActiveLearner(Config(cfg.to_dict()), resume=True).run()
    again = read_json(f'{cfg.work_dir}/curve.json')
    assert [r['hours'] for r in again['rounds']] == pytest.approx(hours)
