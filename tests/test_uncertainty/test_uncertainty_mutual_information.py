import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmal.uncertainty import (
    binary_entropy,
    categorical_entropy,
    mutual_information,
)


def by_hand(members):
    """MI of M distributions over C classes, as a divergence from the mean."""
    m = len(members)
    mean = [sum(p[c] for p in members) / m for c in range(len(members[0]))]
    total = 0.
    for p in members:
        for c, q in enumerate(mean):
            if p[c] > 0:
                total += p[c] * math.log(p[c] / q) / m
    return total


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 5), st.integers(1, 4), st.integers(0, 99),
       st.sampled_from([0.1, 1., 30., 1e4]))
def test_equals_the_mean_divergence_from_the_mean(members, classes, seed,
                                                  scale):
    generator = torch.Generator().manual_seed(seed)
    logits = scale * torch.randn(members, 3, classes, generator=generator)
    probs = logits.double().softmax(-1)
    got = mutual_information(probs, categorical_entropy)
    expected = [by_hand(probs[:, i].tolist()) for i in range(3)]
    torch.testing.assert_close(
        got, torch.tensor(expected, dtype=torch.double))
    assert (got >= 0).all()


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 5), st.integers(0, 99))
def test_binary_classes_are_distributions_over_two(members, seed):
    generator = torch.Generator().manual_seed(seed)
    probs = torch.rand(members, 2, 3, generator=generator).double()
    probs[:, 0, 0] = 0
    got = mutual_information(probs, binary_entropy)
    assert got.shape == (2, 3)
    pairs = torch.stack([probs, 1 - probs], dim=-1)
    for i in range(2):
        for c in range(3):
            expected = by_hand(pairs[:, i, c].tolist())
            assert float(got[i, c]) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize('entropy', [categorical_entropy, binary_entropy])
def test_agreeing_members_have_none_in_float32(entropy):
    probs = torch.rand(1, 50, 7).softmax(-1).expand(5, 50, 7)
    information = mutual_information(probs, entropy)
    assert (information >= 0).all() and (information < 1e-6).all()


def test_half_precision_is_raised_and_no_rows_are_fine():
    probs = torch.rand(3, 4, 5).softmax(-1)
    half = mutual_information(probs.half(), categorical_entropy)
    assert half.dtype == torch.float32
    torch.testing.assert_close(
        half, mutual_information(probs.half().float(), categorical_entropy))
    empty = mutual_information(torch.zeros(3, 0, 5), categorical_entropy)
    assert empty.shape == (0, )


def test_opinions_are_taken_one_at_a_time():
    probs = torch.rand(4, 6, 3).softmax(-1)
    torch.testing.assert_close(
        mutual_information((p for p in probs), categorical_entropy),
        mutual_information(probs, categorical_entropy))


def test_refuses_no_members():
    with pytest.raises(ValueError, match='mutual information of no opinion'):
        mutual_information(torch.zeros(0, 2), binary_entropy)
