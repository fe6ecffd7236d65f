"""Detections as rows of one width."""
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmal.selection import pack_detections, unpack_detections


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32), st.integers(1, 4), st.integers(0, 5),
       st.integers(1, 4), st.integers(1, 7))
def test_the_best_detections_come_back(seed, batch, found, width, number):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, (batch, found))
    scores = rng.uniform(.1, 1, (batch, found)).astype(np.float32)
    features = rng.normal(size=(batch, found, width)).astype(np.float32)
    keep = rng.uniform(size=(batch, found)) < .7
    rows = pack_detections(*map(
        torch.from_numpy, (labels, scores, features, keep)), number)
    assert rows.shape == (batch, 1 + number * (2 + width))
    read = unpack_detections('Test', rows.numpy())

    truth = []
    for image in range(batch):
        best = sorted(np.flatnonzero(keep[image]),
                      key=lambda n: -scores[image, n])[:number]
        truth += [(image, labels[image, n], scores[image, n],
                   features[image, n]) for n in best]
    assert len(read.images) == len(truth)
    for n, (image, label, score, feature) in enumerate(truth):
        assert (read.images[n], read.labels[n]) == (image, label)
        assert float(read.scores[n]) == pytest.approx(score)
        np.testing.assert_allclose(
            read.features[n].numpy(), feature / np.linalg.norm(feature),
            atol=1e-5)


def test_other_embeddings_are_refused():
    for rows in (np.ones((2, 3), np.float32), np.zeros((2, 8), np.float32),
                 np.full((2, 7), 4, np.float32), np.zeros((0, 4), np.float32),
                 np.array([[1, 0, .5, 1], [2, 0, .5, 1]], np.float32)):
        if len(rows) and rows.shape[1] == 3:
            rows = rows[:, :2]
        with pytest.raises(ValueError, match='Test needs the detections'):
            unpack_detections('Test', rows)


def test_an_overflow_is_named():
    rows = np.array([[1, 0, .5, 1], [1, 0, .5, np.inf]], np.float32)
    with pytest.raises(ValueError, match='feature in row 1'):
        unpack_detections('Test', rows)


def test_features_without_length_stay_zero():
    rows = np.array([[1, 2, .5, 0, 0]], np.float32)
    assert unpack_detections('Test', rows).features.tolist() == [[0, 0]]
