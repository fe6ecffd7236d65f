"""Counts of the product against the data set that mmdet builds."""
import contextlib
import io
import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmdet.registry import DATASETS
from mmengine.registry import DefaultScope

from mmal.pool import (
    BoxBudget,
    CocoOracle,
    TrainingRule,
    check_boxes,
    count_boxes,
    ignore_untrained,
    load_coco,
)
from mmal.pool.coco import group_by_image

CLASSES = ('cat', 'dog')


@st.composite
def files(draw):
    """A COCO file with everything that mmdet may leave out."""
    number = st.one_of(st.sampled_from([0, .5, 1, 30]), st.floats(-20, 90))
    side = st.one_of(st.sampled_from([0, .4, .999, 1, 20]), st.floats(0, 90))
    images = [dict(id=i, file_name=f'{i}.png',
                   width=draw(st.sampled_from([16, 31, 32, 64])),
                   height=draw(st.sampled_from([16, 32, 48])))
              for i in range(draw(st.integers(1, 5)))]
    annotations = []
    for n in range(draw(st.integers(0, 12))):
        box = [draw(number), draw(number), draw(side), draw(side)]
        a = dict(id=n + 1, image_id=draw(st.sampled_from(images))['id'],
                 category_id=draw(st.sampled_from([3, 4])), bbox=box)
        for key, value in (('area', draw(st.sampled_from([0, 5, None]))),
                           ('iscrowd', draw(st.sampled_from([0, 1, None]))),
                           ('ignore', draw(st.sampled_from([0, 1, None])))):
            if value is not None:
                a[key] = value
        annotations.append(a)
    filter_cfg = draw(st.sampled_from([
        None, dict(filter_empty_gt=True), dict(min_size=32),
        dict(filter_empty_gt=True, min_size=32)]))
    return dict(images=images, annotations=annotations, categories=[
        dict(id=3, name='cat'), dict(id=4, name='dog')]), filter_cfg


def built(path, filter_cfg):
    """Images and boxes of the training set that mmdet builds."""
    with DefaultScope.overwrite_default_scope('mmdet'), \
            contextlib.redirect_stdout(io.StringIO()):
        try:
            dataset = DATASETS.build(dict(
                type='CocoDataset', ann_file=path, filter_cfg=filter_cfg,
                data_prefix=dict(img=''), pipeline=[],
                metainfo=dict(classes=CLASSES),
                serialize_data=False))
        except ValueError:  # mmdet cannot build an empty one
            return 0, 0
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    return len(infos), sum(not box['ignore_flag'] for info in infos
                           for box in info['instances'])


@settings(deadline=None, max_examples=150,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files())
def test_counts_are_those_of_the_built_training_set(tmp_path, drawn):
    raw, filter_cfg = drawn
    path = str(tmp_path / 'pool.json')
    with open(path, 'w') as f:
        json.dump(raw, f)
    coco = load_coco(path)
    rule = TrainingRule.of(dict(filter_cfg=filter_cfg), coco, CLASSES)
    ignore_untrained(coco.table(), coco, rule)
    # the file that a round trains on
    annotations = coco.annotations_of(coco.ids)
    labelled = str(tmp_path / 'labelled.json')
    with open(labelled, 'w') as f:
        json.dump(coco.subset(coco.ids, annotations), f)
    images, boxes = built(labelled, filter_cfg)
    counts = count_boxes(annotations, coco.ids)
    by_image = group_by_image(annotations)
    kept = sum(rule.keeps(image, by_image.get(i, ()))
               for i, image in coco.images.items())
    assert (kept, counts.sum()) == (images, boxes)
    # marking what is left out does not change what is trained on
    plain = str(tmp_path / 'plain.json')
    with open(plain, 'w') as f:
        json.dump(load_coco(path).subset(coco.ids, load_coco(
            path).annotations_of(coco.ids)), f)
    assert built(plain, filter_cfg) == (images, boxes)
    # a budget in boxes pays for what is trained on
    if annotations:
        budget = BoxBudget(max(1, boxes))
        acquired = budget.acquire(coco.ids, CocoOracle(pool=coco))
        assert acquired.boxes == boxes


def file_of(boxes, width=100, height=80):
    return dict(
        images=[dict(id=1, file_name='a.png', width=width, height=height)],
        annotations=[dict(id=n, image_id=1, category_id=1, bbox=box)
                     for n, box in enumerate(boxes)],
        categories=[dict(id=1, name='cat')])


def load(tmp_path, raw):
    path = tmp_path / 'pool.json'
    path.write_text(json.dumps(raw))
    return load_coco(str(path))


def test_shares_of_the_image_are_no_pixels(tmp_path):
    coco = load(tmp_path, file_of([[.1, .2, .5, .3], [0, 0, .9, .9]]))
    with pytest.raises(ValueError, match='shares of the image'):
        check_boxes(coco)


def test_corners_are_no_sides(tmp_path):
    coco = load(tmp_path, file_of([[60, 50, 90, 70], [50, 40, 99, 79]]))
    with pytest.raises(ValueError, match=r'2 of 2 boxes.*\[x1, y1, x2, y2\]'):
        check_boxes(coco)


@pytest.mark.parametrize('boxes', [
    [], [[60, 50, 30, 20]], [[60, 50, 90, 70], [1, 1, 20, 20], [2, 2, 9, 9]],
    [[.1, .2, 5, .3]]])
def test_boxes_as_they_should_be(tmp_path, boxes):
    check_boxes(load(tmp_path, file_of(boxes)))


def test_reasons_are_counted(tmp_path):
    raw = file_of([[1, 1, 20, 20], [1, 1, .5, 20], [500, 1, 20, 20],
                   [1, 1, 20, 20], [1, 1, 20, 20]])
    raw['annotations'][3]['iscrowd'] = 1
    raw['annotations'][4]['ignore'] = 1
    coco = load(tmp_path, raw)
    rule = TrainingRule.of({}, coco, ['cat'])
    assert ignore_untrained(coco.table(), coco, rule) == {
        'marked "ignore"': 1, 'crowd regions': 1,
        'a side below one pixel': 1, 'outside the image': 1}
    assert count_boxes(coco.annotations_of([1]), [1]).tolist() == [1]
