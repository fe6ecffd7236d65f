"""ISAL with the heads of mmdet and of this package, against mmdet itself."""
import re
import warnings
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
import torch
from helpers.detectors import ISAL_DETECTORS
from helpers.influence_by_hand import params_of, scoring_data
from helpers.tiny_detr import TRANSFORMERS
from helpers.tiny_one_stage import HEADS
from mmdet.models.detectors import DetectionTransformer
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData

from mmal.influence.vectors import dot, unflatten
from mmal.models.utils import last_layers
from mmal.scoring import InfluenceScorer, score_pool
from mmal.scoring.isal.adapters import adapter_of
from mmal.scoring.isal.adapters.two_stage import seeded

SEED = 3
CG = dict(type='mmal.ConjugateGradient', max_iters=5, tol=0.)
NAMES = sorted(ISAL_DETECTORS)


@pytest.fixture
def data(tmp_path, mmdet_scope):
    return partial(scoring_data, tmp_path)


def operator_of(model, data, ids=None):
    scorer = InfluenceScorer()
    if ids:
        scorer.hessian_sample = lambda data: ids
    return scorer.operator(model, data), scorer.recorder.params


# the terms of denoising queries and of an encoder's proposals
OF_TRAINING_ALONE = re.compile(r'\b(dn|enc)_')


def mmdets_loss(model, inputs, sample, labels=None):
    """The loss that the detector's own ``loss`` gives an image alone."""
    alone = DetDataSample(metainfo=sample.metainfo)
    alone.gt_instances = sample.gt_instances if labels is None else labels
    with seeded(SEED, sample.img_id), loss_mode(model):
        terms = model.loss(inputs, [alone])
    return model.parse_losses({
        k: v for k, v in terms.items() if not OF_TRAINING_ALONE.search(k)})[0]


@contextmanager
def loss_mode(model):
    """A transformer gives what its loss takes in training mode alone."""
    model.training = isinstance(model, DetectionTransformer)
    yield
    model.training = False


def mmdets_pseudo_label_loss(model, inputs, sample):
    """The mean over labels moved by a hundredth of a pixel each way."""
    alone = DetDataSample(metainfo=sample.metainfo)
    with torch.no_grad():
        found = model.predict(inputs, [alone], rescale=False)[0]
    found = found.pred_instances
    height, width = sample.img_shape
    boxes = torch.stack([found.bboxes[:, k].clamp(0, limit) for k, limit in
                         enumerate((width, height, width, height))], 1)
    size = boxes[:, 2:] - boxes[:, :2]
    keep = (found.scores >= 0.1) & (size > 0.04).all(1)
    losses = []
    for sign in (1, -1):
        moved = boxes[keep] + sign * boxes.new_tensor(
            [-0.005, -0.005, 0.015, 0.015])
        labels = InstanceData(bboxes=moved, labels=found.labels[keep])
        losses.append(mmdets_loss(model, inputs, sample, labels))
    return sum(losses) / 2


@pytest.mark.parametrize('name', NAMES)
def test_losses_of_a_batch_are_mmdets_of_each_image_alone(name, data):
    model = ISAL_DETECTORS[name]()
    detector = adapter_of(model, SEED)
    for batch in data().batches('labelled', model):
        labels = [s.gt_instances for s in batch.samples]
        found = detector.image_losses(
            detector.forward(batch), batch.samples, labels)
        truth = [mmdets_loss(model, batch.inputs[i:i + 1], sample)
                 for i, sample in enumerate(batch.samples)]
        torch.testing.assert_close(
            found, torch.stack(truth), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('name', NAMES)
def test_scores_equal_mmdets_gradients_one_image_at_a_time(name, data):
    model = ISAL_DETECTORS[name]()
    scorer = InfluenceScorer(empty='background', solver=CG,
                             normalizer='image')
    scorer.check(model, data(seed=SEED))
    scores = score_pool(model, scorer, data(batch_size=4, seed=SEED))
    params = params_of(model, last_layers(model))
    expected = {}
    for batch in data(batch_size=1).batches('unlabelled', model):
        loss = mmdets_pseudo_label_loss(model, batch.inputs, batch.samples[0])
        grads = torch.autograd.grad(loss, params, allow_unused=True)
        expected[batch.ids[0]] = sum(
            float(dot([g], [s])) for g, s in zip(grads, scorer.s_test)
            if g is not None)
    truth = np.array([expected[i] for i in scores.ids])
    assert (scores.columns['pseudo_labels'] > 0).any()
    assert np.abs(truth).max() > 0
    error = np.abs(scores.values - truth).max() / np.abs(truth).max()
    assert error < 1e-4


@pytest.mark.parametrize('name', NAMES)
def test_curvature_is_psd_and_the_same_for_every_batch_size(name, data):
    model = ISAL_DETECTORS[name]()
    batches = data(batch_size=3).batches('unlabelled', model)
    ids = max((b.ids for b in batches), key=len)  # all of one size
    generator = torch.Generator().manual_seed(0)
    tables, vectors = [], None
    for size in (1, 3):
        operator, params = operator_of(
            model, data(batch_size=size, seed=SEED), ids)
        assert operator.num_batches == len(ids) // size
        vectors = vectors or [_random_like(params, generator)
                              for _ in range(4)]
        products = operator.product(vectors)
        tables.append(torch.tensor([[float(dot(v, p)) for p in products]
                                    for v in vectors]))
    scale = float(tables[0].abs().max())
    assert scale > 0
    close = partial(
        torch.testing.assert_close, rtol=1e-3, atol=1e-4 * scale)
    close(tables[0], tables[1])
    close(tables[0], tables[0].T)
    assert (torch.linalg.eigvalsh(tables[0].double()) > -1e-4 * scale).all()


def _random_like(params, generator):
    size = sum(p.numel() for p in params)
    return unflatten(torch.randn(size, generator=generator), params)


@pytest.mark.parametrize('name', sorted(
    {*HEADS, *TRANSFORMERS, 'ssd', 'faster_rcnn'}))
def test_the_curvature_of_plain_heads_is_exact(name, data):
    model = ISAL_DETECTORS[name]()
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        warnings.filterwarnings('error', message='.*Gauss-Newton uses an est')
        operator_of(model, data(labelled=3, seed=SEED))[0].batches[0]
