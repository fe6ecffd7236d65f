"""Scores of forward passes in bfloat16, and what stays in float32 all the
same."""
import numpy as np
import pytest
import torch
from helpers.influence_by_hand import by_hand, params_of, scoring_data
from helpers.pools import pool
from helpers.tiny import tiny_fcos
from helpers.tiny_faster_rcnn import tiny_faster_rcnn

from mmal.influence.vectors import dot
from mmal.models.committees import EnsembleCommittee
from mmal.models.utils.evaluation_mode import forward_precision
from mmal.recorder import Recorder
from mmal.scoring import (
    DetectionEntropyScorer,
    EmbeddingModel,
    EntropyScorer,
    GradScorer,
    InfluenceScorer,
    LocalizationStabilityScorer,
    score_pool,
)
from mmal.scoring.embeddings import EmbeddingFile
from mmal.scoring.embeddings.embed import embed_split

LAYERS = ('bbox_head.conv_cls', 'bbox_head.conv_reg',
          'bbox_head.conv_centerness')
CG = dict(type='mmal.ConjugateGradient', max_iters=400, tol=1e-6)


@pytest.mark.parametrize('build, scorer', [
    (tiny_fcos, EntropyScorer), (tiny_fcos, GradScorer),
    (tiny_fcos, DetectionEntropyScorer), (tiny_faster_rcnn, EntropyScorer),
    (tiny_faster_rcnn, DetectionEntropyScorer)])
def test_scores_are_nearly_the_same(tmp_path, mmdet_scope, build, scorer):
    model, scorer = build(), scorer()
    exact, near = (
        score_pool(model, scorer, pool(tmp_path, precision=precision)).values
        for precision in ('fp32', 'bf16'))
    assert (near != exact).any()
    # Where a detection is kept or not, it counts or does not.
    rtol = 0.3 if isinstance(scorer, DetectionEntropyScorer) else 0.05
    np.testing.assert_allclose(near, exact, rtol=rtol)


def test_localization_stability_runs(tmp_path, mmdet_scope):
    scores = score_pool(
        tiny_fcos(), LocalizationStabilityScorer(levels=(8, )),
        pool(tmp_path, precision='bf16'))
    assert np.isfinite(scores.values).any()


def test_influences_are_products_of_float32(tmp_path, mmdet_scope):
    model = tiny_fcos()
    # One image at a time: rounding depends on the others of a batch.
    data = scoring_data(tmp_path, batch_size=1, precision='bf16')
    scorer = InfluenceScorer(solver=CG, empty='background',
                             normalizer='image')
    scores = score_pool(model, scorer, data)
    assert {x.dtype for x in scorer.s_test} == {torch.float32}
    assert [la.name for la in scorer.recorder.layers] == list(LAYERS)
    params, truth = params_of(model, LAYERS), {}
    with forward_precision([model], 'bf16'):
        for batch in data.batches('unlabelled', model):
            grads = by_hand(model, batch.samples[0], batch.inputs, None,
                            params)
            assert {g.dtype for g in grads} == {torch.float32}
            truth[batch.ids[0]] = float(dot(
                [g.double() for g in grads],
                [x.double() for x in scorer.s_test]))
    truth = np.array([truth[i] for i in scores.ids])
    assert np.abs(scores.values - truth).max() < 1e-5 * np.abs(truth).max()
    exact = score_pool(model, scorer, scoring_data(tmp_path, 1)).values
    assert (scores.values != exact).all()
    assert np.corrcoef(scores.values, exact)[0, 1] > 0.99


def test_models_of_a_committee_score_alike(tmp_path, mmdet_scope):
    path = str(tmp_path / 'other.pth')
    torch.save(tiny_fcos(seed=1).state_dict(), path)
    dtypes = {}
    for precision in ('fp32', 'bf16'):
        model, data = tiny_fcos(), pool(tmp_path, precision=precision)
        data.committee = EnsembleCommittee(checkpoints=[path])
        data.committee.prepare(model)
        other, = data.committee.models()
        with Recorder(dict(own=model.backbone.conv1,
                           other=other.backbone.conv1)) as recorder:
            score_pool(model, EntropyScorer(), data)
        # apart from the blank image that shows which layers give outputs
        dtypes[precision] = {(c.name, c.output.dtype) for c in recorder.calls
                             if c.args[0].std() > 0}
        data.committee.release()
        assert data.committee.models() == []
    assert dtypes == {
        precision: {(name, dtype) for name in ('own', 'other')}
        for precision, dtype in (('fp32', torch.float32),
                                 ('bf16', torch.bfloat16))}


def test_embeddings_of_the_detector_alone_are_rounded(tmp_path, mmdet_scope):
    network = EmbeddingModel(dict(
        type='mmdet.ResNet', depth=18, num_stages=1, base_channels=8,
        stem_channels=8, strides=(1, ), dilations=(1, ), out_indices=(0, )))
    for embedder, equal in ((None, False), (network, True)):
        rows = []
        for precision in ('fp32', 'bf16'):
            data = pool(tmp_path, embedder=embedder, precision=precision)
            file = EmbeddingFile(str(tmp_path / f'{precision}.npy'))
            rows.append(np.array(
                embed_split(tiny_fcos(), data, 'unlabelled', file)[1]))
        assert rows[0].dtype == rows[1].dtype == np.float32
        assert np.array_equal(*rows) == equal
        np.testing.assert_allclose(*rows, rtol=0.05, atol=0.05)
