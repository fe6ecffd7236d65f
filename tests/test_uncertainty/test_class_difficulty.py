import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmal.uncertainty import difficulty_weight, match_quality

share = st.floats(0, 1)


@settings(deadline=None, max_examples=100)
@given(share, share, share)
def test_quality_lies_between_p_and_iou(p, iou, xi):
    quality = float(match_quality(
        torch.tensor(p, dtype=torch.float64),
        torch.tensor(iou, dtype=torch.float64), xi))
    assert math.isclose(quality, p**xi * iou**(1 - xi), abs_tol=1e-9)
    assert min(p, iou) - 1e-9 <= quality <= max(p, iou) + 1e-9


def test_half_precision_is_raised():
    half = torch.tensor([.25, 1.], dtype=torch.float16)
    quality = match_quality(half, half.flip(0), 0.5)
    assert quality.dtype == torch.float32
    assert quality.tolist() == [.5, .5]


@settings(deadline=None, max_examples=100)
@given(share, st.floats(.05, 5), st.floats(0, 3))
def test_weight_is_the_paper_s(d, alpha, beta):
    weight = float(difficulty_weight(
        torch.tensor(d, dtype=torch.float64), alpha, beta))
    truth = 1 + alpha * beta * math.log(1 + (math.exp(1 / alpha) - 1) * d)
    assert math.isclose(weight, truth, rel_tol=1e-9)
    assert 1 <= weight <= (1 + beta) * (1 + 1e-9)
    harder = float(difficulty_weight(
        torch.tensor(min(1., d + .1), dtype=torch.float64), alpha, beta))
    assert harder >= weight
