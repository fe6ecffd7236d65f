import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmal.models import LinearClsHead

LOSSES = {
    'softmax': dict(type='mmdet.CrossEntropyLoss'),
    'sigmoid': dict(type='mmdet.CrossEntropyLoss', use_sigmoid=True),
    'focal': dict(type='mmdet.FocalLoss', use_sigmoid=True),
    'anchor': dict(type='mmal.AnchorLoss', use_sigmoid=True),
}


def head_of(loss, classes=4):
    import mmdet.models  # noqa: F401
    return LinearClsHead(classes, 6, loss_cls=LOSSES[loss])


@pytest.mark.parametrize('loss', LOSSES)
@settings(max_examples=15, deadline=None)
@given(st.integers(1, 5), st.sampled_from([0.1, 3.0, 60.0]),
       st.integers(0, 99))
def test_the_batch_loss_is_the_mean_of_the_images_alone(
        loss, batch, scale, seed):
    torch.manual_seed(seed)
    head = head_of(loss)
    logits = scale * torch.randn(batch, 4)
    labels = torch.randint(4, (batch, ))
    alone = torch.stack([
        head.loss_by_feat(logits[i:i + 1], labels[i:i + 1])['loss_cls']
        for i in range(batch)])
    torch.testing.assert_close(head.image_losses(logits, labels), alone)
    torch.testing.assert_close(
        head.loss_by_feat(logits, labels)['loss_cls'], alone.mean())
    assert (alone >= 0).all() and alone.isfinite().all()


def test_softmax_loss_is_the_log_probability_of_the_label():
    head, logits = head_of('softmax'), torch.randn(3, 4)
    labels = torch.tensor([0, 3, 1])
    probs = head.probabilities(logits)
    torch.testing.assert_close(probs.sum(1), torch.ones(3))
    torch.testing.assert_close(
        head.image_losses(logits, labels),
        -probs[torch.arange(3), labels].log())


def test_sigmoid_loss_sums_over_the_classes():
    head, logits = head_of('sigmoid'), torch.randn(3, 4)
    labels = torch.tensor([0, 3, 1])
    probs = head.probabilities(logits)
    own = torch.nn.functional.one_hot(labels, 4).bool()
    expected = -torch.where(own, probs, 1 - probs).log().sum(1)
    torch.testing.assert_close(head.image_losses(logits, labels), expected)


def test_it_is_a_linear_layer_on_the_mean_of_the_last_map():
    head = head_of('softmax')
    maps = [torch.zeros(2, 3, 8, 8), torch.randn(2, 6, 5, 3)]
    expected = maps[1].mean((2, 3)) @ head.fc.weight.flatten(1).T + \
        head.fc.bias
    torch.testing.assert_close(head(maps), expected)


def test_one_class_is_refused():
    with pytest.raises(ValueError, match='cls_head.num_classes is 1'):
        LinearClsHead(1, 6)
