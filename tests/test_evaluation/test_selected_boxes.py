"""Sizes and overlaps of boxes, against loops over pairs."""
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmal.evaluation import SelectedBoxes, largest_overlaps, shared_percent

SIDES = st.integers(0, 12)
BOXES = st.lists(st.tuples(SIDES, SIDES, SIDES, SIDES, st.integers(0, 3)),
                 max_size=12)


def iou(a, b):
    inner = 1
    for axis in 0, 1:
        inner *= max(0, min(a[axis] + a[axis + 2], b[axis] + b[axis + 2]) -
                     max(a[axis], b[axis]))
    union = a[2] * a[3] + b[2] * b[3] - inner
    return inner / union if union else 0


@settings(max_examples=100, deadline=None)
@given(BOXES)
def test_overlaps_are_those_of_all_pairs_of_an_image(rows):
    boxes = np.array([r[:4] for r in rows], float).reshape(-1, 4)
    images = np.array([r[4] for r in rows], int)
    truth = [max([iou(a, b) for j, b in enumerate(boxes)
                  if j != i and images[j] == images[i]], default=0)
             for i, a in enumerate(boxes)]
    assert largest_overlaps(boxes, images) == pytest.approx(truth)


def test_sizes_are_cocos_and_shares_those_of_the_own_image():
    sides = [(31, 33), (32, 32), (95, 97), (96, 96), (400, 300)]
    boxes = [(5, 5, *side) for side in sides]
    found = SelectedBoxes.of(boxes, [0, 0, 1, 2, 2],
                             [(100, 50), (200, 100), (400, 300), (10, 10)])
    assert found.size_shares.tolist() == [1 / 5, 2 / 5, 2 / 5]
    assert found.shares == pytest.approx(
        [31 * 33 / 5000, 1024 / 5000, 95 * 97 / 20_000, 96**2 / 120_000, 1])
    assert found.per_image == 5 / 4  # an image without boxes counts


def test_images_without_boxes_and_no_images():
    empty = SelectedBoxes.of([], [], [(10, 10)])
    assert empty.per_image == 0 and np.isnan(empty.size_shares).all()
    assert np.isnan(SelectedBoxes.of([], [], []).per_image)


def test_the_smaller_selection_can_be_shared_as_a_whole():
    assert shared_percent([1, 2], [2, 1, 3, 4]) == 100
    assert shared_percent({'a', 'b', 'c'}, ['c', 'd']) == 50
    with pytest.raises(ValueError, match='empty selection'):
        shared_percent([], [1])
