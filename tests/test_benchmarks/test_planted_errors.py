"""Planted label errors are what they are said to be."""
import numpy as np
from label_errors import EITHER, hits, plant_errors


def pool(seed, images=30, boxes=8):
    generator = np.random.default_rng(seed)
    annotations = []
    for image in range(images):
        for _ in range(boxes):
            side = generator.uniform(5, 100, 2)
            corner = generator.uniform(0, [100, 120] - side)
            annotations.append(dict(
                id=len(annotations), image_id=image, iscrowd=0,
                category_id=int(generator.integers(1, 4)),
                bbox=[*corner.tolist(), *side.tolist()]))
    annotations.append(dict(id=999, image_id=0, iscrowd=1, category_id=1,
                            bbox=[0, 0, 50, 50]))
    return dict(images=[dict(id=i, width=100, height=120)
                        for i in range(images)],
                categories=[dict(id=c, name=str(c)) for c in (1, 2, 3)],
                annotations=annotations)


def iou(a, b):
    a, b = np.array(a), np.array(b)
    shared = (np.minimum(a[:2] + a[2:], b[:2] + b[2:]) -
              np.maximum(a[:2], b[:2])).clip(min=0).prod()
    return shared / (a[2:].prod() + b[2:].prod() - shared)


def test_each_kind_changes_so_many_boxes_and_nothing_else():
    before = pool(0)
    after, errors = plant_errors(before, 0.1, seed=3)
    old = {a['id']: a for a in before['annotations']}
    new = {a['id']: a for a in after['annotations']}
    by_kind = {k: [e for e in errors if e['kind'] == k]
               for k in ('overlooked', 'class', 'badly placed')}
    assert [len(e) for e in by_kind.values()] == [24, 24, 24]
    changed = {e['annotation'] for e in errors}
    assert len(changed) == 72 and 999 not in changed
    assert all(old[i] == new[i] for i in old.keys() - changed)
    for e in errors:
        assert (e['bbox'], e['category_id']) == (
            old[e['annotation']]['bbox'], old[e['annotation']]['category_id'])
    assert not {e['annotation'] for e in by_kind['overlooked']} & new.keys()
    for e in by_kind['class']:
        box = new[e['annotation']]
        assert box['category_id'] != e['category_id']
        assert box['category_id'] in (1, 2, 3) and box['bbox'] == e['bbox']
    for e in by_kind['badly placed']:
        box = np.array(new[e['annotation']]['bbox'])
        assert 0 < iou(box, e['bbox']) < 0.51
        assert (box[:2] >= 0).all()
        assert (box[:2] + box[2:] <= [100.01, 120.01]).all()
    assert plant_errors(before, 0.1, seed=3) == (after, errors)


def test_a_dropped_box_is_found_once():
    error = dict(kind='overlooked', image_id=1, annotation=5, category_id=2,
                 bbox=[0, 0, 10, 10])
    near = dict(image_id=1, category_id=2, bbox=[1, 0, 10, 10], score=.9)
    ranking = [(.9, None, dict(near, category_id=1)), (.8, None, near),
               (.7, None, near), (.6, None, dict(near, image_id=2))]
    assert hits(ranking, 'overlooked', [error]).tolist() == [
        False, True, False, False]
    moved = dict(error, kind='class')
    assert hits([(1, dict(id=5), None), (.5, dict(id=6), None)], 'class',
                [moved]).tolist() == [True, False]
    ranking = [(1, dict(id=5), None), (.5, dict(id=6), None)]
    errors = [dict(moved, annotation=i, kind=k) for i, k in (
        (5, 'badly placed'), (6, 'overlooked'))]
    assert hits(ranking, 'class', errors).tolist() == [False, False]
    assert hits(ranking, EITHER, errors).tolist() == [True, False]
