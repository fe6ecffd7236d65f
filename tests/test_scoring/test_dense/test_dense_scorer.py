"""Per-class values, class weights, margin and least confidence."""
import numpy as np
import pytest
from helpers.dense_heads import detector, features
from test_entropy_scorer import Data, Members, opinions

from mmal.registry import TASK_UTILS
from mmal.scoring import (
    EntropyScorer,
    LeastConfidenceScorer,
    MarginScorer,
    MutualInformationScorer,
)
from mmal.scoring.batch import Batch

REDUCE = dict(mean=np.mean, max=np.max, sum=np.sum)


def entropy(p):
    return -p * np.log(p) - (1 - p) * np.log1p(-p)


def least(p):
    return 1 - np.maximum(p, 1 - p)


def margin(p):
    return 1 - np.abs(2 * p - 1)


BINARY = {
    EntropyScorer: entropy,
    LeastConfidenceScorer: least,
    MarginScorer: margin,
}
HEADS = pytest.mark.parametrize('name', ['ssd', 'retina', 'yolox'])
HOW = pytest.mark.parametrize('how', ['mean', 'max', 'sum'])
KINDS = pytest.mark.parametrize('kind', [*BINARY, MutualInformationScorer])


def columns(scorer, models, inputs):
    scorer.prepare(models[0], Data(Members(models)))
    batch = Batch(list(range(len(inputs))), inputs)
    found = scorer.process(models[0], batch)
    return {k: v.numpy() for k, v in found.items()}


def class_values(kind, probs):
    """[B, P, 3] of [M, B, P, C] by the definitions."""
    probs = probs[..., :3]
    if kind is MutualInformationScorer:
        return entropy(probs.mean(0)) - entropy(probs).mean(0)
    return BINARY[kind](probs.mean(0))


@HEADS
@HOW
@KINDS
def test_classes_of_their_own(mmdet_scope, name, how, kind):
    models, inputs = [detector(name, seed) for seed in range(3)], features()
    values = class_values(kind, opinions(name, models, inputs))
    weights = [2.0, 0.0, 0.5]
    for given, factor in ((None, 1.0), (weights, np.array(weights))):
        found = columns(kind(how, 'separate', given), models, inputs)
        truth = REDUCE[how]((values * factor).reshape(2, -1), axis=1)
        np.testing.assert_allclose(
            found['score'], truth, rtol=1e-3, atol=1e-6)
        np.testing.assert_allclose(
            found['class_scores'], REDUCE[how](values, axis=1), rtol=1e-3,
            atol=1e-6)
    assert found['class_scores'].shape == (2, 3)
    assert found['class_scores'].dtype == np.float64


@HOW
@pytest.mark.parametrize('kind', [LeastConfidenceScorer, MarginScorer])
def test_softmax_heads_choose_among_classes_and_background(
        mmdet_scope, how, kind):
    models, inputs = [detector('ssd', seed) for seed in range(3)], features()
    best = np.sort(opinions('ssd', models, inputs).mean(0), axis=-1)[..., ::-1]
    truth = 1 - best[..., 0] + (kind is MarginScorer) * best[..., 1]
    found = columns(kind(how), models, inputs)
    np.testing.assert_allclose(
        found['score'], REDUCE[how](truth, axis=1), rtol=1e-4)
    values = class_values(kind, opinions('ssd', models, inputs))
    np.testing.assert_allclose(
        found['class_scores'], REDUCE[how](values, axis=1), rtol=1e-4)


@HOW
@pytest.mark.parametrize('kind', BINARY)
def test_sigmoid_heads_sum_over_classes(mmdet_scope, how, kind):
    model, inputs = detector('retina'), features()
    values = class_values(kind, opinions('retina', [model], inputs))
    found = columns(kind(how), [model], inputs)
    np.testing.assert_allclose(
        found['score'], REDUCE[how](values.sum(-1), axis=1), rtol=1e-4)


def test_mistakes(mmdet_scope):
    with pytest.raises(ValueError, match=r"scorer\.classes is 'each'"):
        MarginScorer(classes='each')
    with pytest.raises(ValueError, match="classes is 'joint'.*'separate'"):
        EntropyScorer(class_weights=[1, 1, 1])
    for weights in ([1, -1, 1], [0, 0, 0], [1, float('nan'), 1],
                    [float('inf')] * 3, []):
        with pytest.raises(ValueError, match='class_weights is'):
            EntropyScorer(classes='separate', class_weights=weights)
    scorer = EntropyScorer(classes='separate', class_weights=[1, 2])
    with pytest.raises(ValueError, match='has 2 numbers.*3 classes'):
        scorer.check(detector('retina'), Data())


def test_members_must_speak_of_the_same_positions(mmdet_scope):
    inputs = features()
    for name, message in (('retina_softmax', '4 class prob.*the model 3'),
                          ('fcos', 'at 30 positions.*at 120 positions')):
        models = [detector('retina'), detector(name)]
        with pytest.raises(ValueError, match=message):
            columns(EntropyScorer(), models, inputs)


@pytest.mark.parametrize('name', ['MarginScorer', 'LeastConfidenceScorer'])
def test_configs_build_them(name):
    scorer = TASK_UTILS.build(
        dict(type=f'mmal.{name}', classes='separate', class_weights=[0, 1]))
    assert not scorer.needs_committee
