"""What is made of a GPU's scores, embeddings and detections."""
import os.path as osp

import numpy as np
import pytest
import torch
from helpers.tiny_classifier import (
    CLASSES,
    tiny_classification,
    tiny_classifier,
)

from mmal import selection
from mmal.registry import METRICS
from mmal.scoring import EntropyScorer, ScoringData, Split, score_pool
from mmal.scoring.embeddings.embed import embed_split
from mmal.scoring.embeddings.store import EmbeddingFile
from mmal.selection import BaseSelector

pytestmark = pytest.mark.cuda

# these read what scorers and embedders tell of detections, and not scores and
# plain embeddings alone
OF_DETECTIONS = ('CategoryMatching', 'ClassBudgets', 'ContextualDiversity',
                 'DiversePrototypes')
SELECTORS = sorted(
    name for name in selection.__all__ if name not in OF_DETECTIONS
    and isinstance(getattr(selection, name), type)
    and issubclass(getattr(selection, name), BaseSelector)
    and not getattr(selection, name).__abstractmethods__)
OPTIONS = dict(
    RandomSubset=dict(size=6, selector=dict(type='mmal.TopN')),
    RoundRobin=dict(selector=dict(type='mmal.TopN')),
    Quota=dict(shares=dict(score=1)),
    TwoStage=dict(first=dict(type='mmal.TopN'), keep=2.,
                  then=dict(type='mmal.CoreSet')))


@pytest.fixture(scope='module')
def kept():
    """Scores and embeddings of both devices, made once."""
    return {}


def score(model, data, folder):
    """Scores with embeddings, and embeddings of the labelled images."""
    images = data(labelled=4)
    scores = score_pool(
        model, EntropyScorer(), images,
        embeddings=EmbeddingFile(osp.join(folder, 'pool.npy')))
    labelled = embed_split(
        model, images, 'labelled',
        EmbeddingFile(osp.join(folder, 'labelled.npy')))[1]
    return scores, labelled


@pytest.mark.parametrize('name', SELECTORS)
def test_selectors_choose_the_same(device, detector, data, kept,
                                   tmp_path_factory, name):
    for where in (str(device), 'cpu'):
        if where not in kept:
            kept[where] = score(detector('fcos', where), data,
                                str(tmp_path_factory.mktemp(where)))
    orders = []
    for scores, labelled in kept.values():
        selector = getattr(selection, name)(**OPTIONS.get(name, {}))
        selector.check_classes(['a', 'b', 'c'])
        selector.prepare(1)
        selector = selector.with_draws(3)
        orders.append(list(selector.order(
            scores, np.array(scores.embeddings), np.array(labelled))))
    assert orders[0] == orders[1]
    assert sorted(orders[0]) == sorted(scores.ids)


def measure(metric, model, images, classes):
    """What an evaluator makes of the predictions on validation images."""
    metric = METRICS.build(dict(metric))
    metric.dataset_meta = dict(classes=classes)
    for batch in images.batches('val', model):
        with torch.no_grad():
            samples = model.predict(batch.inputs, batch.samples)
        metric.process({}, [s.to_dict() for s in samples])
    return metric.evaluate(len(images.ids('val')))


@pytest.mark.parametrize('kind', ['CalibrationMetric',
                                  'SizeWeightedCocoMetric'])
def test_metrics_of_detections(device, detector, data, close, kind):
    images = data()
    metric = dict(type=f'mmal.{kind}')
    if kind == 'SizeWeightedCocoMetric':
        config = images.splits['val'].dataset
        metric['ann_file'] = osp.join(config['data_root'], config['ann_file'])
    gpu, cpu = (measure(metric, detector('mdn_fcos', where), images,
                        ('class_0', 'class_1', 'class_2'))
                for where in (device, 'cpu'))
    close(gpu, cpu, rtol=1e-3)
    assert any(np.isfinite(x) and x != 0 for x in cpu.values())


def test_accuracy(device, tmp_path, mmdet_scope):
    cfg = tiny_classification(str(tmp_path))
    images = ScoringData(
        dict(val=Split(cfg.val_dataloader.dataset, labels=True)),
        num_workers=0, progress=False)
    gpu, cpu = (measure(dict(type='mmal.AccuracyMetric'),
                        tiny_classifier().to(where), images, CLASSES)
                for where in (device, 'cpu'))
    assert gpu == cpu and 'accuracy/top1' in cpu
