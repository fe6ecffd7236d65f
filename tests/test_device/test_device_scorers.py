"""Every scorer and committee, and embeddings: scores, order and memory."""
import gc
import os.path as osp
import time

import numpy as np
import pytest
import torch
from helpers.tiny_classifier import tiny_classification, tiny_classifier

from mmal import scoring
from mmal.models.committees import DropoutCommittee, EnsembleCommittee
from mmal.models.utils.evaluation_mode import evaluation_mode
from mmal.scoring import (
    BaseScorer,
    EntropyScorer,
    InfluenceScorer,
    LayerEmbedder,
    RandomScorer,
    ScoringData,
    Split,
    score_pool,
)
from mmal.scoring.embeddings.store import EmbeddingFile

pytestmark = pytest.mark.cuda

# scorer -> detectors that it is tried on
SCORERS = dict(
    BALDScorer=('bayes_fcos', 'bayes_yolov3', 'bayes_retina'),
    CalibratedInfluenceScorer=('fcos', 'faster_rcnn'),
    ClassBalanceScorer=('fcos', 'faster_rcnn'),
    CombinedScorer=('fcos', 'faster_rcnn'),
    ConsistencyScorer=('fcos', 'faster_rcnn'),
    DetectionEntropyScorer=('fcos', 'faster_rcnn', 'detr'),
    DifficultyCalibratedScorer=('fcos', 'retina'),
    EntropyNMSScorer=('fcos', 'faster_rcnn'),
    EntropyScorer=('fcos', 'ssd', 'yolov3', 'faster_rcnn'),
    FlipInconsistencyScorer=('fcos', 'retina_softmax'),
    GradientEmbeddingScorer=('fcos', 'faster_rcnn', 'detr'),
    GradScorer=('fcos', 'retina_softmax', 'ssd', 'yolox'),
    HierarchicalUncertaintyScorer=('evidential_retina', ),
    InfluenceScorer=('fcos', 'ssd', 'faster_rcnn', 'detr', 'dino'),
    LearningLossScorer=('learning_loss_fcos', ),
    LeastConfidenceScorer=('retina', 'mdn_fcos'),
    LocalizationStabilityScorer=('fcos', 'faster_rcnn'),
    LogisticUncertaintyScorer=('fcos', 'faster_rcnn'),
    MarginScorer=('ssd', 'atss'),
    MixtureUncertaintyScorer=('mdn_ssd', 'mdn_fcos', 'mdn_retina', 'mdn_atss',
                              'mdn_rtmdet'),
    MutualInformationScorer=('dropout_ssd', 'dropout_fcos'),
    OracleInfluenceScorer=('fcos', ),
    PerCostScorer=('fcos', 'faster_rcnn'),
    RandomScorer=('fcos', ))
INFLUENCE = dict(
    empty='background',
    solver=dict(type='mmal.ConjugateGradient', max_iters=3, tol=0.))
OPTIONS = dict(
    CalibratedInfluenceScorer=dict(INFLUENCE, min_images=2),
    CombinedScorer=dict(rule='sum', scorers=dict(
        entropy=dict(type='mmal.EntropyScorer'),
        detections=dict(type='mmal.DetectionEntropyScorer'))),
    ConsistencyScorer=dict(augmentations=['flip', 'cutout', 'rotate', 'noise',
                                          'downsize']),
    DifficultyCalibratedScorer=dict(max_detections=5),
    GradientEmbeddingScorer=dict(empty='background', reference='val',
                                 inputs=8, outputs=2),
    InfluenceScorer=INFLUENCE,
    LocalizationStabilityScorer=dict(levels=[8, 16]),
    # so that some of what an untrained detector finds is right
    LogisticUncertaintyScorer=dict(iou_thr=.1, min_detections=2),
    OracleInfluenceScorer=INFLUENCE,
    PerCostScorer=dict(scorer=dict(type='mmal.DetectionEntropyScorer')))


def test_every_scorer_is_here():
    public = (getattr(scoring, name) for name in scoring.__all__)
    assert {s.__name__ for s in public if isinstance(s, type)
            and issubclass(s, BaseScorer)} - {'BaseScorer'} == set(SCORERS)


def compare(close, gpu, cpu):
    """Scores of both; the pool is labelled in the same order too."""
    assert gpu.ids == cpu.ids
    close(gpu.values, cpu.values, rtol=1e-3)
    close(gpu.columns, cpu.columns, rtol=1e-3)
    finite = cpu.values[np.isfinite(cpu.values)]
    assert finite.std() > 0
    if np.diff(np.sort(finite)).min() > 1e-2 * np.ptp(finite):
        assert np.argsort(gpu.values).tolist() == \
            np.argsort(cpu.values).tolist()


def memory_after(times, scorer, model, batch):
    """The least of some readings: autograd's thread may let go a bit later."""
    for _ in range(times):
        scorer.process(model, batch)
    readings = []
    for _ in range(5):
        gc.collect()
        time.sleep(.02)
        readings.append(torch.cuda.memory_allocated())
    return min(readings)


@pytest.mark.parametrize('name, model_name', [
    (name, model) for name, models in SCORERS.items() for model in models])
def test_scores(device, detector, data, close, name, model_name):
    kind, options = getattr(scoring, name), OPTIONS.get(name, {})
    results = []
    for where in ('cpu', device):
        model, images = detector(model_name, where), data(labelled=3)
        if name == 'OracleInfluenceScorer':
            pool = images.splits['unlabelled'].dataset
            options = dict(options, ann_file=osp.join(
                pool['data_root'], pool['ann_file']))
        scorer = kind(**options)
        if scorer.needs_committee:
            images.committee = DropoutCommittee(passes=3)
            images.committee.prepare(model)
        scorer.check(model, images)
        results.append(score_pool(model, scorer, images))
    compare(close, *results[::-1])
    if scorer.needs_images:
        batch = max(images.batches('unlabelled', model), key=len)
        with evaluation_mode(model):
            early = memory_after(2, scorer, model, batch)
            assert memory_after(18, scorer, model, batch) <= early


@pytest.mark.parametrize('stream', [False, True])
def test_ensemble(device, detector, data, close, tmp_path, stream):
    other = detector('ssd')
    for p in other.bbox_head.parameters():
        p.data.mul_(.8)
    path = str(tmp_path / 'other.pth')
    # as training on a GPU leaves it
    torch.save(dict(state_dict=other.to(device).state_dict(), meta={}), path)
    results = []
    for where in (device, 'cpu'):
        model, images = detector('ssd', where), data()
        images.committee = EnsembleCommittee(size=2, stream=stream)
        images.committee.prepare(model, weights=[path])
        results.append(score_pool(
            model, scoring.MutualInformationScorer(), images))
        images.committee.release()
    compare(close, *results)


@pytest.mark.parametrize('scorer', [EntropyScorer, RandomScorer])
@pytest.mark.parametrize('layers', [None, 'bbox_head.cls_convs.0'])
def test_embeddings(device, detector, data, close, tmp_path, layers, scorer):
    rows = []
    for where in (device, 'cpu'):
        images = data(embedder=layers and LayerEmbedder(layers))
        scores = score_pool(
            detector('fcos', where), scorer(), images,
            embeddings=EmbeddingFile(str(tmp_path / f'{where}.npy')))
        rows.append(np.array(scores.embeddings))
    close(*rows)
    assert rows[1].std() > 0


@pytest.mark.parametrize('precision', ['tf32', 'bf16'])
def test_precision(device, detector, data, precision):
    exact, rounded = (
        score_pool(detector('fcos', device), EntropyScorer(),
                   data(precision=p)) for p in ('fp32', precision))
    assert rounded.values == pytest.approx(exact.values, rel=.05)
    if precision == 'bf16':
        assert (rounded.values != exact.values).any()


def test_influence_of_a_classifier(device, close, tmp_path, mmdet_scope):
    cfg = tiny_classification(str(tmp_path))
    test = cfg.test_dataloader.dataset.pipeline
    pool, val = (dict(loader.dataset, pipeline=test)
                 for loader in (cfg.train_dataloader, cfg.val_dataloader))
    results = []
    for where in (device, 'cpu'):
        images = ScoringData(
            dict(unlabelled=Split(pool, labels=False, ids=range(6, 13)),
                 labelled=Split(pool, labels=True, ids=range(1, 6)),
                 val=Split(val, labels=True)), num_workers=0, progress=False)
        results.append(score_pool(
            tiny_classifier().to(where), InfluenceScorer(top_k=2), images))
    compare(close, *results)
