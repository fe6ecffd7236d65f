"""Files of labelling tools in the form that mmdet and pycocotools read."""
import codecs
import copy
import gzip
import json
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools import mask
from pycocotools.coco import COCO

from mmal.pool import load_coco, read_size
from mmal.pool.canonical import box_of, make_canonical, whole

CLEAN = dict(
    images=[dict(id=1, file_name='a.png', width=64, height=48),
            dict(id=2, file_name='b.png', width=64, height=48)],
    annotations=[
        dict(id=1, image_id=1, category_id=3, bbox=[2, 3, 10, 8], area=80,
             iscrowd=0),
        dict(id=2, image_id=2, category_id=4, bbox=[5, 5, 4, 4], area=16,
             iscrowd=0)],
    categories=[dict(id=3, name='cat'), dict(id=4, name='dog')])


def changed(change):
    raw = copy.deepcopy(CLEAN)
    change(raw)
    return raw


def each(key, **values):
    """A change of all rows under a key; None removes."""
    def change(raw):
        for row in raw[key]:
            for name, value in values.items():
                if value is None:
                    row.pop(name, None)
                else:
                    row[name] = value(row)
    return change


def set_first(key, **values):
    return lambda raw: raw[key][0].update(values)


def test_a_clean_file_stays_as_it_is():
    out, repairs = make_canonical(copy.deepcopy(CLEAN))
    assert out == CLEAN and repairs == []


@pytest.mark.parametrize('change, repair', [
    (each('annotations', area=None), '"area" set to that of the box (2)'),
    (each('annotations', area=lambda _: 0), '"area" set to that of the box'),
    (set_first('annotations', area=None), '"area" set to that of the box (1)'),
    (set_first('annotations', area='80'), '"area" set to that of the box (1)'),
    (each('annotations', iscrowd=None), '"iscrowd" filled in (2)'),
    (set_first('annotations', iscrowd=None), '"iscrowd" filled in (1)'),
    (each('annotations', iscrowd=lambda _: False), '"iscrowd" filled in (2)'),
    (each('annotations', iscrowd=lambda _: 'false'), '"iscrowd" filled in'),
    (each('annotations', id=None), 'without an id numbered (2)'),
    (set_first('annotations', id=2), 'another one has numbered anew (1)'),
    (each('annotations', image_id=lambda a: str(a['image_id'])),
     'image_id made a whole number (2)'),
    (each('annotations', image_id=lambda a: float(a['image_id'])),
     'image_id made a whole number (2)'),
    (each('images', id=lambda i: float(i['id'])),
     'image id made a whole number (2)'),
    (each('images', id=lambda i: str(i['id'])),
     'image id made a whole number (2)'),
    (each('annotations', category_id=lambda a: str(a['category_id'])),
     'category_id made a whole number (2)'),
    (each('images', width=lambda _: '64'), 'width or height made a whole'),
    (each('images', height=lambda _: 48.0), 'width or height made a whole'),
    (each('annotations', bbox=lambda a: list(map(str, a['bbox']))),
     'numbers of a "bbox" that were text (2)'),
    (lambda raw: raw.update(categories=raw['categories'] * 3),
     'category rows that repeat left out (4)'),
    (lambda raw: raw['categories'].insert(0, dict(id=0, name='dog')),
     'categories left out that no annotation uses'),
])
def test_repairs_end_in_the_same_file(change, repair):
    out, repairs = make_canonical(changed(change))
    for a, b in zip(out['annotations'], CLEAN['annotations']):
        assert a['bbox'] == b['bbox'] and a['area'] == b['area']
        assert (a['image_id'], a['category_id'], a['iscrowd']) == (
            b['image_id'], b['category_id'], 0)
    assert len({a['id'] for a in out['annotations']}) == 2
    assert out['images'] == CLEAN['images']
    assert out['categories'] == CLEAN['categories']
    assert len(repairs) == 1 and repair in repairs[0]


def test_categories_of_one_name_that_are_both_used_are_joined():
    raw = changed(lambda raw: (raw['categories'].append(
        dict(id=9, name='cat')), raw['annotations'][1].update(category_id=9)))
    out, repairs = make_canonical(raw)
    assert [a['category_id'] for a in out['annotations']] == [3, 3]
    assert len(out['categories']) == 2 and 'joined (1)' in repairs[0]


def test_crowd_regions_become_boxes_if_asked_for():
    change = each('annotations', iscrowd=lambda _: 1)
    kept, repairs = make_canonical(changed(change))
    assert repairs == [] and kept['annotations'][0]['iscrowd'] == 1
    boxes, repairs = make_canonical(changed(change), crowd='boxes')
    assert boxes['annotations'] == CLEAN['annotations']
    assert repairs == ['crowd regions taken as boxes (2)']


def test_sizes_are_read_from_the_images(tmp_path):
    Image.new('RGB', (64, 48)).save(tmp_path / 'a.png')
    exif = Image.Exif()
    exif[0x0112] = 6  # lying on its side
    Image.new('RGB', (48, 64)).save(tmp_path / 'b.jpg', exif=exif)
    raw = changed(lambda raw: raw['images'][1].update(file_name='b.jpg'))
    for row, bad in zip(raw['images'], (None, -1)):
        row.update(width=bad, height=0)
    path = tmp_path / 'pool.json'
    path.write_text(json.dumps(raw))
    coco = load_coco(str(path), read_size=lambda n: read_size(
        str(tmp_path), n))
    assert [(i['width'], i['height']) for i in coco.images.values()] == [
        (64, 48), (64, 48)]
    assert 'read from the image (2)' in coco.repairs[0]
    (tmp_path / 'a.png').unlink()
    with pytest.raises(ValueError, match='"width".* with the ids 1'):
        load_coco(str(path), read_size=lambda n: read_size(str(tmp_path), n))


@pytest.mark.parametrize('encode', [
    lambda text: codecs.BOM_UTF8 + text.encode(),
    lambda text: codecs.BOM_UTF16_LE + text.encode('utf-16-le'),
    lambda text: codecs.BOM_UTF16_BE + text.encode('utf-16-be'),
    lambda text: gzip.compress(text.encode()),
    lambda text: text.replace(', ', ',\r\n').encode(),
])
def test_dialects(tmp_path, encode):
    raw = changed(set_first('images', gps=float('nan')))
    path = tmp_path / 'pool.json'
    path.write_bytes(encode(json.dumps(raw)))
    coco = load_coco(str(path))
    assert coco.images[1]['gps'] is None
    assert coco.annotations_of(coco.ids) == CLEAN['annotations']


@pytest.mark.parametrize('content', [
    b'\x1f\x8bno gzip', codecs.BOM_UTF16_LE + b'a', b'\xff', b'',
    b'[' * 100_000, b'{"images": NaN}'])
def test_other_content_is_one_error(tmp_path, content):
    path = tmp_path / 'pool.json'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r'pool\.json'):
        load_coco(str(path))


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.floats(0, 60), st.floats(0, 40)), min_size=3,
                max_size=9))
def test_the_box_of_a_polygon_holds_its_points(points):
    flat = [v for point in points for v in point]
    xs, ys = zip(*points)
    expected = [min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys)]
    assert box_of([flat]) == box_of(flat) == pytest.approx(expected)


def test_the_box_of_a_run_length_encoding_is_that_of_its_pixels():
    pixels = np.zeros((48, 64), np.uint8)
    pixels[10:21, 30:34] = 1
    rle = mask.encode(np.asfortranarray(pixels))
    counts = []
    flat, value = pixels.flatten(order='F'), 0
    while len(flat):
        run = int((flat != value).argmax()) if (flat != value).any() else \
            len(flat)
        counts.append(run)
        flat, value = flat[run:], 1 - value
    for segmentation in (rle, dict(counts=counts, size=[48, 64])):
        assert box_of(segmentation) == [30, 10, 4, 11]


@pytest.mark.parametrize('segmentation', [
    None, [], [[]], [[1]], ['a'], [[1, 'b']], dict(), dict(counts=3),
    [[float('nan'), 1]], 7])
def test_no_box_of_nonsense(segmentation):
    assert box_of(segmentation) is None


def test_boxes_come_from_segmentations():
    raw = changed(lambda raw: [a.update(segmentation=[[2, 3, 12, 3, 12, 11]],
                                        bbox=None)
                               for a in raw['annotations']])
    out, repairs = make_canonical(raw)
    assert [a['bbox'] for a in out['annotations']] == [[2, 3, 10, 8]] * 2
    assert 'computed from the segmentation (2)' in repairs[0]


@given(st.one_of(st.integers(), st.text(), st.floats(allow_nan=False),
                 st.integers().map(str), st.none(), st.booleans()))
def test_an_id_keeps_its_value(value):
    number = whole(value)
    if number is not value:
        assert isinstance(number, int)
        # a text may have more digits than a float holds
        assert number == value if isinstance(value, float) else \
            str(number) == value.strip()


def json_values():
    leaf = st.one_of(st.none(), st.booleans(), st.integers(-9, 9),
                     st.floats(-9, 99, allow_nan=False),
                     st.sampled_from(['', '1', '2', 'cat', 'x']))
    return st.recursive(leaf, lambda v: st.lists(v, max_size=4) |
                        st.dictionaries(st.sampled_from(['id', 'counts']), v,
                                        max_size=2), max_leaves=5)


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_any_mutation_is_a_file_or_one_error(tmp_path_factory, data):
    raw = copy.deepcopy(CLEAN)
    for _ in range(data.draw(st.integers(1, 3))):
        key = data.draw(st.sampled_from([*raw, 'info']))
        rows = raw.get(key)
        if not isinstance(rows, list) or not rows or data.draw(
                st.integers(0, 9)) == 0:
            raw[key] = data.draw(json_values())
            continue
        row = rows[data.draw(st.integers(0, len(rows) - 1))]
        if not isinstance(row, dict):
            continue
        name = data.draw(st.sampled_from([*row, 'ignore', 'segmentation']))
        if data.draw(st.booleans()):
            row.pop(name, None)
        else:
            row[name] = data.draw(json_values())
    path = str(tmp_path_factory.getbasetemp() / 'mutated.json')
    with open(path, 'w') as f:
        json.dump(raw, f)
    try:
        coco = load_coco(path)
    except ValueError as e:
        assert 'mutated.json' in str(e) and len(str(e)) < 1000
        return
    # what is accepted pycocotools can read and evaluate
    again = path + '.again'
    with open(again, 'w') as f:
        json.dump(coco.subset(coco.ids, coco.annotations_of(coco.ids)), f)
    with open(os.devnull, 'w') as nothing:
        from contextlib import redirect_stdout
        with redirect_stdout(nothing):
            truth = COCO(again)
    for a in truth.dataset['annotations']:
        assert a['iscrowd'] in (0, 1) or isinstance(a['iscrowd'], int)
        assert a['area'] >= 0
