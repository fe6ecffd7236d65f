"""ISAL on a classifier against dense matrices and autograd."""
import os

import numpy as np
import pytest
import torch
from helpers.tiny_classifier import tiny_classification, tiny_classifier
from mmengine.structures import InstanceData

from mmal.scoring import InfluenceScorer, ScoringData, Split, score_pool
from mmal.scoring.isal.adapters import adapter_of
from mmal.scoring.isal.adapters.classifier import ClassifierAdapter
from mmal.scoring.isal.pseudo_label_rule import PseudoLabelRule

CG = dict(type='mmal.ConjugateGradient', max_iters=500, tol=1e-9, damping=0.1)


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    return str(tmp_path_factory.mktemp('images'))


@pytest.fixture
def data(root, mmdet_scope):

    def make(batch_size=4):
        cfg = tiny_classification(root)
        pipeline = cfg.test_dataloader.dataset.pipeline
        pool = dict(cfg.train_dataloader.dataset, pipeline=pipeline)
        val = dict(cfg.val_dataloader.dataset, pipeline=pipeline)
        return ScoringData(
            dict(unlabelled=Split(pool, labels=False, ids=range(6, 13)),
                 labelled=Split(pool, labels=True, ids=range(1, 6)),
                 val=Split(val, labels=True)),
            batch_size=batch_size, num_workers=0, progress=False)

    return make


def features(model, data, split):
    """float64 [N, D + 1] with a last column of ones, labels and ids."""
    rows, labels, ids = [], [], []
    for batch in data.batches(split, model):
        with torch.no_grad():
            pooled = model.extract_feat(batch.inputs)[-1].mean((2, 3))
        rows.append(torch.cat([pooled, torch.ones(len(pooled), 1)], 1))
        labels += [int(s.gt_instances.labels) if data.splits[split].labels
                   else -1 for s in batch.samples]
        ids += batch.ids
    return torch.cat(rows).double(), torch.tensor(labels), ids


def by_hand(model, data, top_k):
    """Scores of the pool by a dense Hessian of the mean cross entropy."""
    fc = model.cls_head.fc
    weight = torch.cat([fc.weight.flatten(1), fc.bias[:, None]], 1)
    weight = weight.detach().double()

    def mean_loss(flat, x, y):
        return torch.nn.functional.cross_entropy(
            x @ flat.view(weight.shape).T, y)

    flat = weight.flatten().requires_grad_()
    labelled, y, _ = features(model, data, 'labelled')
    hessian = torch.autograd.functional.hessian(
        lambda f: mean_loss(f, labelled, y), flat)
    val, v, _ = features(model, data, 'val')
    gradient, = torch.autograd.grad(mean_loss(flat, val, v), flat)
    s_test = torch.linalg.solve(
        hessian + 0.1 * torch.eye(len(flat)).double(), gradient)
    pool, _, ids = features(model, data, 'unlabelled')
    scores = {}
    for x, image in zip(pool, ids):
        probs = (x @ weight.T).softmax(0)
        expected = 0
        for k in probs.argsort(descending=True)[:top_k]:
            g, = torch.autograd.grad(
                mean_loss(flat, x[None], k[None]), flat)
            expected = expected + probs[k] * g
        scores[image] = float(s_test @ expected)
    return scores


@pytest.mark.parametrize('hessian', ['gauss-newton', 'exact'])
@pytest.mark.parametrize('top_k', [1, 2])
def test_scores_equal_equation_3_and_4_by_dense_matrices(
        data, hessian, top_k):
    model = tiny_classifier()
    scorer = InfluenceScorer(solver=CG, top_k=top_k, hessian=hessian)
    scores = score_pool(model, scorer, data())
    truth = by_hand(model, data(), top_k)
    truth = np.array([truth[i] for i in scores.ids])
    assert np.abs(truth).max() > 0
    np.testing.assert_allclose(
        scores.values, truth, atol=2e-4 * np.abs(truth).max())
    assert (scores.columns['pseudo_labels'] == top_k).all()


def test_all_classes_weighted_by_probability_expect_nothing(data):
    """sum_k p_k (p - e_k) = 0: the model expects to be right on average."""
    model = tiny_classifier()
    some, everything = (
        np.abs(score_pool(model, InfluenceScorer(solver=CG, top_k=k),
                          data()).values).max() for k in (1, 3))
    assert everything < 1e-4 * some


def test_scores_do_not_depend_on_the_batch_size(data):
    model = tiny_classifier()
    one, many = (
        score_pool(model, InfluenceScorer(solver=CG), data(size)).values
        for size in (1, 7))
    np.testing.assert_allclose(one, many, rtol=1e-3, atol=1e-6)


def test_all_parameters_by_gradient_similarity(data):
    """Convolutions and batch norm too, against autograd image by image."""
    model = tiny_classifier()
    scorer = InfluenceScorer('*', solver=dict(type='mmal.Identity'))
    scores = score_pool(model, scorer, data())
    params = scorer.recorder.params
    assert sum(p.numel() for p in params) == sum(
        p.numel() for p in model.parameters())
    for batch in data(1).batches('unlabelled', model):
        logits = model(batch.inputs)
        top, label = logits.softmax(1).max(1)
        loss = top.detach() * torch.nn.functional.cross_entropy(logits, label)
        grads = torch.autograd.grad(loss.sum(), params)
        truth = sum((g * s).sum() for g, s in zip(grads, scorer.s_test))
        assert scores.of(batch.ids)[0] == pytest.approx(float(truth), rel=1e-3)


def test_the_adapter_is_found_and_losses_are_the_models(data):
    model = tiny_classifier()
    adapter = adapter_of(model)
    assert isinstance(adapter, ClassifierAdapter)
    batch = next(data().batches('val', model))
    losses = adapter.image_losses(
        adapter.forward(batch), batch.samples,
        [s.gt_instances for s in batch.samples])
    expected = model(batch.inputs, batch.samples, mode='loss')['loss_cls']
    torch.testing.assert_close(losses.mean(), expected)
    wrong = [InstanceData(labels=torch.zeros(2).long())] * len(batch)
    with pytest.raises(ValueError, match='has 2 labels'):
        adapter.image_losses(adapter.forward(batch), batch.samples, wrong)


def test_too_large_a_k_is_found_before_training(data):
    with pytest.raises(ValueError, match='top_k is 4, but there are only 3'):
        InfluenceScorer(top_k=4).check(tiny_classifier(), data())
    for wrong in (0, 1.5):
        with pytest.raises(ValueError, match=f'top_k is {wrong}'):
            PseudoLabelRule(top_k=wrong)


def test_the_pool_file_has_one_box_an_image(root, data):
    assert os.path.exists(os.path.join(root, 'pool.json'))
    assert len(data().ids('unlabelled')) == 7


def test_all_parameters_need_the_exact_hessian(data):
    with pytest.raises(ValueError, match="hessian='exact'"):
        InfluenceScorer('*').check(tiny_classifier(), data())
    scorer = InfluenceScorer(
        '*', hessian='exact',
        solver=dict(type='mmal.LiSSA', damping=50.0, repeats=1, depth=20))
    scores = score_pool(tiny_classifier(), scorer, data())
    assert np.isfinite(scores.values).all() and scores.values.any()
