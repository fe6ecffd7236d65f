"""The tool that makes classes of a COCO json rare."""
import importlib.util
import os.path as osp
from collections import Counter

import pytest

from mmal.fileio import read_json, write_json

ROOT = osp.dirname(osp.dirname(osp.dirname(osp.abspath(__file__))))
TOOL = osp.join(ROOT, 'tools', 'dataset', 'draw_longtail.py')


@pytest.fixture
def everything(tmp_path):
    """Forty images: ten without boxes, and thirty cats, dogs and cows in
    turn, each with two boxes of its class and every other one with a cow."""
    labels = [(i, 3 + i % 3) for i in range(30) for _ in range(2)]
    labels += [(i, 5) for i in range(0, 30, 2)]
    path = tmp_path / 'all.json'
    write_json(str(path), {
        'images': [{'id': 100 - i, 'file_name': f'{i}.jpg', 'width': 9,
                    'height': 9} for i in range(40)],
        'annotations': [{'id': n, 'image_id': 100 - i, 'category_id': c,
                         'bbox': [1, 1, 4, 4], 'area': 16, 'iscrowd': 0}
                        for n, (i, c) in enumerate(labels)],
        'categories': [{'id': 5, 'name': 'cow'}, {'id': 3, 'name': 'cat'},
                       {'id': 4, 'name': 'dog'}]})
    return path


def run(*args):
    spec = importlib.util.spec_from_file_location('draw_longtail', TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main([str(a) for a in args])


def ids(path):
    return [image['id'] for image in read_json(str(path))['images']]


def test_classes_are_as_rare_as_was_asked(everything, tmp_path, capsys):
    out = tmp_path / 'tail.json'
    assert run(everything, out, '--images', 'cat=8', 'cow=3', 'dog=1') == 0
    whole, tail = read_json(str(everything)), read_json(str(out))
    assert tail['categories'] == whole['categories']
    assert Counter((100 - i) % 3 for i in ids(out)) == {0: 8, 1: 1, 2: 3}
    assert all(i > 70 for i in ids(out))  # those with boxes
    kept = [a for a in whole['annotations'] if a['image_id'] in ids(out)]
    assert {a['id'] for a in tail['annotations']} == {a['id'] for a in kept}
    cows = sum(a['category_id'] == 5 for a in kept)
    assert f'12 images, boxes: cow {cows}, cat 16, dog 2' in (
        capsys.readouterr().out)


def test_the_draw_is_that_of_the_seed(everything, tmp_path):
    def draw(name, *args):
        assert run(everything, tmp_path / name, '--images', *args) == 0
        return ids(tmp_path / name)

    few = draw('a', 'cat=3')
    assert draw('b', 'cat=3') == few
    assert draw('c', 'cat=3', '--seed', 1) != few
    assert set(few) < set(draw('d', 'cat=6', 'dog=5'))


def test_the_file_to_draw_from_is_not_overwritten(everything, tmp_path,
                                                  capsys):
    before = everything.read_bytes()
    other = tmp_path / 'other.json'
    other.symlink_to(everything)
    for out in (everything, other):
        assert run(everything, out, '--images', 'cat=3') == 1
        assert 'is the file to draw from' in capsys.readouterr().err
    assert everything.read_bytes() == before


@pytest.mark.parametrize('images, message', [
    ('cat=11', '10 images of this class'),
    ('bird=1', 'are cow, cat, dog'),
])
def test_what_cannot_be_drawn_is_refused(everything, tmp_path, images,
                                         message, capsys):
    out = tmp_path / 'tail.json'
    assert run(everything, out, '--images', images) == 1
    assert message in capsys.readouterr().err
    assert not out.exists()
