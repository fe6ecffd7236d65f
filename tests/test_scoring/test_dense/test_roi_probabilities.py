"""Two-stage detectors: class probabilities of the first one's proposals."""
import numpy as np
import pytest
import torch
from helpers.pools import pool, score_in_two_processes
from helpers.tiny_faster_rcnn import tiny_faster_rcnn, tiny_mdn_faster_rcnn
from mmdet.models.roi_heads import StandardRoIHead
from mmdet.structures.bbox import bbox2roi
from torch import nn

from mmal.models.committees import DropoutCommittee, EnsembleCommittee
from mmal.scoring import (
    EntropyScorer,
    LeastConfidenceScorer,
    MutualInformationScorer,
    score_pool,
)

REDUCE = dict(mean=np.mean, max=np.max, sum=np.sum)


def entr(p):
    return np.where(p > 0, -p * np.log(np.where(p > 0, p, 1)), 0)


def entropy(p):
    return entr(p).sum(-1)


@torch.no_grad()
def by_hand(models, root):
    """Image to [M, P, 4], one image at a time, with mmdet's own forward."""
    data = pool(root, batch_size=1)
    found = {}
    for batch in data.batches('unlabelled', models[0]):
        features = models[0].extract_feat(batch.inputs)
        proposals, = models[0].rpn_head.predict(
            features, [s.new() for s in batch.samples], rescale=False)
        rois = bbox2roi([proposals.bboxes])
        rows = []
        for model in models:
            head = model.roi_head
            results = StandardRoIHead._bbox_forward(
                head, model.extract_feat(batch.inputs), rois)
            logits = results['cls_score']
            if hasattr(head.bbox_head, 'cls_output'):
                mixed = head.bbox_head.cls_output.mixture(
                    logits, variance=False)
                rows.append(mixed.probs)
            else:
                rows.append(logits.softmax(-1))
        found[batch.ids[0]] = torch.stack(rows).double().numpy()
    return [found[i] for i in data.ids('unlabelled')]


def ensemble(tmp_path, models, **options):
    files = []
    for i, model in enumerate(models[1:]):
        files.append(str(tmp_path / f'{i}.pth'))
        torch.save(model.state_dict(), files[-1])
    committee = EnsembleCommittee(checkpoints=files, **options)
    committee.check(models[0], in_run=False)
    committee.prepare(models[0])
    return committee


@pytest.mark.parametrize('how', ['mean', 'max', 'sum'])
@pytest.mark.parametrize('build', [tiny_faster_rcnn, tiny_mdn_faster_rcnn])
def test_one_model(tmp_path, mmdet_scope, build, how):
    model = build()
    model.rpn_head.test_cfg.nms.iou_threshold = 0.05  # few, and not equally
    probs = [p[0] for p in by_hand([model], tmp_path)]
    truth = [REDUCE[how](entropy(p)) for p in probs]
    found = score_pool(model, EntropyScorer(how), pool(tmp_path, 4))
    np.testing.assert_allclose(found.values, truth, rtol=1e-3)
    binary = [REDUCE[how](np.minimum(p, 1 - p)[:, :3], axis=0) for p in probs]
    found = score_pool(model, LeastConfidenceScorer(how), pool(tmp_path, 4))
    np.testing.assert_allclose(
        found.columns['class_scores'], binary, rtol=1e-3)
    assert len({len(p) for p in probs}) > 1  # batches are padded


@pytest.mark.parametrize('stream', [False, True])
def test_members_see_the_proposals_of_the_first(tmp_path, mmdet_scope,
                                                stream):
    models = [tiny_faster_rcnn(seed=s) for s in range(3)]
    probs = by_hand(models, tmp_path)
    truth = [(entropy(p.mean(0)) - entropy(p).mean(0)).mean() for p in probs]
    data = pool(tmp_path, 4)
    data.committee = ensemble(tmp_path, models, stream=stream)
    found = score_pool(models[0], MutualInformationScorer(), data)
    np.testing.assert_allclose(found.values, truth, rtol=1e-2, atol=1e-6)
    assert found.values.min() > 1e-4


def test_neither_batches_nor_processes_matter(tmp_path, monkeypatch,
                                              mmdet_scope):
    model, scorer = tiny_faster_rcnn(), EntropyScorer()
    one, four = (
        score_pool(model, scorer, pool(tmp_path, size)) for size in (1, 4))
    two = score_in_two_processes(monkeypatch, tmp_path, model, scorer)
    for other in four, two:
        np.testing.assert_allclose(other.values, one.values, rtol=1e-4)


@pytest.mark.parametrize('options', [
    dict(), dict(classes='separate', class_weights=[0, 1, 2])])
def test_images_without_proposals_are_last(tmp_path, mmdet_scope, options):
    model = tiny_faster_rcnn()
    model.rpn_head.test_cfg.min_bbox_size = 1e6
    found = score_pool(model, EntropyScorer(**options), pool(tmp_path, 4))
    assert np.isneginf(found.values).all()
    assert np.isneginf(found.columns['class_scores']).all()


def test_dropout_of_images_but_not_of_proposals(tmp_path, mmdet_scope):
    model = tiny_faster_rcnn()
    convs = model.neck.fpn_convs
    convs[0] = nn.Sequential(convs[0], nn.Dropout(0.3)).eval()
    committee = DropoutCommittee(3)
    committee.check(model)
    committee.prepare(model)
    values = []
    for size in (1, 4):
        data = pool(tmp_path, size)
        data.committee = committee
        values.append(
            score_pool(model, MutualInformationScorer(), data).values)
    np.testing.assert_allclose(*values, rtol=1e-2, atol=1e-6)
    assert values[0].min() > 1e-5
    model.roi_head.bbox_head.drop = nn.Dropout(0.5)
    with pytest.raises(ValueError, match='roi_head has dropout layers'):
        committee.check(model)


def test_check(mmdet_scope):
    EntropyScorer().check(tiny_faster_rcnn(), None)
    EntropyScorer().check(tiny_mdn_faster_rcnn(), None)
    with pytest.raises(ValueError, match='has 1 numbers.*3 classes'):
        EntropyScorer(classes='separate', class_weights=[1]).check(
            tiny_faster_rcnn(), None)
    model = tiny_faster_rcnn()
    old = model.roi_head.bbox_head.fc_cls
    model.roi_head.bbox_head.fc_cls = nn.Linear(old.in_features, 8)
    with pytest.raises(ValueError, match='3 classes .* gives 8 outputs'):
        EntropyScorer().check(model, None)  # as CrowdDet's, of two instances
    model = tiny_faster_rcnn()
    model.roi_head = nn.Identity()
    model.roi_head.bbox_head = None
    with pytest.raises(ValueError, match='StandardRoIHead and a softmax'):
        EntropyScorer().check(model, None)
