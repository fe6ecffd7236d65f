import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmal.uncertainty import image_moments, pooled_moments


def stacked(images):
    rows = [
        image_moments(
            torch.from_numpy(image.T)[None],
            torch.ones(1, len(image), dtype=torch.bool)) for image in images
    ]
    return (np.array([len(image) for image in images]),
            torch.cat([r['mean'] for r in rows]),
            torch.cat([r['m2'] for r in rows]))


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(0, 6), min_size=1, max_size=8), st.integers(0, 99),
    st.sampled_from([0., 1., 1e3]), st.sampled_from([1e-6, 1., 1e4]))
def test_equals_numpy_over_all_rows(counts, seed, centre, scale):
    rng = np.random.default_rng(seed)
    images = [centre + scale * rng.random((n, 4)) for n in counts]
    mean, std = pooled_moments(*stacked(images))
    assert mean.dtype == std.dtype == torch.float64
    everything = np.concatenate(images)
    if len(everything) == 0:
        assert not mean.any() and not std.any()
        return
    np.testing.assert_allclose(mean, everything.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(
        std, everything.std(axis=0), rtol=1e-9, atol=1e-12 * centre)


def test_tiny_values_on_a_large_mean_keep_their_digits():
    rng = np.random.default_rng(0)
    offsets = rng.integers(-8, 8, (40, 1)).astype(float)
    images = list((1e6 + offsets * 2.**-20).reshape(10, 4, 1))
    _, std = pooled_moments(*stacked(images))
    assert float(std) == pytest.approx(offsets.std() * 2.**-20, rel=1e-6)


def test_equal_values_have_deviation_exactly_zero():
    values = np.random.default_rng(0).random(30) * 1e-6
    images = [np.tile(values, (n, 1)) for n in (3, 0, 7, 1, 6)]
    mean, std = pooled_moments(*stacked(images))
    assert mean.tolist() == values.tolist() and not std.any()


def test_moments_of_images_without_rows_do_not_matter():
    count = torch.tensor([2, 0])
    nan = float('nan')
    mean, std = pooled_moments(count, torch.tensor([[3.], [nan]]),
                               torch.tensor([[8.], [nan]]))
    assert mean.tolist() == [3] and std.tolist() == [2]


def test_no_images_give_zeros():
    empty = np.zeros((0, 4))
    mean, std = pooled_moments(np.zeros(0), empty, empty)
    assert mean.tolist() == std.tolist() == [0] * 4


def test_moments_of_an_image_equal_numpy_over_what_counts():
    rng = np.random.default_rng(0)
    values, keep = rng.normal(5, 1e-6, (3, 2, 9)), rng.random((3, 9)) < 0.6
    keep[2] = False
    found = image_moments(torch.from_numpy(values), torch.from_numpy(keep))
    for i, u in np.ndindex(2, 2):
        own = values[i, u, keep[i]]
        assert float(found['max'][i, u]) == own.max()
        np.testing.assert_allclose(found['mean'][i, u], own.mean(), rtol=1e-14)
        np.testing.assert_allclose(
            found['m2'][i, u], own.var() * len(own), rtol=1e-6)
    nothing = [found[k][2, 0].item() for k in ('max', 'mean', 'm2')]
    assert nothing == [-np.inf, 0, 0]


def test_refuses_shapes_that_do_not_fit():
    with pytest.raises(ValueError, match=r'\(3,\) counts'):
        pooled_moments(np.ones(3), np.ones((2, 4)), np.ones((2, 4)))
