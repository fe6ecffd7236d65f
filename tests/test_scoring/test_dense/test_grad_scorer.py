"""Gradients of the output layers against autograd, image by image."""
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from helpers.dense_heads import by_hand, detector, features
from helpers.pools import pool, score_in_two_processes
from helpers.tiny import tiny_fcos
from helpers.tiny_ssd import tiny_mdn_ssd
from helpers.waits import Waits
from test_entropy_scorer import Data, Members
from torch import nn

from mmal.models.committees import EnsembleCommittee
from mmal.models.utils.per_image import head_outputs, map_outputs
from mmal.registry import TASK_UTILS
from mmal.scoring import GradScorer, score_pool
from mmal.scoring.batch import Batch
from mmal.scoring.dense.class_layer_gradients import (
    class_layer_gradients,
    output_layers,
)
from mmal.scoring.dense.grad_scorer import self_loss
from mmal.scoring.dense.score_map import score_map

LAYERS = dict(
    retina=['retina_cls'], retina_softmax=['retina_cls'], fcos=['conv_cls'],
    atss=['atss_cls'], ssd=['cls_convs.0.0', 'cls_convs.1.0'],
    yolov3=['convs_pred.0', 'convs_pred.1'],
    yolox=['multi_level_conv_cls.0', 'multi_level_conv_cls.1',
           'multi_level_conv_obj.0', 'multi_level_conv_obj.1'])
HEADS = pytest.mark.parametrize('name', LAYERS)


def loss_by_hand(name, model, outputs):
    """Of one image, from the definition."""
    probs, = by_hand(name, model, outputs)
    if probs.size(1) == 4:
        return F.nll_loss(probs.log(), probs.argmax(1))
    label = (probs > 0.5).to(probs)
    return F.binary_cross_entropy(probs, label, reduction='sum') / len(probs)


def gradients_by_hand(name, model, inputs):
    """Layer to [B, C_out, K] by one backward pass for each image."""
    modules = dict(model.bbox_head.named_modules())
    found = {layer: [] for layer in LAYERS[name]}
    for image in inputs:
        loss = loss_by_hand(name, model, head_outputs(model, image[None]))
        for layer, rows in found.items():
            conv = modules[layer]
            grads = torch.autograd.grad(
                loss, list(conv.parameters()), retain_graph=True)
            rows.append(torch.cat(
                [g.reshape(conv.out_channels, -1) for g in grads], 1))
    return {k: torch.stack(v).double().numpy() for k, v in found.items()}


def flat(grads):
    return np.concatenate([g.reshape(len(g), -1) for g in grads.values()], 1)


def rows_of(name, grads, c):
    """Rows of class c: 3 classes a prior, after 5 others, before one."""
    def mine(layer, channel):
        if name == 'yolov3':
            return channel % 8 == 5 + c
        if layer.startswith('multi_level_conv_obj'):
            return False
        return channel % (4 if name in ('ssd', 'retina_softmax') else 3) == c

    return flat({
        layer: g[:, [i for i in range(g.shape[1]) if mine(layer, i)]]
        for layer, g in grads.items()})


def scored(scorer, model, inputs, committee=None):
    scorer.prepare(model, Data(committee))
    found = scorer.process(model, Batch(list(range(len(inputs))), inputs))
    return {k: v.numpy() for k, v in found.items()}


@HEADS
def test_output_layers(mmdet_scope, name):
    model = detector(name)
    found = output_layers(model, model.extract_feat(features(1)))
    assert found == LAYERS[name]


@HEADS
def test_one_model_has_the_norm(mmdet_scope, name):
    model, inputs = detector(name), features(3)
    grads = gradients_by_hand(name, model, inputs)
    found = scored(GradScorer(), model, inputs)
    norms = np.linalg.norm(flat(grads), axis=1)
    np.testing.assert_allclose(found['score'], norms, rtol=1e-4)
    of_classes = [np.linalg.norm(rows_of(name, grads, c), axis=1)
                  for c in range(3)]
    np.testing.assert_allclose(
        found['class_scores'].T, of_classes, rtol=1e-4, atol=1e-7)
    assert norms.std() > 0 and np.std(of_classes) > 0


@HEADS
@pytest.mark.parametrize('how', ['max', 'mean'])
def test_a_committee_has_the_variance(mmdet_scope, name, how):
    models, inputs = [detector(name, seed) for seed in range(3)], features()
    each = [gradients_by_hand(name, m, inputs) for m in models]
    reduce = getattr(np, how)
    truth = reduce(np.var([flat(g) for g in each], axis=0), axis=1)
    found = scored(GradScorer(how), models[0], inputs, Members(models))
    np.testing.assert_allclose(found['score'], truth, rtol=1e-4)
    of_classes = [
        reduce(np.var([rows_of(name, g, c) for g in each], axis=0), axis=1)
        for c in range(3)]
    np.testing.assert_allclose(
        found['class_scores'].T, of_classes, rtol=1e-4, atol=1e-10)


@pytest.mark.parametrize('name', ['retina', 'ssd', 'yolov3', 'yolox', 'fcos'])
@pytest.mark.parametrize('c', [None, 1])
def test_maps_have_the_gradient_of_each_position(mmdet_scope, name, c):
    model, inputs = detector(name), features(1)
    modules = dict(model.bbox_head.named_modules())
    probs, = by_hand(name, model, head_outputs(model, inputs))
    found, = GradScorer().map_values(model, Batch([0], inputs), c)
    assert len(found) == len(probs)
    for position in range(0, len(probs), 5):
        p = probs[position]
        best = [p.max()] if name == 'ssd' else torch.maximum(p, 1 - p)
        loss = sum(-x.log() for x in best)
        grads = {}
        for layer in LAYERS[name]:
            conv = modules[layer]
            parts = torch.autograd.grad(
                loss, list(conv.parameters()), retain_graph=True,
                allow_unused=True)
            grads[layer] = torch.cat(
                [(torch.zeros_like(w) if g is None else g).reshape(
                    1, conv.out_channels, -1)
                 for g, w in zip(parts, conv.parameters())], 2).numpy()
        truth = flat(grads) if c is None else rows_of(name, grads, c)
        assert found[position].item() == pytest.approx(
            np.linalg.norm(truth), rel=1e-3, abs=1e-6)


@HEADS
def test_a_gpu_is_not_waited_for(mmdet_scope, name):
    model, inputs = detector(name), features(3)
    scorer, batch = GradScorer(), Batch([0, 1, 2], inputs)
    scorer.prepare(model, Data(None))
    scorer.process(model, batch)  # finds the layers of the model, once
    with Waits() as waits:
        scorer.process(model, batch)
        scorer.map_values(model, batch, 1)
    assert waits.names == []


def test_mixtures(mmdet_scope):
    model, inputs = tiny_mdn_ssd(), torch.randn(2, 3, 64, 64)
    found = scored(GradScorer(), model, inputs)
    layers = [level[-1] for level in model.bbox_head.cls_convs]
    params = [p for layer in layers for p in layer.parameters()]
    for i, image in enumerate(inputs):
        outputs = head_outputs(model, image[None])
        probs = model.bbox_head.class_probabilities(*outputs)[0]
        loss = F.nll_loss(probs.log(), probs.argmax(1))
        grads = torch.autograd.grad(loss, params, allow_unused=True)
        norm = sum(g.square().sum() for g in grads if g is not None).sqrt()
        assert found['score'][i] == pytest.approx(norm.item(), rel=1e-4)
    assert 'class_scores' not in found
    batch = Batch([0, 1], inputs)
    assert score_map(GradScorer(), model, batch).std() > 0
    with pytest.raises(ValueError, match='cannot tell the classes'):
        score_map(GradScorer(), model, batch, 0)


def test_certain_predictions_have_small_gradients(mmdet_scope):
    model, inputs = detector('retina'), features(1)
    nn.init.normal_(model.bbox_head.retina_cls.weight, std=0.01)
    scores = []
    for bias in (0, -5, -20):
        nn.init.constant_(model.bbox_head.retina_cls.bias, bias)
        scores.append(scored(GradScorer(), model, inputs)['score'].item())
    assert scores[0] > 10 * scores[1] > 1e4 * scores[2] >= 0


def test_members_that_agree_have_no_variance(mmdet_scope):
    model = detector('fcos')
    found = scored(GradScorer(), model, features(), Members([model] * 3))
    assert (found['score'] == 0).all()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_single(mmdet_scope, dtype):
    model, inputs = detector('retina'), features()
    truth = scored(GradScorer(), model, inputs)
    found = scored(GradScorer(), model.to(dtype), inputs.to(dtype))
    for key, value in truth.items():
        np.testing.assert_allclose(found[key], value, rtol=0.05)
    half = class_layer_gradients(
        model, model.extract_feat(inputs.to(dtype)), ['retina_cls'],
        lambda probs: self_loss(probs, 3))
    assert half['retina_cls'].dtype == torch.float32


def test_members_of_other_layers(mmdet_scope):
    models = [detector('retina'), detector('retina_softmax')]
    with pytest.raises(ValueError, match='use members of equal heads'):
        scored(GradScorer(), models[0], features(), Members(models))


def test_neither_batches_nor_processes_matter(
        tmp_path, monkeypatch, mmdet_scope):
    model, scorer = tiny_fcos(), GradScorer()
    one, four = (
        score_pool(model, scorer, pool(tmp_path, size)) for size in (1, 4))
    two = score_in_two_processes(monkeypatch, tmp_path, model, scorer)
    for other in four, two:
        np.testing.assert_allclose(other.values, one.values, rtol=1e-4)
    assert one.values.std() > 0


def test_streaming_does_not_matter(tmp_path, mmdet_scope):
    model, scorer = tiny_fcos(), GradScorer()
    path = str(tmp_path / 'other.pth')
    torch.save(tiny_fcos(seed=1).state_dict(), path)
    found = []
    for stream in (False, True):
        data = pool(tmp_path, 2)
        data.committee = EnsembleCommittee(checkpoints=[path], stream=stream)
        data.committee.prepare(model)
        found.append(score_pool(model, scorer, data).values)
    np.testing.assert_array_equal(*found)
    assert found[0].std() > 0


def test_check(mmdet_scope):
    GradScorer().check(tiny_mdn_ssd(), Data())
    with pytest.raises(ValueError, match='active_learning.scorer.*RetinaHead'):
        GradScorer().check(nn.Linear(1, 1), Data())
    model = tiny_fcos()
    forward = model.bbox_head.forward
    model.bbox_head.forward = lambda x: map_outputs(
        lambda t: t * 2, forward(x))
    with pytest.raises(ValueError, match='straight from convolutions'):
        GradScorer().check(model, Data())


def test_self_loss_of_certain_positions_is_zero():
    assert self_loss(torch.eye(4)[None], 3).tolist() == [0]
    assert self_loss(torch.eye(3)[None], 3).tolist() == [0]


def test_a_single_class_of_yolox(mmdet_scope):
    model, inputs = detector('yolox', num_classes=1), features(3)
    found = scored(GradScorer(), model, inputs)
    grads = gradients_by_hand('yolox', model, inputs)
    for c, layer in ('score', 'multi_level'), ('class_scores', 'multi_level_'
                                               'conv_cls'):
        norms = flat({k: g for k, g in grads.items() if k.startswith(layer)})
        np.testing.assert_allclose(
            found[c].ravel(), np.linalg.norm(norms, axis=1), rtol=1e-4)
    assert (found['class_scores'][:, 0] < found['score']).all()


def test_configs_build_it():
    scorer = TASK_UTILS.build(dict(type='mmal.GradScorer'))
    assert scorer.aggregation == 'max' and not scorer.needs_committee
    with pytest.raises(ValueError, match="aggregation is 'sum'"):
        GradScorer('sum')
