"""Class distributions of images, detection by detection."""
import math

import numpy as np
import pytest
from helpers.detectors import DETECTORS
from helpers.pools import pool

from mmal.registry import TASK_UTILS
from mmal.scoring import (
    ClassDistributionEmbedder,
    RandomScorer,
    score_pool,
)
from mmal.scoring.detections.describe import describe
from mmal.scoring.embeddings.embed import embed_split
from mmal.scoring.embeddings.store import EmbeddingFile
from mmal.selection import ContextualDiversity


def embed(model, root, folder, **kwargs):
    data = pool(root, embedder=ClassDistributionEmbedder(**kwargs))
    scores = score_pool(model, RandomScorer(), data, embeddings=EmbeddingFile(
        str(folder / 'rows.npy')))
    return scores, np.array(scores.embeddings)


def by_hand(found, score_thr, classes=3):
    rows = []
    for c in range(classes):
        mean, weights = 0.0, 0.0
        for p, score, label in zip(found.class_probs.tolist(),
                                   found.scores.tolist(),
                                   found.labels.tolist()):
            if label != c or score < score_thr:
                continue
            p = [x / sum(p) for x in p]
            weight = -sum(x * math.log(x) for x in p if x > 0)
            mean, weights = mean + weight * np.array(p), weights + weight
        rows.append(mean / weights if weights else
                    np.zeros(found.class_probs.shape[1]))
    return np.concatenate(rows)


@pytest.mark.parametrize('name', ['fcos', 'retina_softmax', 'faster_rcnn'])
def test_equals_detections_one_by_one(tmp_path, mmdet_scope, name):
    model, score_thr = DETECTORS[name](), .35
    scores, rows = embed(model, tmp_path, tmp_path, score_thr=score_thr)
    truth, data = {}, pool(tmp_path, 1)
    for batch in data.batches('unlabelled', model):
        truth[batch.ids[0]] = by_hand(describe(model, batch)[0], score_thr)
    np.testing.assert_allclose(
        rows, [truth[i] for i in scores.ids], rtol=2e-3, atol=1e-4)
    assert (rows.sum(1) > .5).any() and rows.std() > 0


def test_it_is_the_only_forward_pass(tmp_path, mmdet_scope):
    model, passes = DETECTORS['fcos'](), []
    model.backbone.register_forward_hook(lambda *args: passes.append(1))
    data = pool(tmp_path, 1, embedder=ClassDistributionEmbedder())
    score_pool(model, RandomScorer(), data, embeddings=EmbeddingFile(
        str(tmp_path / 'rows.npy')))
    assert len(passes) == 12


def test_labelled_images_are_embedded_alike(tmp_path, mmdet_scope):
    model = DETECTORS['fcos']()
    scores, rows = embed(model, tmp_path, tmp_path)
    data = pool(tmp_path, embedder=ClassDistributionEmbedder())
    _, labelled = embed_split(model, data, 'unlabelled', EmbeddingFile(
        str(tmp_path / 'others.npy')))
    np.testing.assert_array_equal(rows, labelled)
    # what lies at 0 from a labelled image comes after all that does not
    order = ContextualDiversity().select(scores, 12, rows, labelled[:6])
    assert set(order[-6:]) >= set(scores.ids[:6]) - {
        i for i, row in zip(scores.ids, rows) if not row.any()}


def test_a_config_builds_it():
    embedder = TASK_UTILS.build(dict(type='mmal.ClassDistributionEmbedder'))
    assert embedder.score_thr == .05
    with pytest.raises(ValueError, match='score_thr is 3'):
        ClassDistributionEmbedder(score_thr=3)


def test_heads_it_cannot_read_are_refused(mmdet_scope):
    ClassDistributionEmbedder().check(DETECTORS['atss']())
    named = r'active_learning\.embedder reads .* another embedder\.'
    for name in ('yolox', 'yolov3', 'detr'):
        with pytest.raises(ValueError, match=named) as e:
            ClassDistributionEmbedder().check(DETECTORS[name]())
        assert 'scorer' not in str(e.value)
