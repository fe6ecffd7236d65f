"""ISAL with detection transformers: curvature, against mmdet's own losses."""
from contextlib import contextmanager

import pytest
import torch
import torch.nn.functional as F
from helpers.tiny_detr import TRANSFORMERS, tiny_detr
from mmdet.models.dense_heads import DDQDETRHead
from mmengine.structures import InstanceData
from test_detector_adapter import BOXES, batch_of

from mmal.influence import (
    ExactHessianBatch,
    GaussNewtonBatch,
    LayerRecorder,
)
from mmal.influence.products import call_gradients
from mmal.influence.vectors import flatten, unflatten
from mmal.models.utils import last_layers
from mmal.scoring.isal.adapters import adapter_of

IMAGES = (1, 2)


def built(kind):
    """A model and how far apart equal curvatures may be, relatively."""
    model = tiny_detr(kind)
    if kind == 'dab_detr':  # takes single precision alone
        return model, 1e-4
    return model.double(), 1e-9


def batch_for(model, images=IMAGES):
    """Images with labels, in the model's precision."""
    batch, like = batch_of(*images), next(model.parameters())
    batch.inputs = batch.inputs.to(like)
    for sample in batch.samples:
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor(BOXES).to(like), labels=torch.tensor([0, 2]))
    return batch


def assert_close(found, truth, tolerance):
    scale = float(truth.abs().max())
    assert scale > 0
    assert float((found - truth).abs().max()) < tolerance * scale


def matrix_of(kind, model, layers):
    """[P, P] of what a scorer's operator multiplies with."""
    adapter = adapter_of(model)
    recorder = LayerRecorder(model, layers, image_dim=adapter.image_dim)
    batch = batch_for(model)
    with recorder:
        losses = adapter.image_losses(
            adapter.forward(batch), batch.samples,
            [s.gt_instances for s in batch.samples])
    part = kind(losses, recorder)
    eye = torch.eye(recorder.num_params).to(recorder.params[0])
    found = part.product([unflatten(e, recorder.params) for e in eye])
    return torch.stack([flatten(v) for v in found]).detach()


def mmdets_loss(model, image):
    """What the detector's own ``loss`` gives one image alone."""
    batch = batch_for(model)
    one = slice(image, image + 1)
    terms = model.loss(batch.inputs[one], batch.samples[one])
    return model.parse_losses(terms)[0]


def hessian(model, layers):
    """[P, P] of mmdet's losses, summed over the images."""
    params = [p for n in layers for p in model.get_submodule(n).parameters()]
    loss = sum(mmdets_loss(model, i) for i in range(len(IMAGES)))
    grads = torch.autograd.grad(loss, params, create_graph=True)
    rows = [torch.autograd.grad(g, params, retain_graph=True)
            for g in flatten(grads)]
    return torch.stack([flatten(r) for r in rows])


@contextmanager
def shifted(layer, z=None):
    """Add to the outputs of a layer's calls; yields their inputs, [R, K]."""
    seen = []

    def hook(module, args, output):
        start = sum(map(len, seen)) * module.out_features
        seen.append(args[0].detach().flatten(0, -2))
        if z is not None:
            part = z[start:start + output.numel()]
            return output + part.view(output.shape)

    handle = layer.register_forward_hook(hook)
    yield seen
    handle.remove()


def gauss_newton(model, layer):
    """[P, P], J^T [d2l/dz2]_+ J with the blocks of positions and calls."""
    layer = model.get_submodule(layer)
    return sum(gauss_newton_of(model, layer, i) for i in range(len(IMAGES)))


def gauss_newton_of(model, layer, image):

    def loss_of(z):
        with shifted(layer, z):
            return mmdets_loss(model, image)

    with shifted(layer) as seen:
        mmdets_loss(model, image)
    x, channels = torch.cat(seen), layer.out_features
    block = x.new_ones(channels, channels)
    curved = torch.autograd.functional.hessian(
        loss_of, x.new_zeros(len(x) * channels))
    curved = curved * torch.block_diag(*[block] * len(x))
    values, vectors = torch.linalg.eigh(curved)
    kept = (vectors * values.clamp(min=0)) @ vectors.T
    params = [p.detach() for p in (layer.weight, layer.bias)]
    jacobian = torch.autograd.functional.jacobian(
        lambda p: F.linear(x, *unflatten(p, params)).flatten(),
        flatten(params))
    return jacobian.T @ kept @ jacobian


@pytest.mark.parametrize('kind, layer', [
    ('detr', 'bbox_head.fc_cls'), ('detr', 'bbox_head.fc_reg'),
    ('dab_detr', 'bbox_head.fc_cls'),
    ('dab_detr', 'bbox_head.fc_reg.layers.2'),
    ('deformable_detr', 'bbox_head.reg_branches.0.4')
])
def test_gauss_newton_equals_the_dense_one(kind, layer, mmdet_scope):
    model, tolerance = built(kind)
    model.training = True  # the loss of Deformable DETR asks for it
    truth = gauss_newton(model, layer)
    model.training = False
    assert_close(matrix_of(GaussNewtonBatch, model, layer), truth, tolerance)


@pytest.mark.parametrize('kind', ['detr', 'dab_detr'])
def test_exact_hessian_equals_that_of_mmdets_loss(kind, mmdet_scope):
    layers = last_layers(tiny_detr(kind))
    model, tolerance = built(kind)
    truth = hessian(model, layers)
    assert_close(matrix_of(ExactHessianBatch, model, layers), truth, tolerance)


@pytest.mark.parametrize('kind', sorted(TRANSFORMERS))
def test_no_layer_needs_a_backward_pass_for_each_image(kind, mmdet_scope):
    model = tiny_detr(kind)
    adapter, batch = adapter_of(model), batch_for(model, (1, 2, 3))
    recorder = LayerRecorder(
        model, last_layers(model), image_dim=adapter.image_dim)
    with recorder:
        losses = adapter.image_losses(
            adapter.forward(batch), batch.samples,
            [s.gt_instances for s in batch.samples])
    with recorder.unfrozen():
        calls, fallback = call_gradients(losses, recorder)
    assert {c.layer for c, _ in calls} == set(recorder.layers)
    assert not fallback


def test_heads_with_losses_of_their_own_are_refused(mmdet_scope):
    model = tiny_detr('dino')
    model.bbox_head.__class__ = DDQDETRHead
    with pytest.raises(ValueError, match='nor a detection transformer with'):
        adapter_of(model)


def test_the_terms_of_training_alone_are_there_to_be_left_out(mmdet_scope):
    model = tiny_detr('dino')
    model.training = True
    batch = batch_for(model)
    terms = model.loss(batch.inputs[:1], batch.samples[:1])
    model.training = False
    adapter = adapter_of(model)
    found = adapter.image_losses(
        adapter.forward(batch), batch.samples,
        [s.gt_instances for s in batch.samples])[0]
    assert {k.split('_')[0] for k in terms} == {
        'loss', 'd0.loss', 'enc', 'dn', 'd0.dn'}
    kept = [v for k, v in terms.items() if 'dn_' not in k and 'enc_' not in k]
    torch.testing.assert_close(found, sum(kept))
    assert found < 0.9 * sum(terms.values())
