"""Log odds of a softmax against logsumexp without each class in turn."""
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmal.models.layers.log_odds import softmax_log_odds


def by_hand(logits):
    rows = []
    for row in logits.double():
        rows.append([float(z) - float(torch.cat(
            [row[:k], row[k + 1:]]).logsumexp(0)) for k, z in enumerate(row)])
    return torch.tensor(rows, dtype=torch.double)


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 5), st.integers(0, 99),
       st.sampled_from([0., 1., 30., 1000.]))
def test_equals_the_sum_over_the_others(classes, seed, scale):
    logits = scale * torch.randn(
        4, classes, generator=torch.Generator().manual_seed(seed))
    expected = by_hand(logits)
    torch.testing.assert_close(softmax_log_odds(logits.double()), expected)
    torch.testing.assert_close(
        softmax_log_odds(logits).double(), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        softmax_log_odds(logits).sigmoid(), logits.softmax(-1))


def test_gradients():
    logits = torch.randn(3, 4, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(softmax_log_odds, logits)
    assert torch.autograd.gradgradcheck(softmax_log_odds, logits)


@pytest.mark.parametrize('dtype', [
    torch.float16, torch.bfloat16, torch.float32])
def test_is_finite_where_a_class_is_certain(dtype):
    logits = torch.tensor([[80., 0., -80.], [0., 0., 0.]], dtype=dtype,
                          requires_grad=True)
    odds = softmax_log_odds(logits)
    odds.square().sum().backward()
    assert odds.isfinite().all() and logits.grad.isfinite().all()
    assert odds[0, 0] == 80 and odds[0, 1] == -80
