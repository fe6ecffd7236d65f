"""The influence of boxes against autograd, box by box."""
import pytest
import torch
from helpers.random_labels import random_labels
from helpers.tiny import tiny_fcos
from helpers.tiny_one_stage import tiny_one_stage
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmengine.structures import InstanceData

from mmal.influence import LayerRecorder, image_products
from mmal.influence.position_products import position_products
from mmal.models.utils import last_layers
from mmal.models.utils.assigned_boxes import assigned_boxes
from mmal.models.utils.per_image import head_outputs, image_losses
from mmal.scoring.batch import Batch
from mmal.scoring.isal.box_influence import box_influences

SIZE = 64
HEADS = ('fcos', 'retina', 'retina_softmax', 'atss')


@pytest.fixture(scope='module')
def models():
    """Each in float64, with a recorder of its last layers."""
    models = {}
    for name in HEADS:
        model = tiny_fcos() if name == 'fcos' else tiny_one_stage(name)
        layers = last_layers(model)  # by a float32 image
        models[name] = model.double(), LayerRecorder(model, layers)
    return models


def make(counts, seed):
    """A batch, the labels, and what divides the losses."""
    generator = torch.Generator().manual_seed(seed)
    samples, labels = random_labels(
        counts, [None] * len(counts), SIZE, generator, least=8.)
    x = torch.randn(len(counts), 3, SIZE, SIZE, generator=generator).double()
    return Batch(list(range(len(counts))), x, samples), labels, dict(
        loss_cls=3., loss_bbox=5., loss_centerness=2.)


def vector_of(recorder, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(p.shape, generator=generator).double()
            for p in recorder.params]


def boxes_of_points(head, label):
    """FCOS's rule by hand: [H, W] for each level, -1 without a box."""
    levels = []
    for stride, (low, high) in zip(head.strides, head.regress_ranges):
        side = SIZE // stride
        best = torch.full((side, side), -1)
        for y in range(side):
            for x in range(side):
                px, py = (x + .5) * stride, (y + .5) * stride
                smallest = float('inf')
                for n, (x1, y1, x2, y2) in enumerate(label.bboxes.tolist()):
                    cx, cy = (x1 + x2) / 2, (y1 + y2) / 2
                    reach = stride * head.center_sample_radius
                    inside = min(
                        px - max(x1, cx - reach), py - max(y1, cy - reach),
                        min(x2, cx + reach) - px, min(y2, cy + reach) - py)
                    farthest = max(px - x1, py - y1, x2 - px, y2 - py)
                    area = (x2 - x1) * (y2 - y1)
                    if inside > 0 and low <= farthest <= high and \
                            area < smallest:
                        best[y, x], smallest = n, area
        levels.append(best)
    return levels


def boxes_of_anchors(head, label, outputs):
    """What the assigner says of all anchors, [H, W, A] for each level."""
    shapes = [level.shape[2:] for level in outputs[0]]
    anchors = head.prior_generator.grid_priors(shapes, device='cpu')
    more = () if type(head).__name__ == 'RetinaHead' else (
        [len(a) for a in anchors], )
    result = head.assigner.assign(
        InstanceData(priors=torch.cat(anchors)), *more, label)
    return [
        of_level.clamp(min=0).view(*shape, -1) - 1 for shape, of_level in zip(
            shapes, result.gt_inds.split([len(a) for a in anchors]))]


def gradient_of(model, batch, labels, factors, recorder, image, chosen):
    """Of the loss with gradients at the chosen rows alone; ``chosen`` are
    bool [H, W, A] for each level."""
    outputs = []
    for kind in head_outputs(model, batch.inputs):
        levels = []
        for level, rows in zip(kind, chosen):
            mask = torch.zeros_like(level, dtype=torch.bool)
            wide = rows.repeat_interleave(level.size(1) // rows.size(2), 2)
            mask[image] = wide.permute(2, 0, 1)
            levels.append(torch.where(mask, level, level.detach()))
        outputs.append(levels)
    loss = image_losses(model, outputs, batch.samples, labels, factors)[image]
    if not loss.requires_grad:
        return [torch.zeros_like(p) for p in recorder.params]
    return [torch.zeros_like(p) if g is None else g for g, p in zip(
        torch.autograd.grad(loss, recorder.params, allow_unused=True),
        recorder.params)]


@pytest.mark.parametrize('name', HEADS)
@settings(deadline=None, max_examples=4,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(counts=st.lists(st.integers(0, 3), min_size=1, max_size=2),
       seed=st.integers(0, 10**6))
def test_each_box_has_the_gradient_of_its_rows(name, models, mmdet_scope,
                                               counts, seed):
    model, recorder = models[name]
    batch, labels, factors = make(counts, seed)
    vector = vector_of(recorder, seed)
    influences = box_influences(model, recorder, vector, batch, labels,
                                factors)
    assert [len(i) for i in influences] == counts
    outputs = head_outputs(model, batch.inputs)
    for image, label in enumerate(labels):
        if not len(label.bboxes):
            continue
        boxes = [level[..., None] for level in boxes_of_points(
            model.bbox_head, label)] if name == 'fcos' else \
            boxes_of_anchors(model.bbox_head, label, outputs)
        for box, influence in enumerate(influences[image]):
            gradient = gradient_of(
                model, batch, labels, factors, recorder, image,
                [level == box for level in boxes])
            truth = -sum((g * v).sum() for g, v in zip(gradient, vector))
            torch.testing.assert_close(influence, truth, rtol=1e-8,
                                       atol=1e-10)


@pytest.mark.parametrize('name', HEADS)
def test_some_rows_of_each_level_have_a_box(name, models, mmdet_scope):
    model, _ = models[name]
    batch, labels, _ = make([3, 0], 1)
    labels[0].bboxes = torch.tensor(
        [[2., 2, 20, 22], [24, 24, 60, 60], [5, 40, 20, 58]])
    outputs = head_outputs(model, batch.inputs)
    boxes = assigned_boxes(model.bbox_head, outputs, batch.samples, labels)
    assert [b.shape for b in boxes] == [
        (2, level[0, 0].numel() * model.bbox_head.num_base_priors)
        for level in outputs[0]]
    assert all((level[1] == -1).all() for level in boxes)
    assert set(torch.cat([b[0] for b in boxes]).tolist()) == {-1, 0, 1, 2}


def test_positions_add_up_to_the_image(models, mmdet_scope):
    model, recorder = models['fcos']
    batch, labels, _ = make([2, 0, 1], 3)
    vector = vector_of(recorder)
    with recorder:
        losses = image_losses(model, head_outputs(model, batch.inputs),
                              batch.samples, labels)
    total = sum(products.flatten(1).sum(1) for _, products in
                position_products(losses, recorder, vector))
    torch.testing.assert_close(
        total, image_products(losses, recorder, vector))


def test_layers_without_positions_are_refused(mmdet_scope):
    model = torch.nn.Sequential(
        torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2)).eval()
    recorder = LayerRecorder(model, '1')
    with recorder:
        losses = model(torch.randn(3, 2)).sum(1)
    with pytest.raises(ValueError, match='the layers 1 have no output'):
        position_products(losses, recorder, recorder.params)


def test_other_heads_and_layers_are_refused(models, mmdet_scope):
    model = tiny_one_stage('yolox')
    batch, labels, factors = make([1], 0)
    recorder = LayerRecorder(model, last_layers(model))
    with pytest.raises(ValueError, match='YOLOXHead'):
        box_influences(model, recorder, recorder.params, batch, labels)
    model, _ = models['fcos']
    recorder = LayerRecorder(model, ['backbone.conv1', 'bbox_head.conv_cls'])
    with pytest.raises(ValueError, match='backbone.conv1 are not called'):
        box_influences(model, recorder, recorder.params, batch, labels)
