"""Dense entropies and mutual information, with and without a committee."""
import weakref
from functools import partial

import numpy as np
import pytest
import torch
from helpers.dense_heads import by_hand, detector, features
from helpers.pools import pool, score_in_two_processes
from helpers.tiny import tiny_fcos
from helpers.tiny_ssd import tiny_mdn_ssd
from torch import nn

from mmal.models.committees import Member
from mmal.models.utils.per_image import head_outputs
from mmal.registry import TASK_UTILS
from mmal.scoring import EntropyScorer, MutualInformationScorer, score_pool
from mmal.scoring.batch import Batch
from mmal.uncertainty import binary_entropy, categorical_entropy

REDUCE = dict(mean=np.mean, max=np.max, sum=np.sum)


class Members:
    """A committee of detectors that looks after what it gave out."""

    def __init__(self, models):
        self.models = models
        self.alive = 0
        self._given = []

    def members(self, model, batch):
        for member in self.models:
            yield Noted(member, partial(member.extract_feat, batch.inputs),
                        self._given)
            alive = sum(r() is not None for r in self._given)
            self.alive = max(self.alive, alive)


class Noted(Member):
    """Tells what it gave out."""

    def __init__(self, model, features, given):
        super().__init__(model, features)
        self.given = given

    def outputs(self):
        outputs = super().outputs()
        self.given += [weakref.ref(x) for x in outputs[0]]
        return outputs


class Data:
    """As much of ScoringData as :meth:`prepare` reads."""

    def __init__(self, committee=None):
        self.committee = committee


def scored(scorer, model, inputs, committee=None):
    scorer.prepare(model, Data(committee))
    batch = Batch(list(range(len(inputs))), inputs)
    return scorer.process(model, batch)['score'].numpy()


def opinions(name, models, inputs):
    """[M, B, P, C] with background, by loops."""
    with torch.no_grad():
        return torch.stack([
            by_hand(name, m, head_outputs(m, inputs)) for m in models
        ]).double().numpy()


def entropy(probs, softmax):
    """[..., P] by the definition."""
    terms = probs * np.log(probs)
    if not softmax:
        terms = terms + (1 - probs) * np.log1p(-probs)
    return -terms.sum(-1)


HEADS = pytest.mark.parametrize('name, softmax', [
    ('ssd', True), ('retina', False), ('yolox', False)])
HOW = pytest.mark.parametrize('how', ['mean', 'max', 'sum'])


@HEADS
@HOW
def test_entropy_of_one_model(mmdet_scope, name, softmax, how):
    model, inputs = detector(name), features()
    truth = entropy(opinions(name, [model], inputs)[0], softmax)
    found = scored(EntropyScorer(how), model, inputs)
    np.testing.assert_allclose(found, REDUCE[how](truth, axis=1), rtol=1e-4)


@HEADS
@HOW
def test_entropy_of_a_committee_is_that_of_the_mean(mmdet_scope, name,
                                                    softmax, how):
    models, inputs = [detector(name, seed) for seed in range(3)], features()
    truth = entropy(opinions(name, models, inputs).mean(0), softmax)
    found = scored(EntropyScorer(how), models[0], inputs, Members(models))
    np.testing.assert_allclose(found, REDUCE[how](truth, axis=1), rtol=1e-4)


@HEADS
@HOW
def test_mutual_information_of_a_committee(mmdet_scope, name, softmax, how):
    models, inputs = [detector(name, seed) for seed in range(3)], features()
    probs = opinions(name, models, inputs)
    truth = entropy(probs.mean(0), softmax) - \
        entropy(probs, softmax).mean(0)
    found = scored(
        MutualInformationScorer(how), models[0], inputs, Members(models))
    np.testing.assert_allclose(
        found, REDUCE[how](truth, axis=1), rtol=1e-3, atol=1e-5)
    assert (found > 1e-3).all()


@pytest.mark.parametrize('name, categorical', [('ssd', True),
                                               ('retina', False)])
def test_streaming_equals_all_members_at_once(mmdet_scope, name, categorical):
    models, inputs = [detector(name, seed) for seed in range(4)], features()
    probs = torch.from_numpy(opinions(name, models, inputs))
    entropy = categorical_entropy if categorical else binary_entropy
    truth = entropy(probs.mean(0)) - entropy(probs).mean(0)
    if not categorical:
        truth = truth.sum(-1)
    found = scored(
        MutualInformationScorer(), models[0], inputs, Members(models))
    np.testing.assert_allclose(found, truth.mean(1), rtol=1e-3)


def test_members_that_agree_have_no_information(mmdet_scope):
    model = detector('retina')
    found = scored(MutualInformationScorer('max'), model, features(),
                   Members([model] * 3))
    assert (found >= 0).all() and (found < 1e-5).all()


@pytest.mark.parametrize('build', [EntropyScorer, MutualInformationScorer])
def test_one_member_is_held_at_a_time(mmdet_scope, build):
    models = [detector('retina', seed) for seed in range(4)]
    committee = Members(models)
    levels = len(head_outputs(models[0], features())[0])
    scored(build(), models[0], features(), committee)
    assert committee.alive <= levels


@pytest.mark.parametrize('build, how', [(tiny_mdn_ssd, 'mean'),
                                        (tiny_fcos, 'max')])
def test_neither_batches_nor_processes_matter(tmp_path, monkeypatch,
                                              mmdet_scope, build, how):
    model, scorer = build(), EntropyScorer(how)
    one, four = (
        score_pool(model, scorer, pool(tmp_path, size)) for size in (1, 4))
    two = score_in_two_processes(monkeypatch, tmp_path, model, scorer)
    assert one.ids == four.ids == two.ids
    for other in four, two:
        np.testing.assert_allclose(other.values, one.values, rtol=1e-5)
    assert one.values.std() > 0


@pytest.mark.parametrize('build', [EntropyScorer, MutualInformationScorer])
def test_check(mmdet_scope, build):
    build().check(tiny_mdn_ssd(), Data())
    with pytest.raises(ValueError, match='active_learning.scorer.*RetinaHead'):
        build().check(nn.Linear(1, 1), Data())


def test_configs_build_them():
    scorer = TASK_UTILS.build(dict(type='mmal.EntropyScorer'))
    assert scorer.aggregation == 'mean' and not scorer.needs_committee
    assert scorer.uses_committee
    scorer = TASK_UTILS.build(dict(type='mmal.MutualInformationScorer'))
    assert scorer.needs_committee
    with pytest.raises(ValueError, match='scorer.aggregation is .median.'):
        EntropyScorer('median')
