"""Sigmoid focal loss against scalar loops, and its derivative."""
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmcv.ops import sigmoid_focal_loss

from mmal.compat.focal_loss import (
    sigmoid_focal_loss_backward,
    sigmoid_focal_loss_forward,
)


def slow_focal_loss(logits, target, weight, gamma, alpha):
    output = np.zeros(logits.shape)
    for n, c in np.ndindex(*logits.shape):
        p = 1 / (1 + math.exp(-float(logits[n, c])))
        chosen = int(target[n])
        if chosen == c:
            share, p_t = alpha, p
        else:
            share, p_t = 1 - alpha, 1 - p
        loss = -share * (1 - p_t)**gamma * math.log(max(p_t, 1.2e-38))
        if weight is not None and 0 <= chosen < len(weight):
            loss *= float(weight[chosen])
        output[n, c] = loss
    return output


@st.composite
def batches(draw):
    rows, classes = draw(st.integers(0, 5)), draw(st.integers(1, 4))
    logit = st.floats(-12, 12, width=32)
    logits = draw(st.lists(logit, min_size=rows * classes,
                           max_size=rows * classes))
    target = draw(st.lists(st.integers(0, classes), min_size=rows,
                           max_size=rows))
    weight = draw(st.none() | st.lists(
        st.floats(0, 3, width=32), min_size=classes, max_size=classes))
    return (torch.tensor(logits).reshape(rows, classes),
            torch.tensor(target, dtype=torch.long),
            None if weight is None else torch.tensor(weight))


@settings(max_examples=50, deadline=None)
@given(batches(), st.sampled_from([0., 1., 2., 2.5]),
       st.sampled_from([0., 0.25, 1.]))
def test_forward_equals_loops(batch, gamma, alpha):
    logits, target, weight = batch
    loss = sigmoid_focal_loss(logits, target, gamma, alpha, weight, 'none')
    wanted = slow_focal_loss(logits, target, weight, gamma, alpha)
    # 1 - p in float32 is the limit at large logits.
    np.testing.assert_allclose(loss, wanted, rtol=2e-4, atol=2e-2 if
                               logits.numel() and logits.abs().max() > 8
                               else 1e-5)


@pytest.mark.parametrize('reduction', ['mean', 'sum'])
def test_reductions(reduction):
    logits = torch.linspace(-3, 3, 12).view(4, 3)
    target = torch.tensor([0, 3, 2, 1])
    loss = sigmoid_focal_loss(logits, target, 2., 0.25, None, reduction)
    wanted = slow_focal_loss(logits, target, None, 2., 0.25).sum()
    if reduction == 'mean':
        wanted /= 4
    assert float(loss) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('gamma', [0., 1.5, 2.])
@pytest.mark.parametrize('reduction', ['mean', 'sum'])
def test_gradients(weighted, gamma, reduction):
    logits = torch.linspace(-4, 4, 15, dtype=torch.float64).view(5, 3)
    logits.requires_grad_()
    target = torch.tensor([0, 1, 2, 3, 1])
    weight = torch.tensor([.5, 2., 0.], dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda x: sigmoid_focal_loss(x, target, gamma, 0.25,
                                     weight if weighted else None,
                                     reduction), logits)


def test_both_fill_their_output_in_place():
    logits, target = torch.randn(3, 2), torch.tensor([0, 1, 2])
    loss, grad = torch.full((2, 3, 2), 9.)
    none = torch.zeros(0)
    assert sigmoid_focal_loss_forward(logits, target, none, loss, gamma=2.,
                                      alpha=.25) is None
    assert sigmoid_focal_loss_backward(logits, target, none, grad, gamma=2.,
                                       alpha=.25) is None
    np.testing.assert_allclose(
        loss, slow_focal_loss(logits, target, None, 2., .25), rtol=1e-4)
    assert (grad < 9).all()


@pytest.mark.parametrize('kind', [torch.float16, torch.float32,
                                  torch.float64])
def test_extreme_logits_stay_finite(kind):
    logits = torch.tensor([[6e4, -6e4], [-6e4, 6e4]], dtype=kind)
    logits.requires_grad_()
    loss = sigmoid_focal_loss(logits, torch.tensor([0, 0]), 2., 0.25, None,
                              'none')
    assert loss.dtype == kind and loss.isfinite().all()
    assert loss[0].tolist() == [0, 0] and (loss[1] > 10).all()
    loss.sum().backward()
    assert logits.grad.isfinite().all()


def test_equals_the_python_version_of_mmdet():
    from mmdet.models.losses.focal_loss import py_sigmoid_focal_loss
    torch.manual_seed(0)
    logits = torch.randn(20, 4)
    target = torch.randint(0, 5, (20, ))
    one_hot = torch.nn.functional.one_hot(target, 5)[:, :4]
    theirs = py_sigmoid_focal_loss(logits, one_hot, reduction='sum')
    ours = sigmoid_focal_loss(logits, target, 2., 0.25, None, 'sum')
    torch.testing.assert_close(ours, theirs)


def test_equal_to_compiled_mmcv(compiled):
    if not torch.cuda.is_available():
        pytest.skip('mmcv has this operator for CUDA only')
    logits = torch.randn(200, 5, device='cuda') * 4
    target = torch.randint(0, 6, (200, ), device='cuda')
    for ours, theirs in (
        (sigmoid_focal_loss_forward, compiled.sigmoid_focal_loss_forward),
        (sigmoid_focal_loss_backward, compiled.sigmoid_focal_loss_backward)):
        results = torch.zeros(2, 200, 5, device='cuda')
        for function, result in zip((ours, theirs), results):
            function(logits, target, logits.new_empty(0), result, gamma=2.,
                     alpha=.25)
        torch.testing.assert_close(*results)
