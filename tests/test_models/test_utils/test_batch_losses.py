"""The loss of a batch in one call, against the head's loss image by image."""
import pytest
import torch
from helpers.tiny import tiny_fcos
from helpers.tiny_one_stage import tiny_one_stage
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmdet.models.dense_heads import FCOSHead
from mmdet.models.losses import FocalLoss, L1Loss
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData

from mmal.models.utils import per_image
from mmal.models.utils.batch_losses import takes_batches
from mmal.models.utils.per_image import head_outputs, image_losses
from mmal.scoring.isal.adapters import adapter_of, one_stage

BUILD = dict(fcos=tiny_fcos, retinanet=lambda: tiny_one_stage('retina'),
             retina_softmax=lambda: tiny_one_stage('retina_softmax'))
SIZE = 64


@pytest.fixture(scope='module')
def models():
    return {name: build() for name, build in BUILD.items()}


def make(counts, ignored, seed):
    """Images with so many boxes each, and boxes to leave out."""
    generator = torch.Generator().manual_seed(seed)

    def boxes(number):
        corners = torch.rand(number, 2, generator=generator) * SIZE * 0.7
        sides = 1 + torch.rand(number, 2, generator=generator) * SIZE / 2
        return torch.cat([corners, corners + sides], 1)

    samples, labels = [], []
    for n, (count, left_out) in enumerate(zip(counts, ignored)):
        sample = DetDataSample(metainfo=dict(
            img_id=n, img_shape=(SIZE, SIZE), pad_shape=(SIZE, SIZE),
            batch_input_shape=(SIZE, SIZE), scale_factor=(1., 1.)))
        if left_out is not None:
            sample.ignored_instances = InstanceData(bboxes=boxes(left_out))
        samples.append(sample)
        labels.append(InstanceData(
            bboxes=boxes(count),
            labels=torch.randint(3, (count, ), generator=generator)))
    x = torch.randn(len(counts), 3, SIZE, SIZE, generator=generator)
    return x, samples, labels


def one_by_one(function, *args):
    """The same without the batch's loss."""
    with pytest.MonkeyPatch.context() as m:
        for module in (per_image, one_stage):
            m.setattr(module, 'takes_batches', lambda head: False)
        return function(*args)


def compare(model, function, x, *args):
    """Losses and their gradients by the outputs, both ways."""
    found = []
    for how in (lambda f, *a: f(*a), one_by_one):
        outputs = [[y.detach().requires_grad_() for y in level]
                   for level in head_outputs(model, x)]
        losses = how(function, outputs, *args)
        weights = torch.arange(1., len(losses) + 1)
        grads = torch.autograd.grad(
            (losses * weights).sum(), [y for level in outputs for y in level],
            allow_unused=True)
        found.append((losses, [torch.zeros(()) if g is None else g
                               for g in grads]))
    (losses, grads), (expected, expected_grads) = found
    torch.testing.assert_close(losses, expected, rtol=1e-6, atol=1e-6)
    for grad, other in zip(grads, expected_grads):
        assert (grad - other).abs().max() <= 1e-6 * max(
            1, float(other.abs().max()))


@pytest.mark.parametrize('name', BUILD)
@settings(deadline=None, max_examples=12,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(counts=st.lists(st.integers(0, 5), min_size=1, max_size=4),
       ignored=st.lists(st.none() | st.integers(0, 2), min_size=4,
                        max_size=4),
       seed=st.integers(0, 10**6))
def test_losses_are_those_of_each_image_alone(
        name, models, mmdet_scope, counts, ignored, seed):
    model = models[name]
    assert takes_batches(model.bbox_head)
    x, samples, labels = make(counts, ignored, seed)
    compare(model, lambda outputs: image_losses(
        model, outputs, samples, labels), x)
    adapter = adapter_of(model, 0)
    compare(model, lambda outputs: adapter.pseudo_label_losses(
        outputs, samples, labels), x)


@pytest.mark.parametrize('name', BUILD)
def test_the_head_is_asked_once(name, models, mmdet_scope, monkeypatch):
    model, calls = models[name], []
    whole = type(model.bbox_head).loss_by_feat
    monkeypatch.setattr(
        type(model.bbox_head), 'loss_by_feat',
        lambda self, *args, **kwargs: calls.append(1) or whole(
            self, *args, **kwargs))
    x, samples, labels = make([2, 0, 3], [None] * 3, 0)
    adapter_of(model, 0).pseudo_label_losses(
        head_outputs(model, x), samples, labels)
    assert len(calls) == 1


def test_heads_that_may_sum_up_otherwise_go_image_by_image(mmdet_scope):
    class Other(FCOSHead):
        pass

    class OtherLoss(FocalLoss):
        pass

    head = tiny_fcos().bbox_head
    assert takes_batches(head)
    head.loss_bbox.forward = head.loss_bbox.forward
    assert not takes_batches(head)
    head = tiny_fcos().bbox_head
    head.__class__ = Other
    assert not takes_batches(head)
    head = tiny_fcos().bbox_head
    head.loss_cls.__class__ = OtherLoss
    assert not takes_batches(head)
    head = tiny_fcos().bbox_head
    head.loss_bbox = L1Loss(reduction='sum')
    assert not takes_batches(head)
