import os

import pytest

from mmal.fileio import read_json
from mmal.pool.coco import load_coco, parse_coco
from mmal.pool.images import UnreadableImage
from mmal.pool.oracle import CocoOracle
from mmal.pool.pool import Pool
from mmal.pool.splits import (
    write_candidates,
    write_repeats,
    write_round_splits,
)


@pytest.fixture
def coco():
    return parse_coco(
        {'info': {'year': 1},
         'images': [{'id': i, 'file_name': f'{i}.jpg', 'width': 9,
                     'height': 9} for i in 'abcd'],
         'annotations': [{'id': n, 'image_id': i, 'category_id': 1,
                          'bbox': [0, 0, 2, 2], 'area': 4, 'iscrowd': 0,
                          'extra': n} for n, i in enumerate('ddbca')],
         'categories': [{'id': 1, 'name': 'cat'}]}, 'pool.json')


def test_two_files(coco, tmp_path):
    pool = Pool(coco.ids)
    pool.commit(['d'])
    pool.commit(['b'])
    oracle = CocoOracle(pool=coco)
    labelled, unlabelled = write_round_splits(
        str(tmp_path / 'round_01'), coco, pool,
        oracle.annotate(pool.labelled()))
    train = load_coco(labelled)
    assert train.ids == ['b', 'd']
    assert [a['extra'] for a in train.annotations_of('db')] == [0, 1, 2]
    rest = read_json(unlabelled)
    assert [i['id'] for i in rest['images']] == ['a', 'c']
    assert rest['annotations'] == []
    assert rest['info'] == {'year': 1} and rest['categories']

    labelled, unlabelled = write_round_splits(
        str(tmp_path / 'round_00'), coco, pool, oracle.annotate('d'), round=0)
    assert load_coco(labelled).ids == ['d']
    assert [i['id'] for i in read_json(unlabelled)['images']] == list('abc')


def test_the_same_bytes_again(coco, tmp_path):
    pool = Pool(coco.ids)
    pool.commit(['d', 'a'])
    boxes = CocoOracle(pool=coco).annotate(pool.labelled())
    files = [write_round_splits(str(tmp_path / r), coco, pool, boxes)
             for r in 'xy']
    for first, second in zip(*files):
        with open(first, 'rb') as a, open(second, 'rb') as b:
            assert a.read() == b.read()


def test_annotations_of_unlabelled_images_do_not_get_in(coco, tmp_path):
    pool = Pool(coco.ids)
    pool.commit(['d'])
    with pytest.raises(ValueError, match='belong to images outside'):
        write_round_splits(str(tmp_path), coco, pool,
                           CocoOracle(pool=coco).annotate('ab'))
    assert list(tmp_path.iterdir()) == []


def test_nothing_left(coco, tmp_path):
    pool = Pool(coco.ids)
    pool.commit('abcd')
    _, unlabelled = write_round_splits(str(tmp_path), coco, pool, [])
    assert read_json(unlabelled)['images'] == []


def test_candidates_and_repeats(tmp_path, coco):
    pool = Pool('abcd')
    pool.commit('dc')
    path = write_candidates(str(tmp_path), coco, pool)
    assert [i['id'] for i in read_json(path)['images']] == list('abcd')
    assert write_repeats(str(tmp_path), pool) is None
    pool.set_unreadable([UnreadableImage('a', 'a.jpg', 'a.jpg', 'gone')])
    pool.commit('b', reselected='dc')
    write_candidates(str(tmp_path), coco, pool)
    content = read_json(path)
    assert [i['id'] for i in content['images']] == list('bcd')
    assert content['annotations'] == []
    repeats = write_repeats(str(tmp_path), pool)
    assert read_json(repeats) == dict(ids=['c', 'd'], times=[1, 1])
    # what is left of another state is removed
    assert write_repeats(str(tmp_path), pool, 0) is None
    assert not os.path.exists(repeats)
