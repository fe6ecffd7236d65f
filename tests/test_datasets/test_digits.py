import builtins
import json
import os
import shutil
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import cv2
import numpy as np
import pytest

from mmal.datasets import digits, make_digits
from mmal.registry import FUNCTIONS

pytest.importorskip('sklearn')
SMALL = dict(pool=12, val=6)


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    return make_digits(str(tmp_path_factory.mktemp('d') / 'digits'), **SMALL)


def _contents(root):
    files = {}
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            with open(path, 'rb') as f:
                files[os.path.relpath(path, root)] = f.read()
    return files


def _read(root, split):
    with open(os.path.join(root, f'{split}.json')) as f:
        return json.load(f)


def test_same_seed_same_bytes(made, tmp_path):
    again = make_digits(str(tmp_path / 'again'), **SMALL)
    other = make_digits(str(tmp_path / 'other'), seed=1, **SMALL)
    assert _contents(again) == _contents(made)
    assert (_contents(other)['images/pool_0000.png']
            != _contents(made)['images/pool_0000.png'])
    assert len(_contents(made)) == 12 + 6 + 3


def test_pictures_are_the_same_on_every_machine(made):
    # Checksums of the pixels, not of the files: they must hold for every
    # version of numpy, or measurements cannot be compared.
    path = os.path.join(made, 'images', 'pool_0003.png')
    assert zlib.crc32(cv2.imread(path).tobytes()) == 3509302746


def test_coco_files_are_sound(made):
    pool, val = _read(made, 'pool'), _read(made, 'val')
    for split, number in ((pool, 12), (val, 6)):
        assert len(split['images']) == number
        assert [c['name'] for c in split['categories']] == list(digits.CLASSES)
        ids = {image['id'] for image in split['images']}
        assert len(ids) == number
        assert {box['image_id'] for box in split['annotations']} == ids
        boxes = [box['id'] for box in split['annotations']]
        assert len(set(boxes)) == len(boxes)
        for box in split['annotations']:
            x, y, w, h = box['bbox']
            assert 0 <= x and 0 <= y and x + w <= 128 and y + h <= 128
            assert box['area'] == w * h and max(w, h) > 20
    assert not ({i['id'] for i in pool['images']}
                & {i['id'] for i in val['images']})


@pytest.mark.parametrize('level', digits.LEVELS)
def test_boxes_are_tight_around_what_is_painted(level):
    """Drawn on an even ground with nothing else, the ink of each box ends at
    its edges: half of the contrast is left there."""
    bank = digits.digit_banks(0)['pool']
    plain = replace(level, contrast=(80, 80), texture=(0, 0), clutter=(0, 0))
    for seed in range(5):
        rng = np.random.default_rng(seed)
        picture, boxes, labels = digits.draw_scene(plain, 128, bank,
                                                   (1, ) * 10, rng)
        assert len(boxes) == len(labels) > 0
        grey = picture @ digits.GREY
        contrast = np.abs(grey - np.median(grey))
        outside = np.ones_like(contrast, dtype=bool)
        for x, y, w, h in boxes:
            ink = contrast[y:y + h, x:x + w] > 39
            assert ink[0].any() and ink[-1].any()
            assert ink[:, 0].any() and ink[:, -1].any()
            assert outside[y:y + h, x:x + w].all(), 'boxes overlap'
            outside[y:y + h, x:x + w] = False
        assert contrast[outside].max() < 41


def test_splits_share_no_sample():
    banks = digits.digit_banks(0)
    for pool, val in zip(banks['pool'], banks['val']):
        assert len(pool) > len(val) > 40
        samples = {sample.tobytes() for sample in pool}
        assert not any(sample.tobytes() in samples for sample in val)
    assert sum(map(len, banks['pool'] + banks['val'])) == 1797


def test_png_is_read_back_exactly():
    picture = np.random.default_rng(0).integers(0, 256, (150, 170, 3))
    picture = picture.astype(np.uint8)
    content = np.frombuffer(digits.encode_png(picture), np.uint8)
    np.testing.assert_array_equal(
        cv2.imdecode(content, cv2.IMREAD_COLOR)[..., ::-1], picture)


def test_made_once_and_never_changed_again(tmp_path):
    root = str(tmp_path / 'digits')
    make_digits(root, **SMALL)
    first = os.stat(os.path.join(root, 'pool.json')).st_mtime_ns
    make_digits(root, **SMALL)
    assert os.stat(os.path.join(root, 'pool.json')).st_mtime_ns == first
    before = _contents(root)
    with pytest.raises(FileExistsError, match='other arguments.*Nothing in'):
        make_digits(root, pool=3, val=2)
    with open(os.path.join(root, 'mine.txt'), 'w') as f:
        f.write('a note')
    make_digits(root, **SMALL)  # a file more is nobody's business
    os.remove(os.path.join(root, 'images', 'val_0001.png'))
    with pytest.raises(FileExistsError, match=r'1 of its files .*val_0001'):
        make_digits(root, **SMALL)
    lost = os.path.join('images', 'val_0001.png')
    assert {**_contents(root), lost: before[lost]} == {
        **before, 'mine.txt': b'a note'}
    assert os.listdir(tmp_path) == ['digits']


def test_made_before_there_were_manifests(made, tmp_path):
    root = str(tmp_path / 'digits')
    shutil.copytree(made, root)
    path = os.path.join(root, 'parameters.json')
    with open(path) as f:
        parameters = json.load(f)['parameters']
    with open(path, 'w') as f:
        json.dump(parameters, f)
    assert make_digits(root, **SMALL) == root


@pytest.mark.parametrize('content', ['{"lr": 0.1}', '[]', 'no json', '{}'])
def test_a_file_of_this_name_does_not_make_a_folder_ours(tmp_path, content):
    """Whoever keeps parameters of an experiment keeps them."""
    (tmp_path / 'parameters.json').write_text(content)
    (tmp_path / 'thesis.txt').write_text('mine')
    with pytest.raises(FileExistsError, match='not made by make_digits'):
        make_digits(str(tmp_path), **SMALL)
    assert sorted(os.listdir(tmp_path)) == ['parameters.json', 'thesis.txt']


def test_racing_makers_agree(made, tmp_path):
    root = str(tmp_path / 'digits')
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(
            lambda _: make_digits(root, **SMALL), range(4)))
    assert results == [root] * 4
    assert _contents(root) == _contents(made)
    assert os.listdir(tmp_path) == ['digits']


def test_a_failed_making_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(digits, 'write_json', full)
    with pytest.raises(OSError, match='No space'):
        make_digits(str(tmp_path / 'digits'), **SMALL)
    assert os.listdir(tmp_path) == []


def test_a_folder_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path / 'thesis.txt').write_text('mine')
    with pytest.raises(FileExistsError, match='not made by make_digits'):
        make_digits(str(tmp_path), **SMALL)
    assert os.listdir(tmp_path) == ['thesis.txt']


@pytest.mark.parametrize('wrong', [dict(pool=0), dict(val=-1), dict(size=32),
                                   dict(seed='a'), dict(pool=2.5)])
def test_wrong_arguments_are_named(tmp_path, wrong):
    with pytest.raises(ValueError, match=f'{next(iter(wrong))} is'):
        make_digits(str(tmp_path / 'digits'), **wrong)


def test_missing_scikit_learn_is_named(tmp_path, monkeypatch):
    real = builtins.__import__

    def refuse(name, *args, **kwargs):
        if name.startswith('sklearn'):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, '__import__', refuse)
    with pytest.raises(ImportError, match='pip install'):
        make_digits(str(tmp_path / 'digits'), **SMALL)


def test_found_in_the_registry(tmp_path):
    import mmal.datasets  # noqa: F401
    root = str(tmp_path / 'digits')
    FUNCTIONS.build(dict(type='mmal.make_digits', root=root, **SMALL))
    assert len(_read(root, 'val')['images']) == 6
