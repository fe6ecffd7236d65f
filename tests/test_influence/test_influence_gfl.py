"""Gauss-Newton of mmdet's GFLHead against dense matrices in float64.

A side of a box is the mean of a softmax over distances, and GIoU takes all
four: the channels of a position are one block.
"""
import warnings
from functools import partial

import pytest
import torch
from helpers.dense_heads import CHANNELS, ONE_ANCHOR, HeadAlone, features
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import nn

from mmal.influence import GaussNewton, LayerRecorder
from mmal.influence.operators.curvature import BlockCurvature
from mmal.influence.vectors import flatten, unflatten
from mmal.scoring.isal.box_curvature import box_curvature

REG_MAX = 4  # 20 channels for a box
BOXES = [[[2., 3., 20., 24.], [17., 1., 44., 29.]], [[6., 6., 30., 27.]]]
META = dict(img_shape=(32, 48), pad_shape=(32, 48))


@pytest.fixture
def model(mmdet_scope, monkeypatch, request):
    """A head with random weights; all of it, its losses too, in float64."""
    monkeypatch.setattr(torch.Tensor, 'float', torch.Tensor.double)
    torch.set_default_dtype(torch.float64)
    request.addfinalizer(partial(torch.set_default_dtype, torch.float32))
    torch.manual_seed(0)
    matching = dict(
        assigner=dict(type='ATSSAssigner', topk=9), allowed_border=-1,
        pos_weight=-1, debug=False)
    head = MODELS.build(ConfigDict(
        type='GFLHead', num_classes=3, in_channels=CHANNELS,
        feat_channels=CHANNELS, stacked_convs=1, norm_cfg=None,
        reg_max=REG_MAX, anchor_generator=dict(
            ONE_ANCHOR, octave_base_scale=2), train_cfg=matching,
        loss_cls=dict(type='QualityFocalLoss'),
        loss_bbox=dict(type='GIoULoss', loss_weight=2.), _scope_='mmdet'))
    for module in head.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=.3)
    for i, scale in enumerate(head.scales):
        nn.init.constant_(scale.scale, 1 - .2 * i)
    anchors, of_level = head.prior_generator, head.loss_by_feat_single
    anchors.grid_priors = partial(anchors.grid_priors, dtype=torch.float64)
    head.loss_by_feat_single = lambda *args, **kwargs: of_level(
        *(a.double() if getattr(a, 'dtype', None) == torch.float32 else a
          for a in args), **kwargs)
    return HeadAlone(head).double().eval()


def loss_of(head, cls_scores, bbox_preds, boxes):
    """The loss of an image alone."""
    gt = InstanceData(bboxes=torch.tensor(boxes),
                      labels=torch.arange(len(boxes)))
    terms = head.loss_by_feat(cls_scores, bbox_preds, [gt], [META])
    return sum(sum(levels) for levels in terms.values())


def dense(operator, params):
    eye = torch.eye(sum(p.numel() for p in params))
    columns = operator.product([unflatten(row, params) for row in eye])
    return torch.stack([flatten(c) for c in columns], 1)


def dense_parts(model, layer, x, boxes):
    """J and d2l/dz2 of the layer's outputs z, [positions, C] at both levels,
    for one image, by autograd alone."""
    head = model.bbox_head
    branch = 'cls' if layer == 'gfl_cls' else 'reg'
    maps = []
    for level in model.extract_feat(x[None]):
        maps.append(getattr(head, f'{branch}_convs')[0](level).detach())
    conv = getattr(head, layer)
    params = [p.detach() for p in conv.parameters()]

    def outputs(weight, bias):
        return torch.cat([
            nn.functional.conv2d(m, weight, bias, padding=1)
            .movedim(1, -1).flatten() for m in maps])

    def loss(z):
        levels, start = [], 0
        for m, scale in zip(maps, head.scales):
            height, width = m.shape[2:]
            size = height * width * conv.out_channels
            out = z[start:start + size].view(1, height, width, -1)
            out = out.movedim(-1, 1)
            levels.append(scale.scale.detach() * out
                          if branch == 'reg' else out)
            start += size
        other = [o.detach() for o in head(model.extract_feat(x[None]))[
            branch == 'cls']]
        parts = (levels, other) if branch == 'cls' else (other, levels)
        return loss_of(head, *parts, boxes)

    z = outputs(*params)
    jacobian = torch.cat([
        j.flatten(1)
        for j in torch.autograd.functional.jacobian(outputs, tuple(params))
    ], 1)
    return jacobian, torch.autograd.functional.hessian(loss, z)


@pytest.mark.parametrize('step', [0., .02])
@pytest.mark.parametrize('layer, block', [('gfl_cls', 1),
                                          ('gfl_reg', 4 * (REG_MAX + 1))])
def test_blocks_are_those_of_the_dense_matrix(model, layer, block, step):
    x = features().double()
    recorder = LayerRecorder(model, f'bbox_head.{layer}')
    truth = 0
    with box_curvature(model, step):
        with recorder:
            outputs = model.bbox_head(model.extract_feat(x))
            losses = torch.stack([
                loss_of(model.bbox_head,
                        *[[m[i:i + 1] for m in maps] for maps in outputs],
                        boxes) for i, boxes in enumerate(BOXES)])
        with warnings.catch_warnings():
            warnings.simplefilter('error', UserWarning)
            operator = GaussNewton.from_batch(losses, recorder)
        for image, boxes in zip(x, BOXES):
            jacobian, hessian = dense_parts(model, layer, image, boxes)
            # nothing is left out: the blocks are all there is
            owner = torch.arange(len(hessian)) // block
            apart = owner[:, None] != owner
            assert hessian.abs().max() > 1e-3 and not hessian[apart].any()
            values, vectors = torch.linalg.eigh((hessian + hessian.T) / 2)
            kept = (vectors * values.clamp(min=0)) @ vectors.T
            truth = truth + jacobian.T @ kept @ jacobian / len(x)
    found = dense(operator, [p.detach() for p in recorder.params])
    assert float((found - truth).abs().max() / truth.abs().max()) < 1e-10


def test_only_positives_have_blocks(model):
    x = features().double()
    recorder = LayerRecorder(model, 'bbox_head.gfl_reg')
    with recorder:
        outputs = model.bbox_head(model.extract_feat(x[:1]))
        loss = loss_of(model.bbox_head, *outputs, BOXES[0])
    batch = GaussNewton.from_batch(loss[None], recorder).batches[0]
    curvatures = [term.curvature for term in batch.terms]
    assert all(isinstance(c, BlockCurvature) for c in curvatures)
    assert all(c.blocks.shape[1:] == (1, 20, 20) for c in curvatures)
    assert 0 < sum(len(c.rows) for c in curvatures) < 30
