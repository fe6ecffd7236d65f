"""Changes of the data of a run, told from what they were."""
import copy
import os
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmal.pool import DataRecord, ImageTable
from mmal.pool.coco import parse_coco


def coco_file(seed, images=8):
    """Photos of two classes with up to three boxes each, at random."""
    draw = random.Random(seed)
    annotations = []
    for i in range(images):
        for _ in range(draw.randrange(4)):
            x, y, w, h = (draw.randrange(1, 40) for _ in range(4))
            annotations.append(
                dict(id=len(annotations) + 1, image_id=i,
                     category_id=draw.choice([1, 2]), bbox=[x, y, w, h],
                     area=w * h, iscrowd=0))
    return dict(
        images=[dict(id=i, file_name=f'{i}.jpg', width=90, height=80 + i)
                for i in range(images)],
        categories=[dict(id=1, name='cat'), dict(id=2, name='dog')],
        annotations=annotations)


def record(raw, val=None):
    def table(raw):
        coco = parse_coco(copy.deepcopy(raw), 'pool.json')
        return coco, ImageTable.of(coco)

    coco, pool = table(raw)
    tables = dict(pool=pool)
    if val is not None:
        tables['validation'] = table(val)[1]
    return DataRecord(list(coco.class_names), tables)


def label_sets(raw):
    """By brute force: what is on each image, in no order."""
    names = {c['id']: c['name'] for c in raw['categories']}
    return {
        i['id']: sorted((*map(float, a['bbox']), float(a['area']),
                         a['iscrowd'], names[a['category_id']])
                        for a in raw['annotations']
                        if a['image_id'] == i['id'])
        for i in raw['images']
    }


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.booleans())
def test_changed_labels_are_those_that_differ(seed, other, shuffle):
    """Against a comparison of sorted lists, image by image."""
    old, new = coco_file(seed), coco_file(seed)
    draw = random.Random(other)
    for a in new['annotations']:
        if draw.random() < .2:
            key = draw.choice(['bbox', 'category_id', 'image_id', 'area'])
            a[key] = dict(bbox=[a['bbox'][0] + .25, *a['bbox'][1:]],
                          category_id=3 - a['category_id'],
                          image_id=draw.randrange(8), area=a['area'] + 1)[key]
    if shuffle:
        draw.shuffle(new['annotations'])
        draw.shuffle(new['images'])
        for n, a in enumerate(new['annotations']):
            a['id'] = 1000 + n
    before, after = label_sets(old), label_sets(new)
    changed = [i for i in before if before[i] != after[i]]
    lines = record(old).differences(record(new))
    assert len(lines) == bool(changed)
    if changed:
        assert f'annotations of {len(changed)} of 8 images' in lines[0]
        ids = lines[0].rsplit('ids ', 1)[1].split(', …')[0]
        assert {int(i) for i in ids.split(', ')} <= set(changed)


def test_each_kind_of_change_is_named():
    old = coco_file(1)

    def lines(change, old=old):
        new = copy.deepcopy(old)
        change(new)
        return record(old).differences(record(new))

    def halve(c):
        del c['annotations'][::2]

    def swap(c):
        c['categories'].reverse()

    def rename(c):
        for a, b in zip(c['categories'], ('dog', 'cat')):
            a['name'] = b

    def rotate(c):
        names = [i['file_name'] for i in c['images']]
        for image, name in zip(c['images'], names[1:] + names[:1]):
            image['file_name'] = name

    n = len(old['annotations'])
    assert f'({n} annotations then, {n // 2} now)' in lines(halve)[0]
    # the same boxes of the same classes: labels have other numbers
    assert lines(swap) == [
        "classes of the pool: 'cat', 'dog' -> 'dog', 'cat'"]
    assert len(lines(rename)) == 2  # the boxes have other classes as well
    assert 'file name or size of 8 of 8 images: ids ' in lines(rotate)[0]
    assert lines(lambda c: None) == []


def test_images_that_come_and_go_are_no_change():
    old, new = coco_file(1, images=9), coco_file(1, images=9)
    old['images'].pop()
    old['annotations'] = [a for a in old['annotations'] if a['image_id'] < 8]
    new['images'].pop(0)
    new['annotations'] = [a for a in new['annotations'] if a['image_id']]
    before, after = record(old), record(new)
    assert before.differences(after) == []
    pools = before.tables['pool'], after.tables['pool']
    assert pools[1].ids_missing_in(pools[0]) == [8]
    assert pools[0].number_missing_in(pools[1]) == 1
    # of a validation set it is one
    assert record(old, old).differences(record(old, new)) == [
        'validation: 1 images are gone, 1 are new']


def test_it_is_kept_on_the_disk(tmp_path):
    path = str(tmp_path / 'data.npz')
    old, val = coco_file(1), coco_file(2)
    record(old, val).save(path)
    again = DataRecord.load(path)
    assert again.differences(record(old, val)) == []
    del val['annotations'][0]
    assert 'validation: annotations of 1' in again.differences(
        record(old, val))[0]


@pytest.mark.parametrize('damage', [
    lambda b: b'', lambda b: b[:-30], lambda b: b[:40] + b'?' * 40 + b[80:],
    lambda b: b'{}'])
def test_a_damaged_record_says_what_to_do(tmp_path, damage):
    path = tmp_path / 'data.npz'
    record(coco_file(1)).save(str(path))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match='data.npz.*is damaged.*force'):
        DataRecord.load(str(path))


def test_another_file_of_arrays_is_damaged(tmp_path):
    np.savez(tmp_path / 'data.npz', pool=np.zeros(3))
    with pytest.raises(ValueError, match='is damaged'):
        DataRecord.load(str(tmp_path / 'data.npz'))


def test_replaced_photos_are_found_and_touched_ones_are_not(tmp_path):
    raw = coco_file(1)
    coco = parse_coco(raw, 'pool.json')
    for i in range(8):
        (tmp_path / f'{i}.jpg').write_bytes(bytes([i]) * 100)
    made, prefix = record(raw), str(tmp_path)
    assert made.add_files(coco, prefix, [0, 1, 2, 3, 4])
    assert not made.add_files(coco, prefix, [4])
    assert made.changed_files(coco, prefix, range(8)) == []
    os.utime(tmp_path / '0.jpg', (1, 1))  # copied
    (tmp_path / '1.jpg').write_bytes(b'?' * 100)  # of the same size
    os.utime(tmp_path / '1.jpg', (2, 2))
    (tmp_path / '2.jpg').write_bytes(b'?' * 99)
    (tmp_path / '3.jpg').unlink()  # for whoever reads it
    (tmp_path / '7.jpg').write_bytes(b'?')  # nobody labelled it
    assert made.changed_files(coco, prefix, range(8)) == [1, 2]
    assert made.unchanged_files(coco, prefix, range(8)) == [4]
    made.files = made.files_without([1, 2])
    assert made.changed_files(coco, prefix, range(8)) == []
    assert made.add_files(coco, prefix, [1, 2])
    assert made.changed_files(coco, prefix, range(8)) == []


@given(st.integers(0, 2**16), st.randoms())
def test_the_digest_is_that_of_the_labels_in_any_order(seed, draw):
    raw = coco_file(seed)
    shuffled = copy.deepcopy(raw)
    for key in ('images', 'annotations'):
        draw.shuffle(shuffled[key])
    assert record(shuffled).digest() == record(raw).digest()
    changed = copy.deepcopy(raw)
    changed['images'][0]['width'] += 1
    assert record(changed).digest() != record(raw).digest()
    assert record(raw, val=raw).digest() != record(raw).digest()
    assert record(raw, val=raw).digest('pool') == record(raw).digest('pool')
