"""Losses of predictions as their own labels, and their derivatives."""
import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from mmal.uncertainty import binary_self_loss, categorical_self_loss

logits = st.lists(
    st.floats(-1e3, 1e3, width=32), min_size=1, max_size=6)


@settings(max_examples=80, deadline=None)
@given(logits)
def test_categorical(values):
    z = torch.tensor(values, dtype=torch.float64, requires_grad=True)
    p = z.softmax(0)
    label = p.argmax()
    loss = categorical_self_loss(p)
    torch.testing.assert_close(loss, F.cross_entropy(z, label))
    assert 0 <= loss.item() <= math.log(len(values)) + 1e-9
    grad, = torch.autograd.grad(loss, z)
    truth = p.detach() - F.one_hot(label, len(values))
    torch.testing.assert_close(grad, truth, atol=1e-9, rtol=1e-6)


@settings(max_examples=80, deadline=None)
@given(logits, st.sampled_from([torch.float32, torch.float64]))
def test_binary(values, dtype):
    z = torch.tensor(values, dtype=dtype, requires_grad=True)
    p = z.sigmoid()
    label = (p > 0.5).to(dtype)
    loss = binary_self_loss(p)
    truth = F.binary_cross_entropy_with_logits(z, label, reduction='none')
    torch.testing.assert_close(loss, truth, atol=1e-6, rtol=1e-5)
    grad, = torch.autograd.grad(loss.sum(), z)
    torch.testing.assert_close(
        grad, p.detach() - label, atol=1e-6, rtol=1e-5)


def test_half_precision_and_certainty():
    p = torch.tensor([0., 1.], dtype=torch.float16)
    assert binary_self_loss(p).tolist() == [0, 0]
    assert categorical_self_loss(p).item() == 0
    assert binary_self_loss(p).dtype == torch.float32
    assert binary_self_loss(torch.tensor(0.5)).item() == pytest.approx(
        math.log(2))
