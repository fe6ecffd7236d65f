"""The metric on samples as a run gives them."""
import json
import os

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from mmal.dist import close_dist
from mmal.evaluation import (
    DetectionQuality,
    MatchedDetections,
    detection_ece,
    detection_quality,
    laace,
    laece,
    match_image,
    optimal_lrp,
)
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
    return dict(img_id=image_id, pred_instances=pred, ori_shape=(700, 1000),
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


SCORES = {'detections', 'matched', 'ece', 'overconfidence', 'laece', 'laace',
          'olrp', 'olrp_loc', 'olrp_fp', 'olrp_fn'}
PLACES = {'d_ece_position', 'd_ece_size'}  # of many detections
BOXES = {'box_nll', 'box_crps', 'coverage_50', 'coverage_90', 'coverage_95',
         'box_std', 'box_rmse'}
MIXTURES = {'mixture_nll', 'mixture_crps', 'mixture_coverage_50',
            'mixture_coverage_90', 'mixture_coverage_95'}
PDQ = {'pdq', 'pdq_spatial', 'pdq_label'}


def names_of(found):
    return {name.replace('calibration/', '') for name in found}


def test_a_plain_head_has_the_numbers_of_classes():
    both, plain = (measure([sample(0, std)]) for std in (True, False))
    assert plain == {k: v for k, v in both.items() if k in plain}
    assert names_of(plain) == SCORES
    assert names_of(both) - names_of(plain) == BOXES


def with_mixtures(one, seed=0):
    """Two peaks of each edge, whose mean and deviation are the sample's."""
    pred = one['pred_instances']
    rng = np.random.default_rng(seed)
    sign = torch.tensor([[-1.0], [1.0]])
    pred['box_mixture_means'] = pred['bboxes'][:, None] + \
        0.6 * sign * pred['box_std'][:, None]
    pred['box_mixture_stds'] = 0.8 * pred['box_std'][:, None].repeat(1, 2, 1)
    pred['box_mixture_weights'] = torch.full((8, 2, 4), 0.5)
    order = torch.from_numpy(rng.permutation(8))
    one['pred_instances'] = {k: v[order] for k, v in pred.items()}
    return one


def test_scores_and_overlaps_of_many_images():
    samples = [sample(i) for i in range(40)]
    found = measure(samples)
    assert names_of(found) == SCORES | PLACES | BOXES
    loose, strict = (MatchedDetections.join(
        match_image(
            s['pred_instances']['bboxes'].numpy(),
            s['pred_instances']['labels'].numpy(),
            s['pred_instances']['scores'].numpy(),
            s['gt_instances']['bboxes'].numpy(),
            s['gt_instances']['labels'].numpy(), np.zeros(6, bool), thr,
            (1000, 700)) for s in samples) for thr in (0, 0.5))
    best = optimal_lrp(strict).means()
    expected = dict(
        laece=laece(loose), laace=laace(loose), olrp=best['lrp'],
        olrp_loc=best['lrp_loc'], olrp_fp=best['lrp_fp'],
        olrp_fn=best['lrp_fn'],
        d_ece_position=detection_ece(
            strict.scores, strict.matched, strict.places[:, :2], 5, 8),
        d_ece_size=detection_ece(
            strict.scores, strict.matched, strict.places[:, 2:], 5, 8))
    for name, value in expected.items():
        assert found[f'calibration/{name}'] == pytest.approx(value), name


def test_mixtures_are_judged_by_themselves():
    samples = [with_mixtures(sample(i), i) for i in range(40)]
    found = measure(samples)
    assert names_of(found) == SCORES | PLACES | BOXES | MIXTURES
    # peaks 1.2 deviations apart are hardly more than one
    for name in ('nll', 'crps'):
        assert found[f'calibration/mixture_{name}'] == pytest.approx(
            found[f'calibration/box_{name}'], rel=0.02)
        assert found[f'calibration/mixture_{name}'] != \
            found[f'calibration/box_{name}']
    for level in (50, 90, 95):
        assert found[f'calibration/mixture_coverage_{level}'] == \
            pytest.approx(level / 100, abs=0.06)
    # the moments are as before
    plain = measure([sample(i) for i in range(40)])
    assert {k: found[k] for k in plain} == pytest.approx(plain)


def test_pdq_counts_sure_detections_of_objects_that_count():
    samples = [with_mixtures(sample(i), i) for i in range(3)]
    found = measure(samples, pdq=True, pdq_score_thr=0.3)
    assert names_of(found) == SCORES | BOXES | MIXTURES | PDQ
    parts = []
    for s in samples:
        pred, true = (
            {k: v.numpy() for k, v in s[name].items()}
            for name in ('pred_instances', 'gt_instances'))
        sure = pred['scores'] >= 0.3
        parts.append(detection_quality(
            pred['bboxes'][sure], pred['box_std'][sure],
            pred['labels'][sure], pred['scores'][sure], true['bboxes'],
            true['labels'], (1000, 700)))
    expected = DetectionQuality.join(parts).summary()
    for name, value in expected.items():
        assert found[f'calibration/{name}'] == pytest.approx(value)
    # a box that is taken as certain is worse
    plain = [sample(i, std=False) for i in range(3)]
    worse = measure(plain, pdq=True, pdq_score_thr=0.3)
    assert 0 <= worse['calibration/pdq'] < 0.5 * found['calibration/pdq']


def test_pdq_leaves_ignored_objects_out():
    one = sample(0)
    true = one['gt_instances']
    one['ignored_instances'] = {k: v[:2] for k, v in true.items()}
    one['gt_instances'] = {k: v[2:] for k, v in true.items()}
    without = sample(0)
    without['gt_instances'] = one['gt_instances']
    without['pred_instances'] = {
        k: v[2:] for k, v in without['pred_instances'].items()}
    options = dict(pdq=True, pdq_score_thr=0.0)
    assert measure([one], **options) == measure([without], **options)


def test_pdq_needs_the_size_of_images():
    one = sample(0)
    del one['ori_shape']
    assert names_of(measure([one])) == SCORES | BOXES
    with pytest.raises(ValueError, match='no ori_shape'):
        measure([one], pdq=True)


def test_the_threshold_counts_itself():
    one = sample(0)
    one['pred_instances']['scores'] = torch.tensor([.5] * 4 + [.25] * 4)
    found = measure([one], score_thr=0.5)
    assert found['calibration/detections'] == 4
    assert measure([one], score_thr=0.51) == {
        'calibration/detections': 0, 'calibration/matched': 0,
        'calibration/olrp': 1, 'calibration/olrp_fn': 1}


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
    (dict(pdq_score_thr=1), 'pdq_score_thr is 1'),
    (dict(iou_thr=0), 'iou_thr is 0'), (dict(levels=[1]), '1 in levels')])
def test_mistakes_are_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        CalibrationMetric(**kwargs)


def _process(rank, folder, count):
    dist.init_process_group(
        'gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2)
    mine = range(rank, count + count % 2, 2)  # padded, as samplers do
    built = metric(pdq=True)
    built.process({}, [with_mixtures(sample(i % count)) for i in mine])
    found = built.evaluate(count)
    with open(os.path.join(folder, f'{rank}.json'), 'w') as f:
        json.dump(found, f)
    close_dist()


def test_two_processes_give_what_one_gives(tmp_path):
    mp.start_processes(_process, (str(tmp_path), 5), nprocs=2,
                       start_method='fork')
    expected = measure([with_mixtures(sample(i)) for i in range(5)],
                       pdq=True)
    assert PDQ | MIXTURES < names_of(expected)
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
