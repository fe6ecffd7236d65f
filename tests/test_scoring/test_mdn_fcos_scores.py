"""The scorers, with FCOS of mixtures in place of the heads they knew."""
import warnings

import numpy as np
import pytest
import torch
from helpers.pools import pool
from helpers.tiny import tiny_config
from helpers.tiny_mdn_fcos import tiny_mdn_fcos
from torch import nn

from mmal.influence.vectors import dot
from mmal.models.committees import DropoutCommittee
from mmal.models.utils import head_outputs, image_losses, last_layers
from mmal.scoring import (
    EntropyScorer,
    GradScorer,
    InfluenceScorer,
    MixtureUncertaintyScorer,
    MutualInformationScorer,
    ScoringData,
    Split,
    score_pool,
)
from mmal.scoring.batch import Batch
from mmal.scoring.detections.predict import detect
from mmal.scoring.detector import (
    predictions,
    pseudo_label_losses,
    pseudo_labels,
)
from mmal.uncertainty import binary_entropy

OWN = ('conv_cls_deltas', 'conv_cls_weights', 'conv_reg_variances',
       'conv_reg_deltas', 'conv_reg_weights')
FCOS = ('conv_cls', 'conv_reg', 'conv_centerness')
FOUR = ('box_aleatoric', 'box_epistemic', 'cls_aleatoric', 'cls_epistemic')


def splits(root, batch_size=3):
    config = tiny_config(str(root))
    test = config.test_dataloader.dataset.pipeline
    every = dict(config.train_dataloader.dataset, pipeline=test)
    val = dict(config.val_dataloader.dataset, pipeline=test)
    ids = ScoringData(dict(p=Split(every, True)), num_workers=0).ids('p')
    return ScoringData(
        dict(
            unlabelled=Split(every, labels=False, ids=ids[4:]),
            labelled=Split(every, labels=True, ids=ids[:4]),
            val=Split(val, labels=True)),
        batch_size=batch_size,
        num_workers=0,
        progress=False)


@pytest.mark.parametrize('norm', [True, False])
def test_influence_equals_autograd_one_image_at_a_time(
        norm, tmp_path, mmdet_scope):
    model = tiny_mdn_fcos(norm_on_bbox=norm)
    names = last_layers(model)
    assert set(names) == {f'bbox_head.{n}' for n in (*OWN, *FCOS)}
    scorer = InfluenceScorer(names, empty='background')
    with warnings.catch_warnings():  # the curvature is found, not estimated
        warnings.simplefilter('error')
        warnings.filterwarnings('ignore', message='torch.meshgrid')
        scores = score_pool(model, scorer, splits(tmp_path))
    params = [p for n in names for p in model.get_submodule(n).parameters()]
    expected = {}
    for part in splits(tmp_path, 1).batches('unlabelled', model):
        outputs = head_outputs(model, part.inputs)
        labels = pseudo_labels(
            predictions(model, outputs, part.samples), 0.1)
        loss = pseudo_label_losses(model, outputs, part.samples, labels)[0]
        grads = torch.autograd.grad(loss, params)
        expected[part.ids[0]] = float(dot(grads, scorer.s_test))
    truth = np.array([expected[i] for i in scores.ids])
    assert np.abs(scores.values - truth).max() < 1e-4 * np.abs(truth).max()
    assert (scores.columns['pseudo_labels'] > 0).any()


def test_the_checks_of_influence_pass(tmp_path, mmdet_scope):
    model = tiny_mdn_fcos()
    for hessian in ('gauss-newton', 'exact'):
        InfluenceScorer(last_layers(model), hessian=hessian).check(
            model, splits(tmp_path))


def test_mixture_uncertainties_are_standardised(tmp_path, mmdet_scope):
    model = tiny_mdn_fcos()
    scorer = MixtureUncertaintyScorer(score_thr=0.3)
    scorer.check(model, pool(tmp_path))
    scores = score_pool(model, scorer, pool(tmp_path, batch_size=4))
    each = {}
    for part in pool(tmp_path, 1).batches('unlabelled', model):
        found = detect(model, part)[0]
        found = found[found.scores >= 0.3]
        each[part.ids[0]] = torch.stack([
            x.amax(1) if x.dim() == 2 else x
            for x in (found[name] for name in FOUR)], 1).double().numpy()
    rows = np.concatenate(list(each.values()))
    z = {i: (x - rows.mean(0)) / rows.std(0) for i, x in each.items()}
    truth = [z[i].max() if len(z[i]) else -np.inf for i in scores.ids]
    assert np.isfinite(truth).sum() > 2
    np.testing.assert_allclose(scores.values, truth, rtol=1e-3, atol=1e-3)


def test_entropy_is_that_of_the_mixed_probabilities():
    model = tiny_mdn_fcos()
    inputs = torch.randn(2, 3, 64, 80,
                         generator=torch.Generator().manual_seed(0))
    scorer = EntropyScorer(aggregation='mean')
    found = scorer.process(model, Batch([1, 2], inputs))['score']
    with torch.no_grad():
        levels = head_outputs(model, inputs)[0]
    for i in range(2):
        raw = torch.cat([x[i].flatten(1).T for x in levels])
        each = raw[:, :6].view(-1, 3, 2).sigmoid()
        probs = (raw[:, None, 6:].softmax(-1) * each).sum(-1)
        assert found[i].item() == pytest.approx(
            binary_entropy(probs).sum(-1).mean().item(), 1e-4)


def test_dropout_committee(tmp_path, mmdet_scope):
    model = tiny_mdn_fcos()
    convs = model.bbox_head.cls_convs
    convs[0] = nn.Sequential(convs[0], nn.Dropout2d(0.3))
    model.eval()
    values = []
    for size in (1, 4):
        data = pool(tmp_path, batch_size=size,
                    committee=DropoutCommittee(passes=3))
        values.append(
            score_pool(model, MutualInformationScorer(), data).values)
    assert (values[0] > 0).all()
    np.testing.assert_allclose(*values, rtol=1e-4)


def test_a_scorer_that_needs_plain_convolutions_says_so(
        tmp_path, mmdet_scope):
    with pytest.raises(ValueError, match='MDNFCOSHead do not'):
        GradScorer().check(tiny_mdn_fcos(), pool(tmp_path))


def test_the_loss_of_an_image_is_the_sum_of_its_terms():
    """The influence sees the likelihood too."""
    model = tiny_mdn_fcos()
    from mmal.scoring.detector import dummy_batch
    part = dummy_batch(model)
    labels = [s.gt_instances for s in part.samples]
    with torch.no_grad():
        outputs = head_outputs(model, part.inputs)
        total = image_losses(model, outputs, part.samples, labels)
        terms = model.bbox_head.loss_by_feat(
            *outputs, labels, [s.metainfo for s in part.samples])
    assert total[0].item() == pytest.approx(sum(terms.values()).item())
