"""mmdet's VOC metric beside COCO's, with COCO files of VOC."""
import glob
import os.path as osp

import numpy as np
import pytest
import torch
from mmdet.evaluation import eval_map
from mmdet.registry import DATASETS, METRICS
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.structures import InstanceData

from mmal.fileio import write_json

ROOT = osp.join(osp.dirname(__file__), '..', '..', 'configs')
CLASSES = ('cat', 'dog')
# (class, difficult, x, y, w, h) of 100 x 100 pixels and more: cats 0 to 4
TRUTH = [(0, 0, 10, 10, 100, 100), (0, 0, 200, 10, 100, 100),
         (0, 0, 10, 200, 100, 100), (0, 0, 200, 200, 100, 100),
         (0, 1, 10, 350, 30, 30), (1, 0, 350, 350, 40, 40)]
# Two cats, the second one 20 pixels off (IoU .67), a false alarm between
# them, a difficult cat, the first cat again, a third cat. No dog.
FOUND = [(0, .9, 10, 10, 100, 100), (0, .8, 350, 10, 40, 40),
         (0, .7, 220, 10, 100, 100), (0, .65, 10, 350, 30, 30),
         (0, .6, 12, 10, 100, 100), (0, .5, 10, 200, 100, 100)]


def voc_configs():
    for path in glob.glob(osp.join(ROOT, '*', '*voc*.py')):
        yield osp.relpath(path, ROOT)


@pytest.mark.parametrize('name', sorted(voc_configs()))
def test_configs_of_voc_have_both(name):
    cfg = Config.fromfile(osp.join(ROOT, name))
    for split in ('val', 'test'):
        coco, voc = cfg[f'{split}_evaluator']
        dataset = cfg[f'{split}_dataloader'].dataset
        assert coco == dict(
            type='CocoMetric', metric='bbox', format_only=False,
            ann_file=cfg.data_root + dataset.ann_file)
        mode = 'area' if 'voc2012' in dataset.ann_file else '11points'
        assert voc == dict(
            type='VOCMetric', iou_thrs=[.5, .75], eval_mode=mode)
        # truth and detections are compared in pixels of the original image
        steps = [step.type for step in dataset.pipeline]
        assert steps.index('LoadAnnotations') > steps.index('Resize')


@pytest.fixture
def dataset(tmp_path, mmdet_scope):
    """The truth, read as the configs' validation reads it."""
    import cv2
    cv2.imwrite(str(tmp_path / 'a.png'), np.zeros((400, 400, 3), np.uint8))
    write_json(str(tmp_path / 'val.json'), dict(
        images=[dict(id=7, file_name='a.png', width=400, height=400)],
        annotations=[
            dict(id=i, image_id=7, category_id=c + 1, iscrowd=difficult,
                 bbox=box, area=box[2] * box[3])
            for i, (c, difficult, *box) in enumerate(TRUTH, 1)],
        categories=[dict(id=i, name=n) for i, n in enumerate(CLASSES, 1)]))
    cfg = Config.fromfile(
        osp.join(ROOT, '_base_/datasets/voc07mini_detection.py'))
    part = dict(cfg.val_dataloader.dataset, data_root=str(tmp_path),
                data_prefix=dict(img=''), metainfo=dict(classes=CLASSES))
    return DATASETS.build(part)


def measure(dataset, **kwargs):
    metric = METRICS.build(dict(type='VOCMetric', **kwargs))
    metric.dataset_meta = dataset.metainfo
    sample = dataset[0]['data_samples']
    boxes = torch.tensor([f[2:] for f in FOUND]).float()
    boxes[:, 2:] += boxes[:, :2]
    sample.pred_instances = InstanceData(
        bboxes=boxes, scores=torch.tensor([f[1] for f in FOUND]),
        labels=torch.tensor([f[0] for f in FOUND]))
    assert isinstance(sample, DetDataSample)
    metric.process({}, [sample.to_dict()])
    return metric.evaluate(1)


# Cats: four that count, three found at IoU .5 with the precisions 1, 2/3 and
# 3/5; two at .75 with 1 and 2/5. Dogs: 0, which halves the mean.
@pytest.mark.parametrize('mode, at_50, at_75', [
    ('11points', (3 * 1 + 3 * 2 / 3 + 2 * 3 / 5) / 11,
     (3 * 1 + 3 * 2 / 5) / 11),
    ('area', (1 + 2 / 3 + 3 / 5) / 4, (1 + 2 / 5) / 4)])
def test_by_hand(dataset, mode, at_50, at_75):
    found = measure(dataset, iou_thrs=[.5, .75], eval_mode=mode)
    assert found['pascal_voc/AP50'] == pytest.approx(at_50 / 2, abs=5e-4)
    assert found['pascal_voc/AP75'] == pytest.approx(at_75 / 2, abs=5e-4)
    assert found['pascal_voc/mAP'] == pytest.approx((at_50 + at_75) / 4)


def test_crowds_are_difficult_objects(dataset):
    """The same as mmdet's function of arrays without any data set."""
    rows = np.array(TRUTH, dtype=np.float32)
    boxes = rows[:, 2:] + np.pad(rows[:, 2:4], ((0, 0), (2, 0)))
    hard = rows[:, 1] > 0
    truth = dict(bboxes=boxes[~hard], labels=rows[~hard, 0],
                 bboxes_ignore=boxes[hard], labels_ignore=rows[hard, 0])
    found = np.array([f[2:] + f[1:2] for f in FOUND], dtype=np.float32)
    found[:, 2:4] += found[:, :2]
    expected, _ = eval_map(
        [[found, np.zeros((0, 5), np.float32)]], [truth], iou_thr=.5,
        eval_mode='11points', use_legacy_coordinate=True, logger='silent')
    assert measure(dataset)['pascal_voc/mAP'] == pytest.approx(expected)


@pytest.mark.run
def test_a_run_with_both(tmp_path):
    """VOC's metrics reach curve.json; curves and reports are COCO's."""
    from helpers.tiny import tiny_active_learning, tiny_config
    from mmengine.registry import DefaultScope

    from mmal.engine import ActiveLearner
    from mmal.reporting import Curve
    cfg = Config(tiny_config(str(tmp_path / 'data'), epochs=1).to_dict())
    cfg.work_dir = str(tmp_path / 'work')
    cfg.val_evaluator = [
        cfg.val_evaluator, dict(type='VOCMetric', iou_thrs=[.5, .75])]
    cfg.active_learning = tiny_active_learning(
        rounds=1, target=dict(metric='pascal_voc/AP50', value=2.0))
    with DefaultScope.overwrite_default_scope('mmdet'):
        ActiveLearner(cfg).run()
    record = Curve.load(cfg.work_dir).records[0]
    for key in ('mAP', 'AP50', 'AP75'):
        assert 0 <= record.value(f'pascal_voc/{key}') <= 1
    for name, key in (('AP', ''), ('AP50', '_50'), ('AP75', '_75')):
        assert record.value(name) == record.metrics[f'coco/bbox_mAP{key}']
