"""The metric on samples as a run gives them."""
import json
import os

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from mmal.dist import close_dist
from mmal.evaluation.calibration import interval_coverage
from mmal.evaluation.calibration_data import CalibrationData
from mmal.evaluation.calibration_metric import CalibrationMetric
from mmal.fileio import write_json
from mmal.registry import METRICS


def metric(classes=('cat', 'dog'), **kwargs):
    built = METRICS.build(dict(type='mmal.CalibrationMetric', **kwargs))
    built.dataset_meta = dict(classes=classes)
    return built


def instances(boxes, labels, **more):
    return dict(bboxes=torch.tensor(boxes).float().reshape(-1, 4),
                labels=torch.tensor(labels).long(), **more)


def sample(seed, std=True, image_id=0):
    """Six objects found with known errors, and two false alarms."""
    rng = np.random.default_rng(seed)
    corner = np.arange(6)[:, None] * 100.0 + rng.uniform(0, 20, (6, 2))
    true = np.concatenate([corner, corner + 60], 1)
    stds = rng.uniform(0.5, 3, (6, 4))
    found = true + stds * rng.standard_normal((6, 4))
    stds = np.concatenate([stds, np.ones((2, 4))])
    found = np.concatenate([found, [[900, 0, 910, 9], [900, 50, 910, 59]]])
    labels = rng.integers(0, 2, 6)
    pred = instances(
        found, [*labels, 0, 1],
        scores=torch.from_numpy(rng.uniform(0.1, 1, 8)).float())
    if std:
        pred['box_std'] = torch.from_numpy(stds).float()
    return dict(img_id=image_id, pred_instances=pred,
                gt_instances=instances(true, labels),
                ignored_instances=instances([], []))


def measure(samples, **kwargs):
    built = metric(**kwargs)
    built.process({}, samples)
    return built.evaluate(len(samples))


def test_numbers_of_many_images():
    samples = [sample(i) for i in range(150)]
    found = measure(samples)
    assert found['calibration/detections'] == 8 * 150
    assert found['calibration/matched'] == 6 * 150
    for level in (50, 90, 95):
        assert found[f'calibration/coverage_{level}'] == pytest.approx(
            level / 100, abs=4 * 0.5 / 60)
    errors = np.concatenate([
        (s['gt_instances']['bboxes'] - s['pred_instances']['bboxes'][:6])
        for s in samples])
    stds = np.concatenate([s['pred_instances']['box_std'][:6]
                           for s in samples])
    assert found['calibration/box_nll'] == pytest.approx(
        np.mean((errors / stds)**2 / 2 + np.log(stds * np.sqrt(2 * np.pi))),
        rel=1e-4)
    assert found['calibration/coverage_90'] == pytest.approx(
        interval_coverage(errors, stds, [0.9])[0], abs=1e-3)
    scores = torch.cat([s['pred_instances']['scores'] for s in samples])
    assert found['calibration/overconfidence'] == pytest.approx(
        float(scores.mean()) - 0.75, abs=1e-6)


def test_a_plain_head_has_the_numbers_of_classes():
    both, plain = (measure([sample(0, std)]) for std in (True, False))
    classes = {k: v for k, v in both.items()
               if 'box' not in k and 'coverage' not in k}
    assert plain == classes and len(plain) == 4
    assert set(both) - set(plain) == {
        f'calibration/{k}' for k in ('box_nll', 'coverage_50', 'coverage_90',
                                     'coverage_95', 'box_std', 'box_rmse')}


def test_the_threshold_counts_itself():
    one = sample(0)
    one['pred_instances']['scores'] = torch.tensor([.5] * 4 + [.25] * 4)
    found = measure([one], score_thr=0.5)
    assert found['calibration/detections'] == 4
    assert measure([one], score_thr=0.51) == {
        'calibration/detections': 0, 'calibration/matched': 0}


def test_ignored_objects_and_what_found_them_are_left_out():
    one = sample(0)
    true = one['gt_instances']
    one['ignored_instances'] = {k: v[:2] for k, v in true.items()}
    one['gt_instances'] = {k: v[2:] for k, v in true.items()}
    found = measure([one])
    assert found['calibration/detections'] == 6
    assert found['calibration/matched'] == 4


@pytest.mark.parametrize('empty', ['pred_instances', 'gt_instances'])
def test_nothing_on_one_side(empty):
    one = sample(0)
    one[empty] = {k: v[:0] for k, v in one[empty].items()}
    found = measure([one])
    assert found['calibration/matched'] == 0
    assert ('calibration/ece' in found) == (empty == 'gt_instances')
    assert not any('box' in k or 'coverage' in k for k in found)


def test_no_images():
    assert metric().evaluate(0) == {
        'calibration/detections': 0, 'calibration/matched': 0}


def test_truth_of_a_file_equals_that_of_samples(tmp_path):
    samples = [sample(i, image_id=i) for i in range(3)]
    annotations = [
        dict(id=0, image_id=1, category_id=4, bbox=[0, 0, 9, 9], area=81,
             iscrowd=0)]  # of a class that is not asked for
    for s in samples:
        true = s.pop('gt_instances')
        for box, label in zip(true['bboxes'].double(), true['labels']):
            size = (box[2:] - box[:2]).tolist()
            annotations.append(
                dict(id=len(annotations), image_id=s['img_id'],
                     category_id=(7, 2)[label], iscrowd=0, area=1,
                     bbox=box[:2].tolist() + size))
    annotations[3]['iscrowd'] = 1
    path = str(tmp_path / 'truth.json')
    write_json(path, dict(
        images=[dict(id=i) for i in range(3)], annotations=annotations,
        categories=[dict(id=7, name='cat'), dict(id=4, name='owl'),
                    dict(id=2, name='dog')]))
    found = measure(samples, ann_file=path)
    expected = [sample(i) for i in range(3)]
    crowd = expected[0]
    for k, v in crowd['gt_instances'].items():
        crowd['ignored_instances'][k] = v[2:3]
        crowd['gt_instances'][k] = v[[0, 1, 3, 4, 5]]
    assert found == pytest.approx(measure(expected), rel=1e-6)
    assert found['calibration/matched'] == 17
    with pytest.raises(ValueError, match='image 9 .* not in ann_file'):
        measure([sample(0, image_id=9)], ann_file=path)


def test_samples_without_truth_are_named():
    one = sample(0)
    one['gt_instances'] = {}
    with pytest.raises(ValueError, match='LoadAnnotations'):
        measure([one])


@pytest.mark.parametrize('kwargs, message', [
    (dict(bins=0), 'bins is 0'), (dict(score_thr=-1), 'score_thr is -1'),
    (dict(iou_thr=0), 'iou_thr is 0'), (dict(levels=[1]), '1 in levels')])
def test_mistakes_are_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        CalibrationMetric(**kwargs)


def _process(rank, folder, count):
    dist.init_process_group(
        'gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2)
    mine = range(rank, count + count % 2, 2)  # padded, as samplers do
    built = metric()
    built.process({}, [sample(i % count) for i in mine])
    found = built.evaluate(count)
    with open(os.path.join(folder, f'{rank}.json'), 'w') as f:
        json.dump(found, f)
    close_dist()


def test_two_processes_give_what_one_gives(tmp_path):
    mp.start_processes(_process, (str(tmp_path), 5), nprocs=2,
                       start_method='fork')
    expected = measure([sample(i) for i in range(5)])
    for rank in range(2):
        assert json.loads((tmp_path / f'{rank}.json').read_text()) == expected


@pytest.mark.run
def test_beside_coco_metric_in_a_run(tmp_path):
    """Extra metrics reach curve.json; the report reads AP as before."""
    from helpers.tiny import tiny_config
    from helpers.tiny_ssd import tiny_ssd_config
    from mmengine.config import Config
    from mmengine.registry import DefaultScope

    from mmal.engine import ActiveLearner
    from mmal.reporting import Curve, round_table
    cfg = Config(tiny_config(str(tmp_path / 'data'), epochs=1).to_dict())
    cfg.work_dir = str(tmp_path / 'work')
    cfg.model = tiny_ssd_config(
        type='mmal.MDNSSDHead', box_components=2, cls_components=2)
    cfg.val_evaluator = [cfg.val_evaluator,
                         dict(type='mmal.CalibrationMetric', score_thr=0.0,
                              iou_thr=0.05)]
    cfg.active_learning = dict(
        data=dict(ann_file='pool.json'), initial=dict(size=4), rounds=1,
        budget=dict(size=3, unit='images'),
        score_dataloader=dict(batch_size=2, num_workers=0))
    with DefaultScope.overwrite_default_scope('mmdet'):
        ActiveLearner(cfg).run()
    curve = Curve.load(cfg.work_dir)
    record = curve.records[0]
    assert 0 <= record.value('calibration/ece') <= 1
    assert record.value('calibration/matched') > 0
    assert 0 < record.value('calibration/coverage_90') <= 1
    assert record.value('AP') == record.metrics['coco/bbox_mAP']
    others = {k: v for k, v in record.metrics.items() if 'coco' in k}
    table = round_table(curve)
    record.metrics = others
    assert len(others) > 3 and round_table(curve) == table
    assert os.path.exists(os.path.join(cfg.work_dir, 'report.html'))


def test_boxes_of_mmdet_and_low_precision_are_read():
    from mmdet.structures.bbox import HorizontalBoxes
    one = sample(0)
    expected = measure([one])
    one['gt_instances']['bboxes'] = HorizontalBoxes(
        one['gt_instances']['bboxes'])
    assert measure([one]) == expected
    for name in ('scores', 'box_std'):
        one['pred_instances'][name] = one['pred_instances'][name].bfloat16()
    assert measure([one])['calibration/box_nll'] == pytest.approx(
        expected['calibration/box_nll'], rel=0.02)


def test_join_is_in_the_order_of_samples():
    built = metric()
    built.process({}, [sample(0), sample(1)])
    whole = CalibrationData.join(built.results)
    for i in range(2):
        np.testing.assert_array_equal(
            whole.confidences[8 * i:8 * i + 8],
            sample(i)['pred_instances']['scores'].double())
