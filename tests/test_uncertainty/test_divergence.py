import math

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmal.uncertainty import jensen_shannon, symmetric_divergence


def kl(p, q):
    return sum(a * math.log(a / b) for a, b in zip(p, q) if a > 0)


@settings(deadline=None, max_examples=80)
@given(st.integers(0, 2**32), st.integers(1, 5))
def test_both_equal_their_sums(seed, classes):
    rng = np.random.default_rng(seed)
    p, q = (rng.dirichlet(np.full(classes, .4)) for _ in range(2))
    middle = (p + q) / 2
    shannon = float(jensen_shannon(*map(torch.tensor, (p, q))))
    assert math.isclose(shannon, (kl(p, middle) + kl(q, middle)) / 2,
                        abs_tol=1e-9)
    assert 0 <= shannon <= math.log(2) + 1e-9
    divergence = float(symmetric_divergence(*map(torch.tensor, (p, q))))
    p, q = (np.maximum(x, 1e-6) for x in (p, q))
    assert math.isclose(divergence, (kl(p, q) + kl(q, p)) / 2, abs_tol=1e-9)
    assert 0 <= divergence < 13.9


def test_equal_and_certain_distributions():
    sure = torch.eye(3)
    for function in (jensen_shannon, symmetric_divergence):
        assert function(sure, sure).tolist() == [0, 0, 0]
        assert (function(sure, sure.roll(1, 0)) > .6).all()
        half = function(sure.half(), sure.roll(1, 0).half())
        assert half.dtype == torch.float32 and half.isfinite().all()
