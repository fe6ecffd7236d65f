"""Queries of two stages and of several scores, from scores that are there."""
import numpy as np
import pytest
from helpers import queries
from helpers.tiny import tiny_config
from mmengine.registry import DefaultScope

from mmal.engine.settings import Settings
from mmal.fileio import read_json, write_json
from mmal.pool import CocoOracle, load_coco
from mmal.scores import Scores
from mmal.scoring.data import ScoringData, Split

TWO_STAGE = dict(type='mmal.TwoStage', first=dict(type='mmal.TopN'),
                 then=dict(type='mmal.BottomN'), keep=2.)


@pytest.fixture(scope='module', autouse=True)
def keep_scope():
    with DefaultScope.overwrite_default_scope('mmdet'):
        yield


@pytest.fixture(scope='module')
def coco(tmp_path_factory):
    """2, 1, 3 and 2 boxes on the first four images, which are labelled."""
    root = str(tmp_path_factory.mktemp('data'))
    tiny_config(root)
    pool = read_json(f'{root}/pool.json')
    ids = [image['id'] for image in pool['images']]
    counts = dict(zip(ids, [2, 1, 3, 2]))
    boxes = [dict(pool['annotations'][0], id=n, image_id=image,
                  category_id=1 + n % 2)
             for n, image in enumerate(
                 i for i in ids for _ in range(counts.get(i, 1)))]
    write_json(f'{root}/counted.json', dict(pool, annotations=boxes))
    return load_coco(f'{root}/counted.json')


@pytest.fixture
def ask(tmp_path, coco):
    left = coco.ids[4:]
    values = np.arange(len(left), dtype=float)
    scores = Scores(left, values, columns=dict(a=-values, b=values % 3))
    queries.prepare(str(tmp_path), coco, scores, coco.ids[:4])

    def ask(**block):
        return queries.ask(str(tmp_path), coco, CocoOracle(pool=coco),
                           **block).ids

    return ask


def test_boxes_of_labelled_images_are_counted(coco):
    pool = dict(type='mmdet.CocoDataset', ann_file=coco.path, data_prefix=dict(
        img='images'), pipeline=[
        dict(type='LoadImageFromFile')], metainfo=dict(classes=tuple(
            c['name'] for c in coco.categories)))
    data = ScoringData(dict(labelled=Split(pool, True, coco.ids[:4])))
    counts, names = data.class_counts('labelled')
    assert counts.tolist() == [[1, 1, 0], [1, 0, 0], [1, 2, 0], [1, 1, 0]]
    assert names == tuple(c['name'] for c in coco.categories)


@pytest.mark.parametrize('budget, images', [
    (dict(size=2), 2),
    (dict(size=2, unit='images'), 2),
    # 2 boxes an image are expected, there is 1
    (dict(size=3, unit='boxes'), 2),
    (dict(size=8, unit='boxes', per_image=2.), 2),
    # 1 box of each kind, of 3 and of 7 seconds, and 2 seconds an image
    (dict(size=20, unit='seconds', per_image=2., per_box=7., per_class=dict(
        class_0=3.)), 2)])
def test_a_multiple_of_the_expected_images_is_kept(ask, coco, budget, images):
    kept = coco.ids[-2 * images:]
    chosen = ask(budget=budget, selector=TWO_STAGE)
    assert chosen[:len(kept)] == kept[:len(chosen)]
    if 'unit' not in budget:
        assert chosen == kept[:2]


def test_columns_choose_in_turn(ask, coco):
    left = coco.ids[4:]
    chosen = ask(budget=dict(size=3), selector=dict(
        type='mmal.Quota', shares=dict(a=2, b=1)))
    assert chosen[0] == left[0] and chosen[2] == left[1]
    assert left.index(chosen[1]) % 3 == 2


def test_stages_draw_by_the_seed_of_the_run(ask):
    stages = dict(TWO_STAGE, first=dict(type='mmal.TopThird'),
                  then=dict(type='mmal.TopThird'))
    results = [ask(budget=dict(size=3), selector=stages, seed=seed)
               for seed in range(6)]
    assert results[0] == ask(budget=dict(size=3), selector=stages, seed=0)
    assert len(set(map(tuple, results))) > 1


@pytest.mark.parametrize('block, key', [
    (dict(selector=dict(TWO_STAGE, first=dict(type='mmal.TopM'))),
     'selector.first.type'),
    (dict(selector=dict(TWO_STAGE, then=dict(type='mmal.CoreSet', strat=1))),
     'selector.then.strat'),
    (dict(scorer=dict(type='mmal.CombinedScorer', scorers=dict(
        a=dict(type='mmal.EntropyScorer', aggregatoin='max')))),
     'scorer.scorers.a.aggregatoin'),
    (dict(scorer=dict(type='mmal.CombinedScorer', scorers=dict(
        a=dict(type='mmal.TopN')))), 'scorer.scorers.a.type')])
def test_mistakes_in_parts_are_named(block, key):
    with pytest.raises(ValueError, match=key):
        Settings(data=dict(ann_file='pool.json'), budget=dict(size=1),
                 **block)
