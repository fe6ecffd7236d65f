"""wMAP against pycocotools run once for each group of sizes."""
import numpy as np
import pytest
import torch
from mmdet.evaluation import CocoMetric
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mmal.evaluation.size_weighted_coco_metric import (
    COCO_AREAS,
    SizeWeightedCocoMetric,
    size_weighted_ap,
)
from mmal.fileio import write_json
from mmal.registry import METRICS

CLASSES = ('cat', 'dog', 'owl')
ONE = pytest.approx(1)


def scene(path, boxes, images=1, ids=(1, 2, 3), size=400):
    """Write a COCO file; ``boxes`` are (image, class, x, y, w, h)."""
    content = dict(
        images=[dict(id=i, file_name=f'{i}.png', width=size, height=size)
                for i in range(images)],
        annotations=[
            dict(id=n + 1, image_id=image, category_id=ids[label], iscrowd=0,
                 bbox=list(map(float, box)), area=float(box[2] * box[3]))
            for n, (image, label, *box) in enumerate(boxes)],
        categories=[dict(id=i, name=n) for i, n in zip(ids, CLASSES)])
    write_json(str(path), content)
    return str(path)


def samples(detections, images=1, size=400):
    """``detections`` are (image, class, score, x, y, w, h)."""
    for i in range(images):
        mine = [d for d in detections if d[0] == i]
        boxes = torch.tensor([d[3:] for d in mine]).float().reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        yield dict(
            img_id=i, ori_shape=(size, size),
            pred_instances=dict(
                bboxes=boxes,
                labels=torch.tensor([d[1] for d in mine]).long(),
                scores=torch.tensor([d[2] for d in mine]).float()))


def measure(path, detections, images=1, **kwargs):
    metric = METRICS.build(
        dict(type='mmal.SizeWeightedCocoMetric', ann_file=path, **kwargs))
    metric.dataset_meta = dict(classes=CLASSES)
    metric.process({}, list(samples(detections, images)))
    return metric.evaluate(images)


def by_hand(path, detections, area, classes, max_dets=1000):
    """AP of some classes by pycocotools with one range of areas."""
    truth = COCO(path)
    ids = truth.getCatIds()
    found = truth.loadRes([
        dict(image_id=d[0], category_id=ids[d[1]], score=d[2],
             bbox=list(map(float, d[3:]))) for d in detections])
    run = COCOeval(truth, found, 'bbox')
    run.params.areaRng, run.params.areaRngLbl = [list(area)], ['one']
    run.params.maxDets = [max_dets]
    run.params.catIds = [ids[c] for c in classes]
    run.evaluate()
    run.accumulate()
    values = run.eval['precision']
    return values[values > -1].mean() if (values > -1).any() else None


def drawn(seed, images=6):
    """Boxes of all sizes, found roughly, with false alarms."""
    rng = np.random.default_rng(seed)
    boxes, found = [], []
    for _ in range(40):
        image, label = int(rng.integers(images)), int(rng.integers(3))
        w, h = rng.choice([12, 50, 150], 2) * rng.uniform(.8, 1.2, 2)
        x, y = rng.uniform(0, 200, 2)
        boxes.append((image, label, x, y, w, h))
        if rng.random() < .8:
            shift = rng.normal(0, .08, 4) * [w, h, w, h]
            label = label if rng.random() < .8 else int(rng.integers(3))
            found.append((image, label, rng.random(),
                          *(np.array([x, y, w, h]) + shift)))
    for _ in range(15):
        found.append((int(rng.integers(images)), int(rng.integers(3)),
                      rng.random(), *rng.uniform(5, 150, 4)))
    return boxes, [(i, c, *map(float, np.float32(rest)))
                   for i, c, *rest in found]


def mean(values):
    return np.mean([v for v in values if v is not None])


@pytest.mark.parametrize('seed', [0, 1])
@pytest.mark.parametrize('areas', [COCO_AREAS, ((0, 400), (400, 1e4))])
def test_mean_of_separate_evaluations(tmp_path, seed, areas):
    boxes, found = drawn(seed)
    path = scene(tmp_path / 'a.json', boxes, 6)
    ours = measure(path, found, 6, classwise=True, area_ranges=areas)
    expected = mean([by_hand(path, found, a, range(3)) for a in areas])
    assert ours['coco/bbox_wMAP'] == pytest.approx(expected, abs=1e-6)
    for label, name in enumerate(CLASSES):
        expected = mean([by_hand(path, found, a, [label]) for a in areas])
        assert ours[f'coco/{name}_wMAP'] == pytest.approx(expected, abs=1e-6)
    assert 0 < ours['coco/bbox_wMAP'] < 1


def test_mean_of_mmdets_own_sizes(tmp_path):
    """mmdet rounds to three digits, wMAP is not rounded."""
    boxes, found = drawn(2)
    path = scene(tmp_path / 'a.json', boxes, 6)
    ours = measure(path, found, 6)
    theirs = mean([ours[f'coco/bbox_mAP_{s}'] for s in 'sml'])
    assert ours['coco/bbox_wMAP'] == pytest.approx(theirs, abs=5e-4)
    assert ours['coco/bbox_wMAP'] != round(ours['coco/bbox_wMAP'], 3)
    assert 'coco/bbox_mAP' in ours and 'coco/cat_wMAP' not in ours


def test_hand_computed(tmp_path):
    """A small cat found, a large one missed, a medium dog found second.

    Cat: AP 1 (small) and 0 (large). Dog: a false alarm of medium size comes
    first, so precision is 1/2 at every recall. Small 1, medium 1/2, large 0.
    """
    path = scene(tmp_path / 'a.json', [
        (0, 0, 10, 10, 20, 20), (0, 0, 100, 100, 200, 200),
        (0, 1, 10, 200, 50, 50)])
    ours = measure(path, [
        (0, 0, .9, 10, 10, 20, 20), (0, 1, .8, 300, 10, 50, 50),
        (0, 1, .7, 10, 200, 50, 50)], classwise=True)
    assert ours['coco/bbox_wMAP'] == pytest.approx((1 + .5 + 0) / 3)
    assert ours['coco/cat_wMAP'] == pytest.approx(.5)
    assert ours['coco/dog_wMAP'] == pytest.approx(.5)
    assert 'coco/owl_wMAP' not in ours  # there is none


def test_groups_without_objects_are_left_out(tmp_path):
    path = scene(tmp_path / 'a.json', [(0, 0, 10, 10, 20, 20)])
    ours = measure(path, [(0, 0, .9, 10, 10, 20, 20)], classwise=True)
    assert ours['coco/bbox_wMAP'] == ours['coco/cat_wMAP'] == ONE
    assert ours['coco/bbox_mAP_l'] == -1


def test_no_detections_are_an_ap_of_zero(tmp_path):
    path = scene(tmp_path / 'a.json', [(0, 0, 10, 10, 20, 20)])
    ours = measure(path, [], classwise=True)
    assert ours == {'coco/bbox_wMAP': 0, 'coco/cat_wMAP': 0}


def test_no_objects_at_all(tmp_path):
    path = scene(tmp_path / 'a.json', [])
    for found in ([], [(0, 0, .9, 10, 10, 20, 20)]):
        ours = measure(path, found)
        assert 'coco/bbox_wMAP' not in ours


def test_categories_that_are_not_sorted_keep_their_names(tmp_path):
    path = scene(tmp_path / 'a.json', [
        (0, 0, 10, 10, 20, 20), (0, 1, 100, 100, 20, 20)], ids=(7, 3, 5))
    ours = measure(path, [(0, 0, .9, 10, 10, 20, 20)], classwise=True)
    assert ours['coco/cat_wMAP'] == ONE and ours['coco/dog_wMAP'] == 0


def test_one_iou_threshold(tmp_path, monkeypatch):
    """mmdet's own summary fails with a single threshold."""
    monkeypatch.setattr(CocoMetric, 'compute_metrics', lambda *_: {})
    path = scene(tmp_path / 'a.json', [(0, 0, 10, 10, 20, 20)])
    shifted = [(0, 0, .9, 12, 10, 20, 20)]  # IoU 18 / 22
    for threshold, value in ((.8, 1), (.85, 0)):
        metric = SizeWeightedCocoMetric(path, iou_thrs=[threshold])
        metric.dataset_meta = dict(classes=CLASSES)
        metric.cat_ids, metric.img_ids = [1, 2, 3], [0]
        preds = [dict(img_id=0, **{
            k: v.numpy()
            for k, v in next(samples(shifted))['pred_instances'].items()})]
        assert metric.compute_metrics([({}, p) for p in preds]) == {
            'bbox_wMAP': pytest.approx(value)}


def test_truth_of_the_data_set(tmp_path):
    """Without a file the truth comes with the samples."""
    metric = SizeWeightedCocoMetric(classwise=True)
    metric.dataset_meta = dict(classes=CLASSES)
    sample = next(samples([(0, 2, .9, 10, 10, 20, 20)]))
    sample['instances'] = [dict(bbox=[10, 10, 30, 30], bbox_label=2)]
    metric.process({}, [sample])
    ours = metric.evaluate(1)
    assert ours['coco/bbox_wMAP'] == ours['coco/owl_wMAP'] == ONE


@pytest.mark.parametrize('kwargs, message', [
    (dict(area_ranges=[]), 'area_ranges is empty'),
    (dict(area_ranges=[(5, 5)]), r'\(5, 5\) in area_ranges is no range'),
    (dict(area_ranges=[(0, 5, 9)]), 'no range'),
    (dict(metric='proposal'), "add 'bbox'")])
def test_mistakes_are_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        SizeWeightedCocoMetric(**kwargs)


def test_means_of_a_table():
    rng = np.random.default_rng(0)
    table = rng.random((2, 3, 4, 3))
    table[:, :, 1, 2] = table[:, :, 3] = -1
    overall, of_classes = size_weighted_ap(table)
    ap = table.mean((0, 1))
    columns = [[v for v in ap[:, a] if v >= 0] for a in range(3)]
    assert overall == pytest.approx(np.mean([np.mean(c) for c in columns]))
    rows = [[v for v in ap[c] if v >= 0] for c in range(3)]
    np.testing.assert_allclose(of_classes[:3], [np.mean(r) for r in rows])
    assert of_classes[3] == -1
    assert size_weighted_ap(np.full((2, 3, 1, 1), -1.))[0] == -1


@pytest.mark.run
def test_a_run_stops_at_it(tmp_path):
    """As ``active_learning.target``; even an untrained detector has 0."""
    from helpers.tiny import tiny_config
    from mmengine.config import Config
    from mmengine.registry import DefaultScope

    from mmal.engine import ActiveLearner
    from mmal.reporting import Curve
    cfg = Config(tiny_config(str(tmp_path / 'data'), epochs=1).to_dict())
    cfg.work_dir = str(tmp_path / 'work')
    cfg.val_evaluator.type = 'mmal.SizeWeightedCocoMetric'
    cfg.active_learning = dict(
        data=dict(ann_file='pool.json'), initial=dict(size=4), rounds=3,
        budget=dict(size=3, unit='images'),
        target=dict(metric='coco/bbox_wMAP', value=0.0),
        score_dataloader=dict(batch_size=2, num_workers=0))
    with DefaultScope.overwrite_default_scope('mmdet'):
        ActiveLearner(cfg).run()
    curve = Curve.load(cfg.work_dir)
    assert curve.stopped == 'target' and len(curve) == 1
    assert curve.records[0].value('coco/bbox_wMAP') >= 0
