"""Localization stability against numpy, one image and one box at a time."""
import numpy as np
import pytest
import torch
from helpers.pools import pool, score_in_two_processes
from helpers.tiny import tiny_fcos
from helpers.tiny_faster_rcnn import tiny_faster_rcnn
from helpers.tiny_ssd import tiny_ssd
from torch import nn

from mmal.random_tensors import TensorStreams
from mmal.registry import TASK_UTILS
from mmal.scoring import LocalizationStabilityScorer, score_pool
from mmal.scoring.batch import Batch
from mmal.scoring.detections import localization_stability_scorer as module
from mmal.scoring.detections.predict import detect

BUILD = [tiny_fcos, tiny_ssd, tiny_faster_rcnn]


def iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(x[2] - x[0]) * (x[3] - x[1]) for x in (a, b)]
    return width * height / (sum(areas) - width * height)


def noisy_by_hand(batch, model, std, *key):
    """One image: to pixels, noise of its own inside, clipped, and back."""
    mean, scale = (x.numpy().reshape(3, 1, 1) for x in (
        model.data_preprocessor.mean, model.data_preprocessor.std))
    height, width = batch.samples[0].img_shape
    noise = TensorStreams(batch.ids, *key, 'noise').normal(
        (3, height, width))[0].numpy()
    inputs = batch.inputs.numpy().copy()
    pixels = inputs[0, :, :height, :width] * scale + mean
    noisy = np.clip(pixels + std * noise, 0, 255)
    inputs[0, :, :height, :width] = (noisy - mean) / scale
    return Batch(batch.ids, torch.tensor(inputs), batch.samples)


def by_hand(model, data, levels, score_thr=0.0, weight=0.0):
    """Scores, stabilities and numbers of detections by their image."""
    truth = {}
    for batch in data.batches('unlabelled', model):
        clean = detect(model, batch)[0]
        copies = [
            detect(model, noisy_by_hand(
                batch, model, std, data.seed, data.round, level))[0]
            for level, std in enumerate(levels)]
        total, weights, unsure, count = 0.0, 0.0, 0.0, 0
        for box, p in zip(clean.bboxes.tolist(), clean.scores.tolist()):
            if p < score_thr or box[0] >= box[2] or box[1] >= box[3]:
                continue
            overlaps = [max((iou(box, b) for b in c.bboxes.tolist()),
                            default=0.0) for c in copies]
            total += p * np.mean(overlaps)
            weights += p
            unsure = max(unsure, 1 - p)
            count += 1
        stability = total / weights if count else 1.0
        score = 1 - stability + weight * unsure if count else -np.inf
        truth[batch.ids[0]] = score, stability, count
    return [np.array(x)
            for x in zip(*(truth[i] for i in data.ids('unlabelled')))]


def threshold(model, data):
    """Leaves about half of the images without a detection."""
    best = sorted(
        detect(model, b)[0].scores.max().item()
        for b in data.batches('unlabelled', model))
    return (best[5] + best[6]) / 2


@pytest.mark.parametrize('build, weight', zip(BUILD, (1.0, 0.0, 0.5)))
def test_equals_boxes_one_by_one(tmp_path, mmdet_scope, build, weight):
    model, levels = build(), (8, 48)
    score, stability, count = by_hand(
        model, pool(tmp_path, 1), levels, weight=weight)
    found = score_pool(
        model, LocalizationStabilityScorer(
            levels, classification_weight=weight), pool(tmp_path))
    np.testing.assert_allclose(found.values, score, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(
        found.columns['stability'], stability, rtol=1e-3, atol=1e-4)
    assert found.columns['detections'].tolist() == count.tolist()
    assert np.ptp(stability) > 0.02 and stability.min() < 0.95


def test_one_level_and_weak_detections(tmp_path, mmdet_scope):
    model, data = tiny_fcos(), pool(tmp_path, 1, seed=5, round=2)
    score_thr = threshold(model, data)
    score, stability, count = by_hand(model, data, (30, ), score_thr)
    found = score_pool(
        model, LocalizationStabilityScorer([30], score_thr), data)
    np.testing.assert_allclose(found.values, score, rtol=1e-3, atol=1e-4)
    assert (count == 0).sum() == 6
    nothing = found.columns['stability'][count == 0]
    assert (nothing == 1).all()
    assert (found.columns['classification'][count == 0] == 0).all()
    assert np.isneginf(found.values[count == 0]).all()


@pytest.mark.parametrize('build', BUILD)
def test_without_noise_all_is_stable(tmp_path, mmdet_scope, build):
    found = score_pool(
        build(), LocalizationStabilityScorer((0, 0.0)), pool(tmp_path))
    seen = found.columns['detections'] > 0
    assert seen.any()
    np.testing.assert_allclose(found.values[seen], 0, atol=1e-4)
    np.testing.assert_allclose(found.columns['stability'], 1, atol=1e-4)


def test_nothing_is_found_at_all(tmp_path, mmdet_scope):
    model = tiny_fcos()
    nn.init.constant_(model.bbox_head.conv_cls.bias, -50)
    found = score_pool(model, LocalizationStabilityScorer((8, )),
                       pool(tmp_path))
    assert np.isneginf(found.values).all()
    assert not found.columns['detections'].any()


def test_boxes_that_vanish_in_the_noise(mmdet_scope, tmp_path, monkeypatch):
    """Nothing overlaps: stability 0."""
    model, scorer = tiny_fcos(), LocalizationStabilityScorer((8, ))
    for batch in pool(tmp_path).batches('unlabelled', model):

        def blind(model, other, clean=batch):
            found = detect(model, other)
            return found if other is clean else [d[:0] for d in found]

        monkeypatch.setattr(module, 'detect', blind)
        columns = scorer.process(model, batch)
        seen = columns['detections'] > 0
        assert (columns['stability'][seen] == 0).all() and seen.any()
        assert (columns['score'][seen] == 1).all()


@pytest.mark.parametrize('build', [tiny_fcos, tiny_faster_rcnn])
def test_neither_batches_nor_processes_matter(tmp_path, monkeypatch,
                                              mmdet_scope, build):
    model, scorer = build(), LocalizationStabilityScorer((16, 32))
    one, four = (
        score_pool(model, scorer, pool(tmp_path, size)) for size in (1, 4))
    two = score_in_two_processes(monkeypatch, tmp_path, model, scorer)
    assert one.ids == four.ids == two.ids
    for other in four, two:
        np.testing.assert_allclose(
            other.values, one.values, rtol=1e-3, atol=1e-4)


def test_noise_is_that_of_the_seed_and_round(tmp_path, mmdet_scope):
    model, scorer = tiny_fcos(), LocalizationStabilityScorer((32, ))
    values = [score_pool(model, scorer, pool(tmp_path, **key)).values
              for key in ({}, {}, dict(seed=1), dict(round=1))]
    np.testing.assert_array_equal(values[0], values[1])
    assert (values[0] != values[2]).any() and (values[0] != values[3]).any()


def test_one_pass_more_for_each_level(tmp_path, mmdet_scope):
    model, passes = tiny_fcos(), []
    model.backbone.register_forward_hook(lambda *args: passes.append(1))
    score_pool(model, LocalizationStabilityScorer((8, 16, 24)),
               pool(tmp_path, 1))
    assert len(passes) == 12 * 4


def test_a_config_builds_it():
    scorer = TASK_UTILS.build(dict(type='mmal.LocalizationStabilityScorer'))
    assert scorer.levels == (8, 16, 24, 32, 40, 48)
    assert scorer.classification_weight == scorer.score_thr == 0


@pytest.mark.parametrize('kwargs, message', [
    (dict(levels=()), r'scorer.levels is \(\): give one or more'),
    (dict(levels=8), 'scorer.levels is 8: give one or more'),
    (dict(levels=(8, -1)), 'at least 0'),
    (dict(levels=(8, float('nan'))), 'at least 0'),
    (dict(score_thr=2), 'scorer.score_thr is 2'),
    (dict(classification_weight=-1), 'classification_weight is -1'),
    (dict(classification_weight=float('inf')), 'classification_weight is inf'),
])
def test_mistakes_are_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        LocalizationStabilityScorer(**kwargs)


def test_models_it_cannot_read_are_refused_before_training(mmdet_scope):
    scorer = LocalizationStabilityScorer()
    with pytest.raises(ValueError, match='roi_head.bbox_head'):
        scorer.check(nn.Identity(), None)
    for build in BUILD:
        scorer.check(build(), None)
    model = tiny_fcos()
    model.data_preprocessor = nn.Identity()
    with pytest.raises(ValueError, match='the model has a Identity'):
        scorer.check(model, None)
