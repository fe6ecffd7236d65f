"""The tool that draws random images of a COCO json."""
import importlib.util
import os.path as osp

import pytest

from mmal.fileio import read_json, write_json
from mmal.pool import initial_ids, load_coco

ROOT = osp.dirname(osp.dirname(osp.dirname(osp.abspath(__file__))))
TOOL = osp.join(ROOT, 'tools', 'dataset', 'draw_subset.py')


@pytest.fixture
def everything(tmp_path):
    """Thirty images, each with as many boxes as the last digit of its id."""
    path = tmp_path / 'all.json'
    boxes = [i for i in range(30) for _ in range(i % 10)]
    write_json(str(path), {
        'info': {'year': 2014},
        'images': [{'id': i, 'file_name': f'{i}.jpg', 'width': 9, 'height': 9}
                   for i in range(30)],
        'annotations': [{'id': n, 'image_id': i, 'category_id': 7,
                         'bbox': [1, 1, 4, 4], 'area': 16, 'iscrowd': n % 2,
                         'segmentation': [[1, 1, 5, 1, 5, 5]]}
                        for n, i in enumerate(boxes)],
        'categories': [{'id': 7, 'name': 'dog'}]})
    return path


def run(*args):
    spec = importlib.util.spec_from_file_location('draw_subset', TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main([str(a) for a in args])


@pytest.mark.parametrize('seed', [0, 5])
def test_images_are_the_first_of_a_run(everything, tmp_path, seed, capsys):
    out = tmp_path / 'new' / 'some.json'
    assert run(everything, out, '--size', 12, '--seed', seed) == 0
    whole, some = read_json(str(everything)), read_json(str(out))
    first = initial_ids({'size': 12}, load_coco(str(everything)), seed).ids
    ids = [image['id'] for image in some['images']]
    assert sorted(first) == ids and len(ids) == 12
    assert some['images'] == [whole['images'][i] for i in ids]
    key = 'annotations'
    boxes = {a['id']: a for a in some[key]}
    assert len(boxes) == len(some[key])
    assert boxes == {a['id']: a for a in whole[key] if a['image_id'] in ids}
    assert (some['info'], some['categories']) == (whole['info'],
                                                  whole['categories'])
    assert f'12 images, {len(boxes)} objects' in capsys.readouterr().out


@pytest.mark.parametrize('size', [0, 31])
def test_a_size_out_of_range_is_refused(everything, tmp_path, size, capsys):
    out = tmp_path / 'some.json'
    assert run(everything, out, '--size', size) == 1
    message = capsys.readouterr().err
    assert f'--size is {size}' in message and '30 images' in message
    assert not out.exists()


def test_the_file_to_draw_from_is_not_overwritten(everything, capsys):
    before = everything.read_bytes()
    assert run(everything, everything, '--size', 3) == 1
    assert 'is the file to draw from' in capsys.readouterr().err
    assert everything.read_bytes() == before


def test_a_missing_file_is_named(tmp_path, capsys):
    assert run(tmp_path / 'no.json', tmp_path / 'out.json', '--size', 1) == 1
    assert 'no.json' in capsys.readouterr().err
