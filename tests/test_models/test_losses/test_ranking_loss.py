"""The ranking loss of LLAL against a loop over the pairs."""
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmal.models.losses import PairwiseRankingLoss, pairwise_ranking_loss
from mmal.registry import MODELS

FLOATS = st.floats(-6e4, 6e4, width=16)
PAIRS = st.lists(st.tuples(FLOATS, FLOATS), max_size=9)


def by_hand(pred, target, margin):
    losses = []
    for i in range(len(pred) // 2):
        j = len(pred) - 1 - i
        sign = (target[i] > target[j]) - (target[i] < target[j])
        losses.append(max(0., -sign * (pred[i] - pred[j]) + margin))
    return losses


@settings(deadline=None, max_examples=100)
@given(PAIRS, st.sampled_from([0.25, 1.0, 3.0]),
       st.sampled_from([torch.float16, torch.float32, torch.float64]))
def test_equals_a_loop_over_the_pairs(pairs, margin, dtype):
    pred = torch.tensor([p for p, _ in pairs], dtype=dtype)
    target = torch.tensor([t for _, t in pairs], dtype=dtype)
    loss = pairwise_ranking_loss(pred, target, margin)
    assert loss.dtype == torch.promote_types(dtype, torch.float32)
    expected = by_hand(pred.tolist(), target.tolist(), margin)
    assert loss.tolist() == pytest.approx(expected, rel=1e-6, abs=1e-6)


@settings(deadline=None, max_examples=50)
@given(PAIRS, st.sampled_from([1e-30, 0.5, 1e20]), FLOATS)
def test_only_the_order_of_the_targets_and_the_gaps_of_predictions_count(
        pairs, scale, shift):
    pred = torch.tensor([p for p, _ in pairs], dtype=torch.float64)
    target = torch.tensor([t for _, t in pairs], dtype=torch.float64)
    loss = pairwise_ranking_loss(pred, target)
    torch.testing.assert_close(
        pairwise_ranking_loss(pred + shift, target * scale), loss)
    # the other order of a pair is the other side of the margin
    worse = pairwise_ranking_loss(pred, -target)
    decided = (target != target.flip(0))[:len(loss)]
    gap = (pred - pred.flip(0)).abs()[:len(loss)]
    torch.testing.assert_close(
        torch.maximum(loss, worse)[decided], 1 + gap[decided])


@pytest.mark.parametrize('size', [2, 5, 6])
def test_derivatives(size):
    pred = torch.linspace(-0.7, 0.8, size, dtype=torch.float64)
    target = torch.arange(size).roll(1).double()
    assert torch.autograd.gradcheck(
        lambda p: pairwise_ranking_loss(p, target),
        pred.requires_grad_())


def test_the_middle_image_and_equal_targets_have_no_gradient():
    pred = torch.tensor([0., 0., 9., 5., 0.], requires_grad=True)
    loss = pairwise_ranking_loss(pred, torch.tensor([1., 4., 9., 4., 0.]))
    assert loss.tolist() == [1., 1.]
    loss.sum().backward()
    assert pred.grad.tolist() == [-1., 0., 0., 0., 1.]


def test_targets_get_no_gradient():
    pred = torch.zeros(2, requires_grad=True)
    target = torch.tensor([0., 1.], requires_grad=True)
    pairwise_ranking_loss(pred, target).sum().backward()
    assert target.grad is None


def test_infinite_and_nan_losses_of_images_make_no_nan():
    inf, nan = float('inf'), float('nan')
    target = torch.tensor([inf, 1., nan, 2., inf, inf])
    loss = pairwise_ranking_loss(torch.zeros(6), target)
    assert loss.tolist() == [1., 1., 1.]
    loss = pairwise_ranking_loss(
        torch.tensor([3., 0.]), torch.tensor([inf, -inf]))
    assert loss.tolist() == [0.]


@pytest.mark.parametrize('reduction', ['mean', 'sum', 'none'])
@pytest.mark.parametrize('size', [0, 1])
def test_without_a_pair_the_loss_is_0_in_the_graph(reduction, size):
    pred = torch.zeros(size, requires_grad=True)
    loss = PairwiseRankingLoss(reduction=reduction)(pred, torch.zeros(size))
    assert loss.sum() == 0
    loss.sum().backward()
    assert pred.grad.tolist() == [0.] * size


def test_module_reduces_and_weighs():
    loss = MODELS.build(
        dict(type='mmal.PairwiseRankingLoss', margin=2., loss_weight=3.))
    pred = torch.tensor([0., 0., 1., 1.5])
    target = torch.tensor([0., 0., 1., 1.])
    pairs = torch.tensor([0.5, 1.])
    torch.testing.assert_close(loss(pred, target), 3 * pairs.mean())
    for reduction, expected in (('sum', pairs.sum()), ('none', pairs)):
        torch.testing.assert_close(
            loss(pred, target, reduction_override=reduction), 3 * expected)


def test_mistakes_are_explained():
    with pytest.raises(ValueError, match=r'\(2, 1\).*must both be \[B\]'):
        pairwise_ranking_loss(torch.zeros(2, 1), torch.zeros(2))
    with pytest.raises(ValueError, match='margin is 0, must be > 0'):
        PairwiseRankingLoss(margin=0)
    with pytest.raises(ValueError, match="reduction is 'max'"):
        PairwiseRankingLoss(reduction='max')
