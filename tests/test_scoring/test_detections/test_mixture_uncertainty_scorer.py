"""Standardised uncertainties against all detections at once."""
import numpy as np
import pytest
import torch
from helpers.pools import pool, score_in_two_processes
from helpers.tiny_faster_rcnn import tiny_mdn_faster_rcnn
from helpers.tiny_ssd import tiny_mdn_ssd, tiny_ssd
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from mmengine.structures import InstanceData
from torch import nn

from mmal.registry import TASK_UTILS
from mmal.scoring import MixtureUncertaintyScorer, score_pool
from mmal.scoring.batch import Batch
from mmal.scoring.detections.predict import detect

FOUR = ('box_aleatoric', 'box_epistemic', 'cls_aleatoric', 'cls_epistemic')
ALL = (*FOUR, 'cls_entropy')


def uncertainties(found):
    """[n, 5] of one image, by numpy."""
    probs = found.class_probs.double().numpy()
    entropy = -(probs * np.log(np.maximum(probs, 1e-300))).sum(-1)
    fields = [getattr(found, name).double().numpy() for name in FOUR]
    columns = [f.max(1) if f.ndim == 2 else f for f in fields]
    return np.stack([*columns, entropy], 1)


def brute_force(images, names=FOUR, aggregation='max'):
    """Scores of images [n_i, 5]: pass one for moments, two for maxima."""
    index = [ALL.index(name) for name in names]
    rows = np.concatenate(images)[:, index]
    mean, std = rows.mean(0), rows.std(0)
    used = [i for i, s in enumerate(std) if s > 0]
    z = [(i[:, index] - mean)[:, used] / std[used] if used else
         np.zeros_like(i) for i in images]
    reduce = dict(max=np.max, sum=np.sum)[aggregation]
    return np.array([reduce(x.max(0)) if len(x) else -np.inf for x in z])


def all_detections(model, root):
    data = pool(root, batch_size=1)
    found = {b.ids[0]: detect(model, b)[0]
             for b in data.batches('unlabelled', model)}
    return [found[i] for i in data.ids('unlabelled')]


@pytest.fixture(scope='module')
def model():
    return tiny_mdn_ssd()


@pytest.fixture
def found(model, mmdet_scope, tmp_path):
    return all_detections(model, tmp_path)


def threshold(found):
    """A score in the widest gap above the weakest best detection.

    At least one image keeps nothing, and rounding moves none across.
    """
    best = min(float(d.scores.max()) for d in found if len(d))
    scores = torch.cat([d.scores for d in found]).double().sort().values
    above = scores[scores >= best]
    half = above[:max(2, len(above) // 2)]
    gap = int(half.diff().argmax())
    return float(half[gap:gap + 2].mean())


@pytest.mark.parametrize('names, aggregation', [
    (FOUR, 'max'),
    (FOUR, 'sum'),
    (('box_aleatoric', 'box_epistemic', 'cls_entropy'), 'sum'),
    (('cls_epistemic', ), 'max'),
])
def test_scores_equal_two_passes_over_all_detections(model, found, tmp_path,
                                                     names, aggregation):
    score_thr = threshold(found)
    kept = [uncertainties(d[d.scores >= score_thr]) for d in found]
    truth = brute_force(kept, names, aggregation)
    scorer = MixtureUncertaintyScorer(names, aggregation, score_thr)
    scores = score_pool(model, scorer, pool(tmp_path, batch_size=4))
    assert np.isinf(truth).any() and np.isfinite(truth).sum() > 2
    np.testing.assert_allclose(scores.values, truth, rtol=1e-3, atol=1e-3)


def test_two_stages_score_like_one(tmp_path, mmdet_scope):
    model = tiny_mdn_faster_rcnn()
    found = all_detections(model, tmp_path)
    score_thr = threshold(found)
    truth = brute_force(
        [uncertainties(d[d.scores >= score_thr]) for d in found])
    scorer = MixtureUncertaintyScorer(score_thr=score_thr)
    scorer.check(model, pool(tmp_path))
    scores = score_pool(model, scorer, pool(tmp_path, batch_size=4))
    assert np.isfinite(truth).any()
    np.testing.assert_allclose(scores.values, truth, rtol=1e-3, atol=1e-3)


def test_every_uncertainty_is_stored(model, found, tmp_path):
    score_thr = threshold(found)
    scorer = MixtureUncertaintyScorer('box_epistemic', score_thr=score_thr)
    columns = score_pool(model, scorer, pool(tmp_path)).columns
    kept = [uncertainties(d[d.scores >= score_thr]) for d in found]
    assert columns['detections'].tolist() == [len(x) for x in kept]
    for i, name in enumerate(ALL):
        values = [x[:, i] for x in kept]
        truth = dict(
            max=[x.max(initial=-np.inf) for x in values],
            mean=[x.mean() if len(x) else 0 for x in values],
            m2=[x.var() * len(x) if len(x) else 0 for x in values])
        for kind, column in truth.items():
            np.testing.assert_allclose(
                columns[f'{name}_{kind}'], column, rtol=1e-3, atol=1e-6)


def test_neither_batches_nor_processes_matter(model, found, tmp_path,
                                              monkeypatch):
    scorer = MixtureUncertaintyScorer(score_thr=threshold(found))
    one, four = (
        score_pool(model, scorer, pool(tmp_path, size)) for size in (1, 4))
    two = score_in_two_processes(monkeypatch, tmp_path, model, scorer)
    assert one.ids == four.ids == two.ids
    for other in four, two:
        np.testing.assert_allclose(
            other.values, one.values, rtol=1e-3, atol=1e-3)


def test_scores_known_from_before_join_the_pool(model, found, tmp_path):
    scorer = MixtureUncertaintyScorer(score_thr=threshold(found))
    whole = score_pool(model, scorer, pool(tmp_path))
    some = whole.take([0, 1, *range(7, len(whole))])
    again = score_pool(model, scorer, pool(tmp_path), known=some)
    np.testing.assert_allclose(again.values, whole.values, rtol=1e-4)


def test_an_empty_pool_and_one_without_detections(model, tmp_path,
                                                  mmdet_scope):
    scorer = MixtureUncertaintyScorer(score_thr=1.0)
    data = pool(tmp_path)
    assert (score_pool(model, scorer, data).values == -np.inf).all()
    data.splits['unlabelled'].ids = []
    assert len(score_pool(model, scorer, data)) == 0


class Finds(nn.Module):
    """A detector that finds what a test says, image after image."""

    def __init__(self, images):
        super().__init__()
        self.images = images
        self.bbox_head = nn.Identity()
        self.bbox_head.num_classes = 2

    def predict(self, inputs, samples, rescale):
        for sample in samples:
            sample.pred_instances = self.images[sample.image]
        return samples


class Sample:

    def __init__(self, image):
        self.image = image

    def new(self):
        return Sample(self.image)


def scored(images, batch, **kwargs):
    """Scores of made-up detections, in batches of any size."""
    scorer = MixtureUncertaintyScorer(score_thr=0.5, **kwargs)
    scorer.given = ALL
    parts = []
    for start in range(0, len(images), batch):
        ids = list(range(len(images)))[start:start + batch]
        parts.append(
            scorer.process(
                Finds(images), Batch(ids, samples=[Sample(i) for i in ids])))
    return scorer.compute({
        name: torch.cat([p[name] for p in parts]).numpy()
        for name in parts[0]
    })


def instances(values, dtype=torch.float64):
    """Detections whose uncertainties are [n, 4] numbers, all sure."""
    values = torch.as_tensor(values, dtype=dtype)
    return InstanceData(
        scores=torch.ones(len(values)),
        labels=torch.zeros(len(values), dtype=torch.long),
        class_probs=torch.full((len(values), 3), 1 / 3),
        box_aleatoric=values[:, 0:1] * torch.tensor([1., .5, 0., .25]),
        box_epistemic=values[:, 1:2] * torch.tensor([0., .5, .25, 1.]),
        cls_aleatoric=values[:, 2],
        cls_epistemic=values[:, 3])


def images_of(draw_counts, values):
    ends = np.cumsum(draw_counts)
    return np.split(values[:ends[-1]], ends[:-1])


pools = st.lists(st.integers(0, 4), min_size=1, max_size=6).flatmap(
    lambda n: st.tuples(
        st.just(n),
        arrays(np.float32, (sum(n), 4),
               elements=st.floats(0, 2, width=32, allow_subnormal=False))))


@settings(max_examples=60, deadline=None)
@given(pools, st.integers(1, 4), st.sampled_from(['max', 'sum']))
def test_any_pool_is_standardised_like_two_passes(made, batch, aggregation):
    images = images_of(*made)
    found = scored([instances(x) for x in images], batch,
                   aggregation=aggregation)
    assert not np.isnan(found).any()
    std = np.concatenate(images).astype(float).std(0) if \
        sum(map(len, images)) else np.ones(4)
    if ((0 < std) & (std < 1e-6)).any():
        return  # numpy's own rounding decides
    whole = [np.column_stack([x.astype(float), np.zeros(len(x))])
             for x in images]
    constant = np.concatenate(whole)
    for i in range(4):  # exact zeros, where numpy's std is rounding
        if len(constant) and (constant[:, i] == constant[0, i]).all():
            for x in whole:
                x[:, i] = 0
    if not len(constant):
        assert (found == -np.inf).all()
        return
    truth = brute_force(whole, aggregation=aggregation)
    np.testing.assert_allclose(found, truth, rtol=1e-6, atol=1e-6)


def test_equal_uncertainties_say_nothing():
    """0.1 has no exact mean: rounding must not look like a spread."""
    images = [instances(np.full((n, 4), 0.1)) for n in (1, 3, 7)]
    assert scored(images, 2).tolist() == [0., 0., 0.]


@pytest.mark.parametrize('aggregation', ['max', 'sum'])
def test_what_is_equal_everywhere_hides_no_order(aggregation):
    """A single Gaussian has no epistemic uncertainty."""
    images = [instances([[a, 0., a / 2, 0.]]) for a in (0.1, 0.2, 0.3, 2.0)]
    found = scored(images, 3, aggregation=aggregation)
    assert (np.diff(found) > 0.1).all()
    np.testing.assert_allclose(found, scored(
        images, 2, aggregation=aggregation,
        uncertainties=['box_aleatoric', 'cls_aleatoric']))


def test_an_outlier_below_stays_below():
    """The maximum over detections, then over uncertainties."""
    low, high = [0., 0., 0., 0.], [1., 0., 0., 0.]
    found = scored([instances([low, low]), instances([low, high])], 1,
                   uncertainties=['box_aleatoric'])
    # mean 1/4, std sqrt(3)/4
    np.testing.assert_allclose(found, [-1 / 3**.5, 3**.5])


def test_half_precision_uncertainties(tmp_path):
    images = [instances(x, torch.half) for x in
              ([[1e-3] * 4], [[2e-3] * 4, [6e4] * 4])]
    found = scored(images, 2)
    assert np.isfinite(found).all() and found[1] > found[0]


def test_a_batch_without_any_detection_needs_no_fields():
    empty = InstanceData(scores=torch.zeros(0),
                         labels=torch.zeros(0, dtype=torch.long))
    found = scored([empty, instances([[1., 2., 3., 4.]])], 1)
    assert found.tolist() == [-np.inf, 0.]


def test_check_accepts_what_the_head_gives(model, mmdet_scope, tmp_path):
    data = pool(tmp_path)
    MixtureUncertaintyScorer().check(model, data)
    MixtureUncertaintyScorer(['cls_entropy']).check(model, data)
    boxes = tiny_mdn_ssd(cls_components=0)
    MixtureUncertaintyScorer(FOUR[:2]).check(boxes, data)


@pytest.mark.parametrize('build, names, message', [
    (tiny_ssd, FOUR, 'box_aleatoric, .*SSDHead carry no uncertainty'),
    (lambda: tiny_mdn_ssd(cls_components=0), FOUR,
     'has cls_aleatoric, cls_epistemic, but .*MDNSSDHead carry box_aleat'),
])
def test_check_names_the_key_and_the_heads(mmdet_scope, tmp_path, build,
                                           names, message):
    with pytest.raises(ValueError, match=message) as e:
        MixtureUncertaintyScorer(names).check(build(), pool(tmp_path))
    assert 'active_learning.scorer' in str(e.value)
    assert 'mmal.MDNSSDHead' in str(e.value)


@pytest.mark.parametrize('kwargs, message', [
    (dict(uncertainties=['entropy']), "scorer.uncertainties is 'entropy'"),
    (dict(uncertainties=[]), 'scorer.uncertainties is empty'),
    (dict(aggregation='mean'), "scorer.aggregation is 'mean'"),
    (dict(score_thr=1.5), 'scorer.score_thr is 1.5'),
])
def test_wrong_options_name_the_key(kwargs, message):
    with pytest.raises(ValueError, match=message):
        MixtureUncertaintyScorer(**kwargs)


def test_a_config_builds_it():
    scorer = TASK_UTILS.build(dict(type='mmal.MixtureUncertaintyScorer'))
    assert scorer.uncertainties == FOUR and scorer.score_thr == 0.5
