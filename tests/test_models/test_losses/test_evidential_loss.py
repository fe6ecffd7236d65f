"""The loss of a model evidence head against loops."""
import pytest
import torch

from mmal.models import EvidenceLoss
from mmal.models.losses import predicted_loss_error
from mmal.registry import MODELS


def example(n=6, seed=0):
    rng = torch.Generator().manual_seed(seed)
    pred, loss = torch.rand(2, n, generator=rng, dtype=torch.double)
    return pred.requires_grad_(), loss, torch.rand(n, generator=rng) < .5


@pytest.mark.parametrize('average, divisor', [
    ('positives', None), ('positives', 4.), ('anchors', None),
    ('anchors', 4.)])
def test_equals_a_loop(average, divisor):
    pred, loss, keep = example()
    total = sum((p - q)**2 for p, q, k in zip(
        pred.tolist(), loss.tolist(), keep) if k)
    number = len(pred) if average == 'anchors' else divisor or int(keep.sum())
    module = MODELS.build(dict(
        type='mmal.EvidenceLoss', average=average, loss_weight=3.))
    value = module(pred, loss, keep, divisor).detach()
    assert float(value) == pytest.approx(
        3 * total / number)


def test_gradients():
    pred, loss, keep = example()
    assert torch.autograd.gradcheck(
        lambda p: EvidenceLoss()(p, loss, keep), pred)
    loss.requires_grad_()
    predicted_loss_error(pred, loss, keep).sum().backward()
    assert loss.grad is None and (pred.grad[~keep] == 0).all()


def test_no_positive_is_no_loss_but_part_of_the_graph():
    pred, loss, keep = example()
    value = EvidenceLoss()(pred, loss, torch.zeros_like(keep))
    value.backward()
    assert float(value) == 0 and (pred.grad == 0).all()
    nothing = EvidenceLoss('anchors')(pred[:0], loss[:0], keep[:0])
    assert float(nothing) == 0


@pytest.mark.parametrize('options, message', [
    (dict(average='all'), "loss_evidence.average is 'all'"),
    (dict(loss_weight=-1), 'loss_evidence.loss_weight is -1')])
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        EvidenceLoss(**options)


def test_shapes_must_fit():
    pred, loss, keep = example()
    with pytest.raises(ValueError, match='give .N. of each'):
        EvidenceLoss()(pred[:, None], loss, keep)
