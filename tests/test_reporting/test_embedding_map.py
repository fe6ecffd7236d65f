import numpy as np
import pytest

from mmal.reporting import embedding_map
from mmal.reporting.embedding_map import map_embeddings


def test_principal_components_by_the_covariance():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(300, 6)) * [5, 3, 1, 1, .5, .1] + 7
    found = map_embeddings(rows.astype(np.float32), np.zeros(300, bool))
    values, vectors = np.linalg.eigh(np.cov(rows.T))
    expected = (rows - rows.mean(0)) @ vectors[:, [-1, -2]]
    np.testing.assert_array_equal(found.rows, np.arange(300))
    for axis in (0, 1):
        same = np.corrcoef(found.points[:, axis], expected[:, axis])[0, 1]
        assert abs(same) > 0.9999
        assert found.points[:, axis].std() == pytest.approx(
            expected[:, axis].std(), rel=1e-4)
        assert found.explained[axis] == pytest.approx(
            values[-1 - axis] / values.sum(), rel=1e-4)


def test_what_is_to_be_kept_is_shown_however_many(monkeypatch):
    monkeypatch.setattr(embedding_map, 'FITTED', 20)
    monkeypatch.setattr(embedding_map, 'SHOWN', 30)
    rows = np.random.default_rng(0).normal(size=(200, 4))
    keep = np.zeros(200, bool)
    keep[50:60] = True
    found = map_embeddings(rows, keep)
    assert len(found.rows) == 30 and set(range(50, 60)) <= set(
        found.rows.tolist())
    assert (np.diff(found.rows) > 0).all()
    assert len(map_embeddings(rows, np.ones(200, bool)).rows) == 200


@pytest.mark.parametrize('rows', [
    np.ones((1, 3)), np.ones((4, 1)), np.ones((5, 3)), np.arange(4.)[:, None]])
def test_few_or_equal_embeddings(rows):
    found = map_embeddings(rows, np.zeros(len(rows), bool))
    assert found.points.shape == (len(rows), 2)
    assert np.isfinite(found.points).all()
