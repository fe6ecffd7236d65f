import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.models.losses import FocalLoss
from torch.autograd import gradcheck, gradgradcheck

from mmal.models.layers import SigmoidMixture

EXTREME = [-6e4, -1e4, -90., -1., 0., 0.5, 88., 1e4, 6e4]


def raw(n=5, k=3, c=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = ((n, k, c), (n, k))
    return [
        2 * torch.randn(s, generator=generator, dtype=torch.float64)
        for s in shapes
    ]


@pytest.mark.parametrize('k', [1, 3])
def test_equals_loops_over_rows_components_and_classes(k):
    logits, weight_logits = raw(k=k)
    mixture = SigmoidMixture.from_raw(logits, weight_logits)
    for i in range(5):
        pi = weight_logits[i].exp() / weight_logits[i].exp().sum()
        for c in range(4):
            p = [1 / (1 + (-logits[i, j, c]).exp()) for j in range(k)]
            mean = sum(pi[j] * p[j] for j in range(k))
            noise = sum(pi[j] * p[j] * (1 - p[j]) for j in range(k))
            spread = sum(pi[j] * (p[j] - mean)**2 for j in range(k))
            close(mixture.probs[i, c], mean)
            close(mixture.logit[i, c], (mean / (1 - mean)).log())
            close(mixture.aleatoric[i, c], noise)
            close(mixture.epistemic[i, c], spread)
            close(noise + spread, mean * (1 - mean))


def close(a, b):
    torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def focal(p, target, gamma=2.0, alpha=0.25):
    """By the formula, on probabilities."""
    loss = 0.0
    for i, label in enumerate(target.tolist()):
        for c in range(p.shape[1]):
            if c == label:
                loss -= alpha * (1 - p[i, c])**gamma * p[i, c].log()
            else:
                loss -= (1 - alpha) * p[i, c]**gamma * (1 - p[i, c]).log()
    return loss


@pytest.mark.parametrize('k', [1, 3])
def test_focal_loss_of_the_logit_is_that_of_the_probability(k):
    logits, weights = raw(k=k)
    target = torch.tensor([0, 3, 4, 2, 4])
    mixture = SigmoidMixture.from_raw(logits, weights)
    p = sum(mixture.weights[:, j, None] * logits[:, j].sigmoid()
            for j in range(k))
    found = FocalLoss(reduction='sum')(mixture.logit, target)
    torch.testing.assert_close(found, focal(p, target))


def test_focal_loss_has_the_right_derivatives():
    logits, weights = raw(n=2, k=2, c=2)
    target = torch.tensor([1, 2])

    def loss(z, w):
        logit = SigmoidMixture.from_raw(z, w).logit
        return FocalLoss(reduction='sum')(logit, target)

    inputs = logits.requires_grad_(), weights.requires_grad_()
    assert gradcheck(loss, inputs) and gradgradcheck(loss, inputs)


@settings(max_examples=30, deadline=None)
@given(
    z=st.lists(st.sampled_from(EXTREME), min_size=1, max_size=4),
    half=st.booleans())
def test_agreeing_components_are_exact(z, half):
    z = torch.tensor(z, dtype=torch.float16 if half else torch.float32)
    for k in (1, 3, 4):
        weights = torch.randn(len(z), k)
        mixture = SigmoidMixture.from_raw(
            z[:, None, None].expand(-1, k, 2), weights)
        assert torch.equal(mixture.logit, z.float()[:, None].expand(-1, 2))


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.sampled_from(EXTREME), min_size=4, max_size=4),
    weights=st.lists(st.sampled_from(EXTREME), min_size=2, max_size=2),
    dtype=st.sampled_from([torch.float16, torch.bfloat16, torch.float32]),
    label=st.integers(0, 2))
def test_extreme_logits_give_finite_losses_and_gradients(
        values, weights, dtype, label):
    z = torch.tensor(values, dtype=dtype).view(1, 2, 2).requires_grad_()
    w = torch.tensor(weights, dtype=dtype).view(1, 2).requires_grad_()
    mixture = SigmoidMixture.from_raw(z, w)
    loss = FocalLoss(reduction='sum')(mixture.logit, torch.tensor([label]))
    loss.backward()
    assert loss.dtype == torch.float32 and loss.isfinite()
    assert z.grad.isfinite().all() and w.grad.isfinite().all()
    exact = SigmoidMixture.from_raw(z.detach().double(), w.detach().double())
    truth = (exact.weights[..., None] * exact.logits.sigmoid()).sum(-2)
    torch.testing.assert_close(
        mixture.probs.double(), truth, rtol=1e-2, atol=1e-5)


@pytest.mark.parametrize('shapes', [
    ((2, 3), (2, 2)), ((2, 0, 3), (2, 0)), ((3, ), ()), ((2, 3, 4), (3, ))])
def test_bad_shapes(shapes):
    with pytest.raises(ValueError, match='sigmoid mixture got logits'):
        SigmoidMixture(*(torch.zeros(s) for s in shapes))


def test_index_and_no_rows():
    mixture = SigmoidMixture.from_raw(*raw())
    assert torch.equal(mixture[1:3].probs, mixture.probs[1:3])
    assert mixture[:0].epistemic.shape == (0, 4)
    assert mixture.num_components == 3
