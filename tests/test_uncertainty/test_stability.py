"""Overlaps against IoU counted in pixels."""
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mmal.uncertainty import best_overlap

CORNERS = st.integers(0, 12)


def boxes(least=0):
    return hnp.arrays(
        np.int64, st.tuples(st.integers(least, 4), st.just(4)),
        elements=CORNERS)


def mask(box):
    """The pixels of a box; none if its corners are the wrong way round."""
    canvas = np.zeros((12, 12), bool)
    x1, y1, x2, y2 = box
    canvas[y1:y2, x1:x2] = True
    return canvas


def iou(a, b):
    union = (mask(a) | mask(b)).sum()
    return (mask(a) & mask(b)).sum() / union if union else 0.0


@settings(deadline=None, max_examples=200)
@given(boxes(), boxes(),
       st.sampled_from([torch.float16, torch.float32, torch.float64]))
def test_equals_counting_pixels(ours, others, dtype):
    found = best_overlap(torch.tensor(ours).to(dtype).reshape(-1, 4),
                         torch.tensor(others).to(dtype).reshape(-1, 4))
    truth = [max((iou(a, b) for b in others), default=0.0) for a in ours]
    assert found.shape == (len(ours), )
    np.testing.assert_allclose(found.numpy(), truth, rtol=1e-6)


def test_images_of_a_batch_do_not_mix():
    box = torch.tensor([[1., 1., 5., 5.]])
    there, away = box, box + 20
    found = best_overlap(torch.stack([box, box]), torch.stack([there, away]))
    assert found.tolist() == [[1.0], [0.0]]


@pytest.mark.parametrize('dtype', [torch.float16, torch.float32])
def test_large_boxes_in_half_precision(dtype):
    """Their areas are beyond float16."""
    box = torch.tensor([[0, 0, 2000, 1000], [0, 0, 1000, 1000]], dtype=dtype)
    assert best_overlap(box, box[1:]).tolist() == [0.5, 1.0]
