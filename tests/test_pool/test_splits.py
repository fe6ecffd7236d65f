import os

import pytest

from mmal.fileio import read_json
from mmal.pool.coco import load_coco, parse_coco
from mmal.pool.images import UnreadableImage
from mmal.pool.layout import RoundDir, WorkDir
from mmal.pool.oracle import CocoOracle
from mmal.pool.pool import Pool
from mmal.pool.splits import (
    write_labelled,
    write_repeats,
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


def test_two_rounds(coco, tmp_path):
    pool = Pool(coco.ids)
    pool.commit(['d'])
    pool.commit(['b'])
    oracle = CocoOracle(pool=coco)
    work = WorkDir(str(tmp_path))
    write_labelled(work.round(1), coco, pool,
                   oracle.annotate(pool.labelled()))
    train = load_coco(work.round(1).labelled)
    assert train.ids == ['b', 'd']
    assert [a['extra'] for a in train.annotations_of('db')] == [0, 1, 2]
    assert read_json(work.round(1).labelled)['info'] == {'year': 1}

    first = work.round(0)
    write_labelled(first, coco, pool, oracle.annotate('d'), round=0)
    assert load_coco(first.labelled).ids == ['d']


def test_the_same_bytes_again(coco, tmp_path):
    pool = Pool(coco.ids)
    pool.commit(['d', 'a'])
    boxes = CocoOracle(pool=coco).annotate(pool.labelled())
    for name in 'xy':
        write_labelled(RoundDir(str(tmp_path / name)), coco, pool, boxes)
    files = [sorted((tmp_path / name).iterdir()) for name in 'xy']
    assert [len(f) for f in files] == [1, 1]
    for first, second in zip(*files):
        assert first.read_bytes() == second.read_bytes()


def test_annotations_of_unlabelled_images_do_not_get_in(coco, tmp_path):
    pool = Pool(coco.ids)
    pool.commit(['d'])
    with pytest.raises(ValueError, match='belong to images outside'):
        write_labelled(RoundDir(str(tmp_path)), coco, pool,
                       CocoOracle(pool=coco).annotate('ab'))
    assert list(tmp_path.iterdir()) == []


def test_repeats(tmp_path, coco):
    folder = RoundDir(str(tmp_path))
    pool = Pool('abcd')
    pool.commit('dc')
    write_repeats(folder, pool)
    assert not os.path.exists(folder.repeats)
    pool.set_unreadable([UnreadableImage('a', 'a.jpg', 'a.jpg', 'gone')])
    pool.commit('b', reselected='dc')
    write_repeats(folder, pool)
    assert read_json(folder.repeats) == dict(ids=['c', 'd'], times=[1, 1])
    # what is left of another state is removed
    write_repeats(folder, pool, 0)
    assert not os.path.exists(folder.repeats)
