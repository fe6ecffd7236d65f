"""Embeddings of layers against those layers run by hand, image by image."""
import numpy as np
import pytest
import torch
from helpers.pools import pool
from helpers.tiny import tiny_config, tiny_fcos
from helpers.tiny_faster_rcnn import tiny_faster_rcnn
from torch import nn

from mmal.models.committees import DropoutCommittee
from mmal.registry import TASK_UTILS
from mmal.scoring import (
    DetectionEntropyScorer,
    EntropyScorer,
    InfluenceScorer,
    LayerEmbedder,
    LocalizationStabilityScorer,
    RandomScorer,
    ScoringData,
    Split,
    score_pool,
)
from mmal.scoring.embeddings.embed import embed_split
from mmal.scoring.embeddings.store import EmbeddingFile

TOWERS = ('bbox_head.cls_convs.1', 'bbox_head.reg_convs.1')


def two_towers():
    return tiny_fcos(towers=2)


def by_hand(model, data):
    """The ends of both towers, one image and one level at a time."""
    rows, head = {}, model.bbox_head
    for batch in data.batches('unlabelled', model):
        for i, image in enumerate(batch.ids):
            with torch.no_grad():
                levels = model.extract_feat(batch.inputs[i:i + 1])
                row = []
                for tower in head.cls_convs, head.reg_convs:
                    means = []
                    for x in levels:
                        for conv in tower:
                            x = conv(x)
                        means.append(x.double().mean((2, 3)))
                    row.append(sum(means) / len(means))
            rows[image] = torch.cat(row, 1)
    return torch.cat([rows[i] for i in data.ids('unlabelled')]).numpy()


def count_passes(model):
    """A list that grows with every pass of the backbone, without a hook."""
    passes, forward = [], model.backbone.forward

    def counted(x):
        passes.append(len(x))
        return forward(x)

    model.backbone.forward = counted
    return passes


@pytest.fixture
def file(tmp_path):
    return EmbeddingFile(str(tmp_path / 'embeddings.npy'))


@pytest.mark.parametrize('scorer, passes', [
    (EntropyScorer(), 1), (DetectionEntropyScorer(), 1), (RandomScorer(), 1),
    (LocalizationStabilityScorer((8, 16)), 3)])
@pytest.mark.parametrize('batch_size', [1, 4])
def test_ends_of_the_towers_in_the_pass_that_scores(
        tmp_path, file, mmdet_scope, scorer, passes, batch_size):
    model = two_towers()
    expected = by_hand(model, pool(tmp_path))
    plain = score_pool(model, scorer, pool(tmp_path, batch_size))
    seen = count_passes(model)
    scores = score_pool(
        model, scorer,
        pool(tmp_path, batch_size, embedder=LayerEmbedder(TOWERS)),
        embeddings=file)
    assert scores.embeddings.shape == (12, 32)
    np.testing.assert_allclose(
        scores.embeddings, expected, rtol=1e-4, atol=1e-5)
    assert np.ptp(expected, 0).max() > 1e-2
    assert sum(seen) == 12 * passes + 1  # and the blank image
    np.testing.assert_array_equal(scores.values, plain.values)
    assert not any(m._forward_hooks or m._forward_pre_hooks
                   for m in model.modules())


def test_labelled_images_are_embedded_alike(tmp_path, file, mmdet_scope):
    model = two_towers()
    data = pool(tmp_path, embedder=LayerEmbedder(TOWERS))
    ids, rows = embed_split(model, data, 'unlabelled', file)
    assert ids == data.ids('unlabelled')
    np.testing.assert_allclose(
        rows, by_hand(model, pool(tmp_path)), rtol=1e-4, atol=1e-5)


def test_all_levels_of_the_neck(tmp_path, file, mmdet_scope):
    model = two_towers()
    data = pool(tmp_path, 1, embedder=LayerEmbedder('neck'))
    scores = score_pool(model, EntropyScorer(), data, embeddings=file)
    for batch in data.batches('unlabelled', model):
        with torch.no_grad():
            levels = model.extract_feat(batch.inputs)
        expected = sum(x.mean((2, 3)) for x in levels) / len(levels)
        np.testing.assert_allclose(
            scores.embeddings[scores.ids.index(batch.ids[0])], expected[0],
            rtol=1e-4, atol=1e-5)


def test_dropout_of_a_committee_is_not_seen(tmp_path, file, mmdet_scope):
    model = two_towers()
    model.neck.fpn_convs[0].add_module('dropout', nn.Dropout(0.9))
    committee = DropoutCommittee(passes=2)
    committee.prepare(model)
    data = pool(tmp_path, committee=committee, embedder=LayerEmbedder(TOWERS))
    scores = score_pool(model, EntropyScorer(), data, embeddings=file)
    np.testing.assert_allclose(
        scores.embeddings, by_hand(model, pool(tmp_path)), rtol=1e-4,
        atol=1e-5)


def test_beside_a_scorer_that_records_layers(tmp_path, file, mmdet_scope):
    """It runs the head under hooks and with gradients."""
    config = tiny_config(str(tmp_path))
    dataset = dict(
        config.train_dataloader.dataset,
        pipeline=config.test_dataloader.dataset.pipeline)
    data = ScoringData(
        dict(unlabelled=Split(dataset, labels=False),
             labelled=Split(dataset, labels=True)),
        num_workers=0, progress=False, embedder=LayerEmbedder(TOWERS))
    model = two_towers()
    scorer = InfluenceScorer(
        reference='labelled', solver=dict(type='mmal.Identity'))
    scores = score_pool(model, scorer, data, embeddings=file)
    np.testing.assert_allclose(
        scores.embeddings, by_hand(model, pool(tmp_path)), rtol=1e-4,
        atol=1e-5)


def test_two_stage_detectors(tmp_path, file, mmdet_scope):
    model = tiny_faster_rcnn()
    embedder = TASK_UTILS.build(
        dict(type='mmal.LayerEmbedder', layers='rpn_head.rpn_conv'))
    embedder.check(model)
    data = pool(tmp_path, embedder=embedder)
    scores = score_pool(model, DetectionEntropyScorer(), data,
                        embeddings=file)
    for batch in data.batches('unlabelled', model):
        with torch.no_grad():
            levels = [model.rpn_head.rpn_conv(x)
                      for x in model.extract_feat(batch.inputs)]
        expected = sum(x.mean((2, 3)) for x in levels) / len(levels)
        rows = [scores.ids.index(i) for i in batch.ids]
        np.testing.assert_allclose(
            scores.embeddings[rows], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('layers, message', [
    (('bbox_head.cls_convs.7', ), "'bbox_head.cls_convs.7', which FCOS does "
     "not have: did you mean 'bbox_head.cls_convs"),
    ('xyz', "'xyz', which FCOS does not have: see model.named_modules"),
    ('bbox_head.loss_cls', 'does nothing when FCOS detects'),
])
def test_mistakes_are_named(mmdet_scope, layers, message):
    model = tiny_fcos()
    with pytest.raises(ValueError, match=message):
        LayerEmbedder(layers).check(model)
    assert not any(m._forward_hooks or m._forward_pre_hooks
                   for m in model.modules())


def test_layers_without_maps(mmdet_scope):
    with pytest.raises(ValueError, match=r"shared_fcs.0' gives \[\d+, \d+\]"):
        LayerEmbedder('roi_head.bbox_head.shared_fcs.0').check(
            tiny_faster_rcnn())
    with pytest.raises(ValueError, match='embedder.layers is empty'):
        LayerEmbedder(())
    with pytest.raises(ValueError, match='Identity has no backbone'):
        LayerEmbedder('neck').check(nn.Identity())
