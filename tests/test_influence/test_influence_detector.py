"""The influence maths on mmdet's FCOS, with its own losses."""
import warnings

import pytest
import torch
from helpers.tiny import tiny_fcos
from mmengine.structures import InstanceData

from mmal.influence import (
    ConjugateGradient,
    ExactHessian,
    GaussNewton,
    LayerRecorder,
    LiSSA,
    image_products,
    mean_gradient,
    per_image_gradients,
)
from mmal.influence.vectors import dot, flatten, unflatten

LAYERS = 'bbox_head.conv_*'
BOXES = [[[4., 6., 40., 50.], [10., 2., 60., 30.]], [], [[0., 0., 20., 24.]]]
META = {'img_shape': (64, 64), 'pad_shape': (64, 64)}


@pytest.fixture(scope='module')
def model():
    detector = tiny_fcos()
    # Its loss expects the outputs that FCOS gives in training.
    detector.bbox_head.norm_on_bbox = False
    return detector


def images():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(3, 3, 64, 64, generator=generator)


def losses_of(model, x, boxes):
    outputs = model.bbox_head(model.extract_feat(x))
    losses = []
    for i, image_boxes in enumerate(boxes):
        one = [[level[i:i + 1] for level in part] for part in outputs]
        gt = InstanceData(
            bboxes=torch.tensor(image_boxes).view(-1, 4),
            labels=torch.arange(len(image_boxes)))
        terms = model.bbox_head.loss_by_feat(*one, [gt], [META])
        losses.append(sum(terms.values()))
    return torch.stack(losses)


@pytest.mark.parametrize('layers', [LAYERS, 'bbox_head.*_convs', 'bbox_head'])
def test_products_equal_one_image_at_a_time(model, layers):
    recorder = LayerRecorder(model, layers)
    with recorder:
        losses = losses_of(model, images(), BOXES)
    generator = torch.Generator().manual_seed(1)
    vector = [
        torch.randn(p.shape, generator=generator) for p in recorder.params
    ]
    found = image_products(losses, recorder, vector)
    truth = []
    for x, boxes in zip(images(), BOXES):
        with recorder:
            alone = losses_of(model, x[None], [boxes])
        truth.append(dot(mean_gradient(alone, recorder), vector))
    truth = torch.stack(truth)
    assert truth.abs().min() > 0
    assert float((found - truth).abs().max() / truth.abs().max()) < 1e-5


def test_gauss_newton_finds_the_forms_of_fcos_and_is_solvable(model):
    recorder = LayerRecorder(model, LAYERS)
    with recorder:
        losses = losses_of(model, images(), BOXES)
    with warnings.catch_warnings():
        warnings.simplefilter('error', UserWarning)
        operator = GaussNewton.from_batch(losses, recorder)
    v = mean_gradient(losses, recorder)
    found = ConjugateGradient(
        damping=1., max_iters=500, tol=1e-5).solve(operator, v)
    assert found.converged and found.residual < 1e-4
    lissa = LiSSA(damping=1., repeats=1, max_passes=500).solve(operator, v)
    scores = [
        image_products(losses, recorder, s.x) for s in (found, lissa)
    ]
    assert torch.allclose(*scores, rtol=0.02)


def test_exact_hessian_equals_a_difference_of_gradients(model):
    model = tiny_fcos().double()
    model.bbox_head.norm_on_bbox = False
    recorder = LayerRecorder(model, LAYERS)
    boxes = [b for b in BOXES if b]
    # Boxes need the dtype of the points, so the losses run in float64.
    torch.set_default_dtype(torch.float64)
    try:
        x = images()[:2].double()
        with recorder:
            losses = losses_of(model, x, boxes)
        operator = ExactHessian.from_batch(losses, recorder)
        generator = torch.Generator().manual_seed(2)
        v = torch.randn(
            recorder.num_params, generator=generator, dtype=torch.float64)
        found = flatten(operator.product(unflatten(v, recorder.params)))
        grads = []
        for step in (1e-4, -1e-4):
            with torch.no_grad():
                for p, d in zip(recorder.params, unflatten(
                        v, recorder.params)):
                    p += step * d
            with recorder:
                moved = losses_of(model, x, boxes)
            grads.append(per_image_gradients(moved, recorder).mean(0))
            with torch.no_grad():
                for p, d in zip(recorder.params, unflatten(
                        v, recorder.params)):
                    p -= step * d
    finally:
        torch.set_default_dtype(torch.float32)
    truth = (grads[0] - grads[1]) / 2e-4
    assert float((found - truth).norm() / truth.norm()) < 1e-4
