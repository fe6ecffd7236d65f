import numpy as np
import pytest

from mmal.reporting import embedding_map
from mmal.reporting.embedding_map import MAPS, principal_components


def test_principal_components_by_the_covariance():
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(300, 6)) * [5, 3, 1, 1, .5, .1] + 7
    found = principal_components(rows.astype(np.float32), np.zeros(300, bool))
    values, vectors = np.linalg.eigh(np.cov(rows.T))
    expected = (rows - rows.mean(0)) @ vectors[:, [-1, -2]]
    np.testing.assert_array_equal(found.rows, np.arange(300))
    for axis in (0, 1):
        same = np.corrcoef(found.points[:, axis], expected[:, axis])[0, 1]
        assert abs(same) > 0.9999
        assert found.points[:, axis].std() == pytest.approx(
            expected[:, axis].std(), rel=1e-4)
        share = values[-1 - axis] / values.sum()
        assert found.axes[axis] == (
            f'component {axis + 1} ({share:.0%} of the variance)')


def test_what_is_to_be_kept_is_shown_however_many(monkeypatch):
    monkeypatch.setattr(embedding_map, 'FITTED', 20)
    monkeypatch.setattr(embedding_map, 'SHOWN', 30)
    rows = np.random.default_rng(0).normal(size=(200, 4))
    keep = np.zeros(200, bool)
    keep[50:60] = True
    found = principal_components(rows, keep)
    assert len(found.rows) == 30 and set(range(50, 60)) <= set(
        found.rows.tolist())
    assert (np.diff(found.rows) > 0).all()
    assert len(principal_components(rows, np.ones(200, bool)).rows) == 200


@pytest.mark.parametrize('rows', [
    np.ones((1, 3)), np.ones((4, 1)), np.ones((5, 3)), np.arange(4.)[:, None]])
def test_few_or_equal_embeddings(rows):
    found = principal_components(rows, np.zeros(len(rows), bool))
    assert found.points.shape == (len(rows), 2)
    assert np.isfinite(found.points).all()


@pytest.mark.parametrize('kind, module', [('umap', 'umap'),
                                          ('tsne', 'sklearn')])
def test_neighbours_stay_together_and_the_map_is_repeatable(
        monkeypatch, kind, module):
    """Three groups in ten dimensions; which rows are shown is as ever."""
    pytest.importorskip(module)
    monkeypatch.setattr(embedding_map, 'SHOWN', 60)
    rng = np.random.default_rng(0)
    group = np.arange(90) % 3
    rows = (rng.normal(size=(90, 10)) + 20 * np.eye(10)[group]).astype('f4')
    before = rows.copy()
    keep = group == 2
    found = MAPS[kind](rows, keep)
    np.testing.assert_array_equal(rows, before)
    np.testing.assert_array_equal(
        found.rows, principal_components(rows, keep).rows)
    assert found.points.shape == (60, 2) and found.points.dtype == np.float64
    near = np.linalg.norm(
        found.points[:, None] - found.points[None], axis=-1)
    np.fill_diagonal(near, np.inf)
    shown = group[found.rows]
    assert (shown[near.argmin(1)] == shown).all()
    again = MAPS[kind](rows, keep)
    np.testing.assert_array_equal(again.points, found.points)
    assert not again.note and kind in again.text.lower().replace('-', '')


@pytest.mark.parametrize('kind, module', [('umap', 'umap'),
                                          ('tsne', 'sklearn')])
@pytest.mark.parametrize('number', [1, 3, 15])
def test_few_images_have_principal_components(number, kind, module):
    pytest.importorskip(module)
    rows = np.random.default_rng(0).normal(size=(number, 4))
    found = MAPS[kind](rows, np.zeros(number, bool))
    expected = principal_components(rows, np.zeros(number, bool))
    np.testing.assert_array_equal(found.points, expected.points)
    assert found.text == expected.text
    assert found.note == 'UMAP and t-SNE need more than 15 images.'


def test_equal_embeddings_have_a_map_by_tsne():
    pytest.importorskip('sklearn')
    found = MAPS['tsne'](np.ones((20, 3), np.float32), np.zeros(20, bool))
    assert found.points.shape == (20, 2) and np.isfinite(found.points).all()
