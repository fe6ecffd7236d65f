import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmal.random_tensors import TensorStreams, _quantiles
from mmal.randomness import seeded_uniform


def by_hand(image, k, *key):
    """Word k of a stream, by Python's whole numbers."""
    def word(name):
        uniform = seeded_uniform([image], *key, name)[0]
        return int(uniform * 2**53) << 11

    def signed_shift(x):  # of 64 bits, filled with the sign
        return ((x - 2**64 if x >> 63 else x) >> 32) % 2**64

    start, gamma = word('start'), word('gamma')
    start ^= signed_shift(gamma)
    gamma = (gamma ^ signed_shift(start)) | 1
    z = (start + k * gamma) % 2**64
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
    z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
    z ^= z >> 31
    return [z >> 16 * part & 0xFFFF for part in range(4)]


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers() | st.text(max_size=3), min_size=1, max_size=3),
       st.integers(0, 9), st.lists(st.integers(0, 5), min_size=1, max_size=3))
def test_numbers_are_those_of_the_definition(ids, seed, sizes):
    streams = TensorStreams(ids, seed, 'x')
    assert len(streams) == len(ids)
    k = 0
    for size in sizes:
        got = streams.bits((size, 3))
        assert got.dtype == torch.int16 and got.shape == (len(ids), size, 3)
        words = -(-size * 3 // 4)
        for image, row in zip(ids, got):
            expected = sum((by_hand(image, n, seed, 'x')
                            for n in range(k, k + words)), [])[:size * 3]
            assert [x % 2**16 for x in row.flatten().tolist()] == expected
        k += words


def test_values_are_fixed_for_ever():
    """Committed numbers: a change would change every user's rounds."""
    assert TensorStreams([7, 'a'], 0).bits((2, )).tolist() == [
        [488, 319], [80, -1069]]


def test_all_values_come_equally_often_in_every_place():
    bits = TensorStreams(range(40), 0).bits((4 * 2**14, )).long() + 2**15
    for part in bits.view(40, -1, 4).unbind(-1):
        counts = torch.bincount(part.flatten() // 16, minlength=2**12)
        expected = part.numel() / 2**12
        chi2 = ((counts - expected)**2 / expected).sum().item()
        # 4095 degrees of freedom: standard deviation 90
        assert abs(chi2 - 4095) < 5 * 90.5


def test_streams_keys_and_neighbours_are_independent():
    def draw(*key):
        return TensorStreams(range(30), *key).normal((2**14, ))

    a, b = draw(0, 1), draw(0, 2)
    pairs = [(a, b), (a[1:], a[:-1])]
    pairs += [(a[:, lag:], a[:, :-lag]) for lag in (1, 2, 3, 4, 8)]
    for x, y in pairs:
        for f in (torch.clone, torch.abs, torch.sign):
            x1, y1 = f(x).double(), f(y).double()
            r = np.corrcoef(x1.flatten(), y1.flatten())[0, 1]
            assert abs(r) < 5 / x.numel()**0.5


def test_normal():
    x = TensorStreams(range(20), 3).normal((2**16, )).double()
    error = x.numel()**-0.5
    # moments 1 to 4 of a normal, and their standard errors
    for power, moment, spread in ((1, 0, 1), (2, 1, 2**0.5), (3, 0, 15**0.5),
                                  (4, 3, 96**0.5)):
        assert abs(x.pow(power).mean() - moment) < 5 * spread * error
    # Kolmogorov and Smirnov: 1.95 is passed once in a thousand
    cdf = torch.special.ndtr(x.flatten().sort()[0])
    ranks = (torch.arange(len(cdf)) + 0.5) / len(cdf)
    assert (cdf - ranks).abs().max() < 2.5 * error
    assert 4 < x.abs().max() < 4.4


def test_all_quantiles_have_the_moments_of_a_normal():
    table = _quantiles(torch.device('cpu')).double()
    assert table.sum().item() == 0
    assert table.square().mean().item() == pytest.approx(1, abs=1e-6)
    assert (table[1:] > table[:-1]).all()


def test_uniform():
    x = TensorStreams(range(7), 5).uniform((3, 5000))
    assert x.dtype == torch.float64 and x.shape == (7, 3, 5000)
    assert 0 < x.min() < 1e-4 and 1 - 1e-4 < x.max() < 1
    counts = torch.histc(x, 100, 0, 1)
    expected = x.numel() / 100
    chi2 = ((counts - expected)**2 / expected).sum().item()
    assert abs(chi2 - 99) < 5 * 14.1  # 99 degrees of freedom
    assert len(x.unique()) > x.numel() * 0.999  # more than 16 bits
    assert torch.equal(TensorStreams([3], 5).uniform((3, 5000))[0], x[3])


@pytest.mark.parametrize('p', [0., 2e-6, 1e-4, 0.3, 0.5, 0.9999, 1.])
def test_bernoulli(p):
    x = TensorStreams(range(10), 4).bernoulli(p, (50, 1000))
    assert x.dtype == torch.bool and x.shape == (10, 50, 1000)
    rounded = round(p * 2**16) / 2**16
    error = (rounded * (1 - rounded) / x.numel())**0.5
    assert abs(x.double().mean() - rounded) <= 5 * error


def test_what_an_image_gets_does_not_depend_on_the_others():
    both = TensorStreams(['a', 7], 0)
    alone = TensorStreams([7], 0)
    for shape in ((3, ), (2, 5), ()):
        assert torch.equal(both.normal(shape)[1:], alone.normal(shape))
    assert TensorStreams([], 0).bits((2, 3)).shape == (0, 2, 3)
