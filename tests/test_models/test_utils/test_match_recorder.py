"""Matches of a training step, against the targets of the head itself."""
import pytest
import torch
from helpers.detectors import DETECTORS
from mmdet.structures.bbox import bbox2roi
from mmengine.structures import InstanceData
from torch import nn

from mmal.models.utils import blank_image
from mmal.models.utils.match_recorder import MatchRecorder, class_sums


def iou(a, b):
    sides = [min(a[i + 2], b[i + 2]) - max(a[i], b[i]) for i in (0, 1)]
    shared = max(sides[0], 0) * max(sides[1], 0)
    areas = [(x[2] - x[0]) * (x[3] - x[1]) for x in (a, b)]
    return shared / max(sum(areas) - shared, 1e-6)


def images(model):
    """Two images with noise and labels, in training mode."""
    generator = torch.Generator().manual_seed(0)
    inputs, samples = [], []
    for boxes in ([[40., 30., 150., 170.], [8., 8., 40., 44.]],
                  [[100., 20., 220., 100.]]):
        blank, sample = blank_image(model)
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor(boxes), labels=torch.arange(len(boxes)))
        inputs.append(torch.randn(blank.shape, generator=generator))
        samples.append(sample)
    return torch.cat(inputs), samples


def recorded(model, inputs, samples):
    head = getattr(model, 'roi_head', model).bbox_head
    found = []
    torch.manual_seed(1)
    with MatchRecorder(head, lambda *match: found.append(match)):
        model.loss(inputs, samples)
    return [torch.cat(x) for x in zip(*found)]


def same(found, truth):
    """The same matches in any order."""
    ours, theirs = (sorted(zip(*(x.tolist() for x in t)))
                    for t in (found, truth))
    assert len(ours) == len(theirs) > 2
    for a, b in zip(ours, theirs):
        assert a == pytest.approx(b, abs=2e-4)


def test_points(mmdet_scope):
    model = DETECTORS['fcos']().train()
    inputs, samples = images(model)
    found = recorded(model, inputs, samples)
    head = model.bbox_head
    with torch.no_grad():
        classes, boxes, _ = head(model.extract_feat(inputs))
        points = head.prior_generator.grid_priors(
            [c.shape[-2:] for c in classes], device='cpu')
        labels, targets = head.get_targets(
            points, [s.gt_instances for s in samples])
    truth = []
    for level, stride in enumerate(head.strides):
        of_images = labels[level].view(2, -1)
        aims = targets[level].view(2, -1, 4)
        for image in range(2):
            logits = classes[level][image].flatten(1).T
            sides = boxes[level][image].flatten(1).T
            for n in (of_images[image] < head.num_classes).nonzero()[:, 0]:
                label = int(of_images[image, n])
                x, y = points[level][n].tolist()
                both = [(x - left, y - top, x + right, y + bottom)
                        for left, top, right, bottom in (
                            (sides[n] * stride).tolist(),
                            (aims[image, n] * stride).tolist())]
                truth.append((label, logits[n, label].sigmoid(),
                              iou(*both)))
    same(found, [torch.tensor(x) for x in zip(*truth)])


@pytest.mark.parametrize('name', ['retina', 'retina_softmax', 'atss'])
def test_anchors(mmdet_scope, name):
    model = DETECTORS[name]().train()
    inputs, samples = images(model)
    head = model.bbox_head
    with torch.no_grad():
        sizes = [x.shape[-2:]
                 for x in head(model.extract_feat(inputs))[0]]
    objects = torch.cat(head.prior_generator.grid_priors(
        sizes, device='cpu'))[[40, 700, -9]] + torch.tensor([1., 2, -1, 0])
    for sample in samples:
        sample.gt_instances = InstanceData(
            bboxes=objects, labels=torch.arange(3))
    found = recorded(model, inputs, samples)
    with torch.no_grad():
        classes, boxes, *_ = head(model.extract_feat(inputs))
    anchors, _ = head.get_anchors(sizes, [s.metainfo for s in samples],
                                  device='cpu')
    truth = []
    for image, sample in enumerate(samples):
        every = torch.cat(anchors[image])
        args = () if name != 'atss' else ([len(a) for a in anchors[image]], )
        pred = InstanceData(priors=every)
        assigned = head.assigner.assign(pred, *args, sample.gt_instances)
        logits, deltas = (torch.cat([
            level[image].permute(1, 2, 0).reshape(-1, width)
            for level in levels]) for levels, width in (
                (classes, head.cls_out_channels), (boxes, 4)))
        decoded = head.bbox_coder.decode(every, deltas)
        for n in (assigned.gt_inds > 0).nonzero()[:, 0].tolist():
            label = int(assigned.labels[n])
            probs = logits[n].softmax(-1) if name == 'retina_softmax' else \
                logits[n].sigmoid()
            true = sample.gt_instances.bboxes[assigned.gt_inds[n] - 1]
            truth.append((label, probs[label].detach(),
                          iou(decoded[n].tolist(), true.tolist())))
    same(found, [torch.tensor(x) for x in zip(*truth)])


def test_proposals(mmdet_scope, monkeypatch):
    model = DETECTORS['faster_rcnn']().train()
    inputs, samples = images(model)
    head, seen = model.roi_head.bbox_head, {}
    loss = head.loss_and_target

    def spy(cls_score, bbox_pred, rois, sampling_results, *args, **kwargs):
        seen.update(scores=cls_score, boxes=bbox_pred, rois=rois,
                    samples=sampling_results)
        return loss(cls_score, bbox_pred, rois, sampling_results, *args,
                    **kwargs)

    monkeypatch.setattr(head, 'loss_and_target', spy)
    found = recorded(model, inputs, samples)
    rois = bbox2roi([s.priors for s in seen['samples']])
    torch.testing.assert_close(rois, seen['rois'])
    truth, start = [], 0
    for s in seen['samples']:
        for n in range(len(s.pos_priors)):
            row, label = start + n, int(s.pos_gt_labels[n])
            deltas = seen['boxes'][row].view(-1, 4)[label][None]
            box = head.bbox_coder.decode(rois[row:row + 1, 1:], deltas)[0]
            truth.append((label, seen['scores'][row].softmax(-1)[label]
                          .detach(), iou(box.tolist(),
                                         s.pos_gt_bboxes[n].tolist())))
        start += len(s.priors)
    same(found, [torch.tensor(x) for x in zip(*truth)])


def test_nothing_is_matched_where_nothing_is_labelled(mmdet_scope):
    for name in ('fcos', 'atss', 'retina'):
        model = DETECTORS[name]().train()
        inputs, samples = images(model)
        for s in samples:
            s.gt_instances = s.gt_instances[:0]
        numbers = []
        with MatchRecorder(model.bbox_head,
                           lambda *m, to=numbers: to.append(len(m[0]))):
            model.loss(inputs, samples)
        assert sum(numbers) == 0


def test_losses_and_gradients_stay(mmdet_scope):
    model = DETECTORS['fcos']().train()
    inputs, samples = images(model)
    plain = model.loss(inputs, samples)
    with MatchRecorder(model.bbox_head, lambda *match: None):
        watched = model.loss(inputs, samples)
    for name, value in plain.items():
        assert torch.equal(value, watched[name]) and value.requires_grad


def test_heads_that_cannot_be_read_are_named(mmdet_scope):
    with pytest.raises(ValueError, match='Identity has no modules loss_cls'):
        MatchRecorder(nn.Identity(), print)
    head = DETECTORS['fcos']().bbox_head
    head.loss_cls = nn.CosineSimilarity()
    with pytest.raises(ValueError, match='CosineSimilarity, the class loss '
                       'of FCOSHead, is not given logits'), \
            MatchRecorder(head, print):
        head.loss_cls(torch.ones(3, 3), torch.ones(3, 3))


def test_sums_of_classes():
    sums = class_sums(torch.tensor([2, 0, 2]), torch.tensor([.5, .25, 1]), 4)
    assert sums.tolist() == [[.25, 0, 1.5, 0], [1, 0, 2, 0]]
    assert class_sums(torch.zeros(0).long(), torch.zeros(0), 2).sum() == 0
