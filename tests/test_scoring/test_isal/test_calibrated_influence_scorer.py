"""Calibrated influences against autograd, image by image."""
import os
from functools import partial

import numpy as np
import pytest
import torch
from helpers.forks import fork_world
from helpers.influence_by_hand import by_hand, params_of, scoring_data
from helpers.tiny import tiny_fcos
from helpers.tiny_classifier import tiny_classifier
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData

from mmal.dist import close_dist, setup_dist
from mmal.influence.operators import gauss_newton
from mmal.influence.vectors import dot
from mmal.models.utils.per_image import head_outputs
from mmal.random_tensors import TensorStreams
from mmal.randomness import seeded_order
from mmal.scoring import (
    CalibratedInfluenceScorer,
    InfluenceScorer,
    score_pool,
)
from mmal.scoring.detector import predictions, pseudo_label_losses
from mmal.scoring.isal.ridge import Ridge
from mmal.selection import TopN

LAYERS = ('bbox_head.conv_cls', 'bbox_head.conv_reg',
          'bbox_head.conv_centerness')


@pytest.fixture
def data(tmp_path, mmdet_scope):
    return partial(scoring_data, tmp_path)


def calibrated(**options):
    return CalibratedInfluenceScorer(
        layers=LAYERS, min_images=4, empty='background', **options)


def features_by_hand(scorer, model, data, batch, vectors):
    """[sets, M] influences and the other features of one image."""
    params = params_of(model, LAYERS)
    sample, = batch.samples
    outputs = head_outputs(model, batch.inputs)
    found, = predictions(model, outputs, [sample])
    uniform = TensorStreams(
        batch.ids, data.seed, data.round, 'label sets').uniform(
            (scorer.draws, 300))[0]
    keeps = [found.scores >= t for t in (0.05, 0.1, 0.3, 0.5)]
    keeps += [torch.zeros_like(keeps[0])]
    keeps += [u[:len(found)] < found.scores for u in uniform]
    rows = []
    for keep in keeps:
        labels = InstanceData(bboxes=found.bboxes[keep],
                              labels=found.labels[keep])
        loss, = pseudo_label_losses(
            model, outputs, [sample], [labels],
            partial(_losses, scorer.adapter))
        grads = torch.autograd.grad(
            loss, params, retain_graph=True, allow_unused=True)
        grads = [torch.zeros_like(p) if g is None else g
                 for g, p in zip(grads, params)]
        rows.append([float(dot(grads, v)) for v in vectors])
    rows = np.array(rows)
    rows = np.concatenate([rows[:5], rows[5:].mean(0, keepdims=True),
                           rows[5:].std(0, ddof=1, keepdims=True)])
    p = found.scores.double().numpy()
    p = np.clip(p, 1e-12, 1 - 1e-12)
    entropy = -p * np.log(p) - (1 - p) * np.log(1 - p)
    others = [entropy.sum(), entropy.max() if len(p) else 0., p.sum(),
              (p >= 0.5).sum(), len(p)]
    return rows, np.array(others)


def _losses(adapter, _, outputs, samples, labels):
    return adapter.image_losses(outputs, samples, labels)


def test_scores_are_what_a_regression_of_true_influences_says(data):
    model, scorer = tiny_fcos(), calibrated()
    images = data(batch_size=4, seed=2)
    scores = score_pool(model, scorer, images)
    params = params_of(model, LAYERS)

    # each reference image by the s_test of the half that it is not in
    rows, values = [], []
    halves = {}
    for batch in data(batch_size=1, seed=2).batches('val', model):
        both, others = features_by_hand(scorer, model, images, batch,
                                        scorer.vectors)
        grads = by_hand(model, batch.samples[0], batch.inputs,
                        batch.samples[0].gt_instances, params,
                        scorer.adapter.factors)
        true = [float(dot(grads, v)) for v in scorer.vectors]
        halves[batch.ids[0]] = both, others, true
    order = seeded_order(images.ids('val'), 2, 0, 'folds')
    for n, image in enumerate(order):
        both, others, true = halves[image]
        rows.append([*both[:, 1 - n % 2], *others])
        values.append(true[1 - n % 2] / max(others[2], 1))
    ridge = Ridge.fit(np.array(rows), np.array(values))
    np.testing.assert_allclose(
        scorer.ridge.weights, ridge.weights, rtol=1e-2, atol=1e-5)

    truth = {}
    for batch in data(batch_size=1, seed=2).batches('unlabelled', model):
        both, others = features_by_hand(scorer, model, images, batch,
                                        scorer.vectors)
        said = [float(scorer.ridge.predict(torch.tensor(
            [[*both[:, m], *others]], dtype=torch.float64)))
            for m in range(2)]
        truth[batch.ids[0]] = np.mean(said) * max(others[2], 1)
    truth = np.array([truth[i] for i in scores.ids])
    error = np.abs(scores.values - truth).max()
    assert error < 1e-3 * np.abs(truth).max()


def test_halves_have_the_gradients_of_their_own_images(data):
    model = tiny_fcos()
    scorer = calibrated(solver=dict(type='mmal.Identity'))
    images = data(seed=1)
    scorer.prepare(model, images)
    params = params_of(model, LAYERS)
    order = seeded_order(images.ids('val'), 1, 0, 'folds')
    for half, vector in enumerate(scorer.vectors):
        total = 0.
        for batch in data(batch_size=1).batches('val', model):
            if batch.ids[0] in order[half::2]:
                total = total + torch.cat([g.flatten() for g in by_hand(
                    model, batch.samples[0], batch.inputs,
                    batch.samples[0].gt_instances, params,
                    scorer.adapter.factors)])
        mean = total / len(order[half::2])
        found = torch.cat([x.flatten() for x in vector])
        assert (found - mean).norm() < 1e-4 * mean.norm()


def test_blocks_are_formed_once_for_both_halves(data, monkeypatch):
    calls = []
    original = gauss_newton.form_blocks
    monkeypatch.setattr(gauss_newton, 'form_blocks',
                        lambda *a: calls.append(1) or original(*a))
    calibrated().prepare(tiny_fcos(), data())
    assert len(calls) == 1


@pytest.mark.parametrize('score_thr', [0.1, 0.25])
def test_a_small_reference_set_falls_back_to_the_product(
        score_thr, data, caplog):
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    try:
        model = tiny_fcos()
        options = dict(layers=LAYERS, score_thr=score_thr)
        scorer = CalibratedInfluenceScorer(**options)
        scores = score_pool(model, scorer, data())
        plain = score_pool(model, InfluenceScorer(**options), data())
    finally:
        logger.removeHandler(caplog.handler)
    assert 'has only 6 images, fewer than 100' in caplog.text
    np.testing.assert_allclose(scores.values, plain.values, rtol=1e-4)
    np.testing.assert_array_equal(scores.columns['expected_boxes'],
                                  plain.columns['expected_boxes'])


@pytest.mark.parametrize('score_thr', [0.1, 0.25])
def test_the_product_is_a_column(score_thr, data):
    model = tiny_fcos()
    scores = score_pool(model, calibrated(score_thr=score_thr), data())
    plain = score_pool(model, InfluenceScorer(
        LAYERS, empty='background', score_thr=score_thr), data())
    assert plain.columns['pseudo_labels'].any()
    np.testing.assert_array_equal(scores.columns['pseudo_labels'],
                                  plain.columns['pseudo_labels'])
    found = scores.columns['product']
    # of six images the halves are equal, so their mean is that of all
    np.testing.assert_allclose(found, plain.values, rtol=1e-3, atol=1e-6)


@pytest.mark.run
def test_ids_do_not_depend_on_batch_size_and_processes(tmp_path, mmdet_scope):
    if torch.cuda.is_available():
        pytest.skip('threads of autograd on a GPU do not survive a fork')

    def rank():
        setup_dist('pytorch' if 'RANK' in os.environ else 'none')
        with DefaultScope.overwrite_default_scope('mmdet'):
            for size in (1, 3):
                scores = score_pool(tiny_fcos(), calibrated(),
                                    scoring_data(tmp_path, size))
                print('ids', *TopN().select(scores, 6))
        close_dist()

    scoring_data(tmp_path)
    chosen = []
    for number in (1, 2, 4):
        for done in fork_world(number, rank):
            assert done.returncode == 0, done.stderr
            chosen += [line for line in done.stdout.splitlines()
                       if line.startswith('ids')]
    assert len(chosen) == 2 * (1 + 2 + 4)
    assert len(set(chosen)) == 1


def test_what_it_cannot_do_is_said_before_training(data):
    with pytest.raises(ValueError, match='calibrates by detections'):
        CalibratedInfluenceScorer().check(tiny_classifier(), data())
    with pytest.raises(ValueError, match='draws is 1'):
        CalibratedInfluenceScorer(draws=1)


def test_its_dry_run_passes(data):
    calibrated().check(tiny_fcos(), data())
