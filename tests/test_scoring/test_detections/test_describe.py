"""Class probabilities and features of detections, looked for one by one."""
import numpy as np
import pytest
import torch
from helpers.detectors import DETECTORS
from helpers.pools import partly_labelled_pool, pool
from mmengine.structures import InstanceData
from torch import nn

from mmal.models.utils.detection_sources import detection_sources
from mmal.recorder import Recorder
from mmal.scoring import (
    ClassBalanceScorer,
    ConsistencyScorer,
    DifficultyCalibratedScorer,
    EntropyNMSScorer,
    FlipInconsistencyScorer,
    LogisticUncertaintyScorer,
    score_pool,
)
from mmal.scoring.dense.probabilities import class_probabilities
from mmal.scoring.detections.describe import (
    assigned_boxes,
    check_described,
    describe,
    feature_layers,
)
from mmal.scoring.detections.predict import detect
from mmal.scoring.detector import class_boxes, predictions

ONE_STAGE = ['fcos', 'atss', 'retina', 'retina_softmax']


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """Images are written once."""
    return tmp_path_factory.mktemp('data')


def batches(model, root):
    return pool(root, 2).batches('unlabelled', model)


@pytest.mark.parametrize('name', [*ONE_STAGE, 'ssd', 'faster_rcnn'])
def test_detections_are_those_of_the_model(root, mmdet_scope, name):
    model, total = DETECTORS[name](), 0
    check_described(model)
    before = set(vars(getattr(model, 'bbox_head', model)))
    for batch in batches(model, root):
        for ours, plain in zip(describe(model, batch), detect(model, batch)):
            for key in ('bboxes', 'scores', 'labels'):
                torch.testing.assert_close(ours[key], plain[key])
            total += len(ours)
            best = ours.class_probs.gather(1, ours.labels[:, None])[:, 0]
            # centerness makes scores smaller
            assert (best >= ours.scores - 1e-6).all()
            if name not in ('fcos', 'atss'):
                torch.testing.assert_close(best, ours.scores)
    assert total > 20
    assert set(vars(getattr(model, 'bbox_head', model))) == before


@pytest.mark.parametrize('name', ONE_STAGE)
def test_sources_are_the_positions(root, mmdet_scope, name):
    """Decoding all positions finds the boxes at their sources."""
    model, total = DETECTORS[name](), 0
    head = model.bbox_head
    for batch in batches(model, root):
        with torch.no_grad():
            outputs = head(model.extract_feat(batch.inputs))
        with detection_sources(head):
            found = predictions(model, outputs, batch.samples)
        probs = class_probabilities(model, outputs)
        priors = torch.cat(head.prior_generator.grid_priors(
            [x.shape[-2:] for x in outputs[0]], device='cpu'))
        deltas = torch.cat([x.permute(0, 2, 3, 1).reshape(len(x), -1, 4)
                            for x in outputs[1]], 1)
        for image, d in enumerate(found):
            boxes = head.bbox_coder.decode(
                priors, deltas[image],
                max_shape=batch.samples[image].img_shape)
            torch.testing.assert_close(boxes[d.source], d.bboxes)
            own = probs[image, d.source, d.labels]
            assert (own >= d.scores - 1e-6).all()
            total += len(d)
    assert total > 20


@pytest.mark.parametrize('name', [*ONE_STAGE, 'faster_rcnn'])
def test_features_give_the_class_probabilities(root, mmdet_scope, name):
    """The class layer turns each feature into the detection's own row."""
    model = DETECTORS[name]()
    layers = feature_layers(model)
    head = getattr(model, 'roi_head', model).bbox_head
    layer = head.get_submodule(layers[0])
    if isinstance(layer, nn.Conv2d):
        # The middle of the kernel sees the feature alone.
        with torch.no_grad():
            middle = layer.weight[..., 1:2, 1:2].clone()
            layer.weight.zero_()
            layer.weight[..., 1:2, 1:2] = middle
            layer.bias += 1
    total = 0
    for batch in batches(model, root):
        for d in describe(model, batch, layers):
            x = d.features
            assert x.dtype == torch.float32 and len(x) == len(d)
            if isinstance(layer, nn.Linear):
                logits = layer(x)
            else:
                logits = layer(x[..., None, None].expand(
                    -1, -1, 3, 3))[..., 1, 1]
            logits = logits.unflatten(1, (-1, d.class_probs.size(1)))
            probs = logits.softmax(-1) if name in (
                'retina_softmax', 'faster_rcnn') else logits.sigmoid()
            # one of the anchors of the cell is the detection's
            error = (probs - d.class_probs[:, None]).abs().amax(-1).amin(1)
            assert (error < 1e-4).all()
            total += len(d)
    assert total > 20


def iou(a, b):
    width, height = (min(a[k + 2], b[k + 2]) - max(a[k], b[k])
                     for k in (0, 1))
    shared = max(width, 0) * max(height, 0)
    areas = sum((x[2] - x[0]) * (x[3] - x[1]) for x in (a, b))
    return shared / (areas - shared) if shared else 0.


@pytest.mark.parametrize('name', [*ONE_STAGE, 'ssd', 'mdn_fcos',
                                  'faster_rcnn'])
def test_candidates_are_the_boxes_before_nms(root, mmdet_scope, name):
    """NMS that drops nothing gives all boxes, to be assigned in loops."""
    model, thr, most = DETECTORS[name](), .5, 0
    cfg = model.roi_head.test_cfg if name == 'faster_rcnn' else \
        model.bbox_head.test_cfg
    nms, limit = dict(cfg.nms), cfg.max_per_img
    for batch in batches(model, root):
        ours = describe(model, batch, candidate_iou=thr)
        cfg.nms, cfg.max_per_img = dict(nms, iou_threshold=1.), 10**6
        before = detect(model, batch)
        cfg.nms, cfg.max_per_img = nms, limit
        for d, every in zip(ours, before):
            counts = [0] * len(d)
            for box, label in zip(every.bboxes.tolist(),
                                  every.labels.tolist()):
                overlaps = [iou(box, own) if label == c else 0
                            for own, c in zip(d.bboxes.tolist(),
                                              d.labels.tolist())]
                best = max(range(len(d)), key=overlaps.__getitem__)
                counts[best] += overlaps[best] >= thr
            assert d.candidates.tolist() == counts
            most = max(most, *counts)
    assert most > 1


def test_of_equal_detections_the_first_has_the_box():
    boxes = torch.tensor([[0., 0, 4, 4], [2, 0, 6, 4], [0, 0, 4, 4]])
    found = InstanceData(bboxes=boxes, labels=torch.tensor([0, 0, 1]))
    between, outside = [1., 0, 5, 4], [4., 0, 8, 4]
    counts = assigned_boxes(found, torch.tensor([between, between, outside]),
                            torch.tensor([0, 1, 0]), .5)
    assert counts.tolist() == [1, 0, 1]
    assert assigned_boxes(found, boxes[:0], torch.zeros(0).long(),
                          .5).tolist() == [0, 0, 0]
    assert len(assigned_boxes(found[:0], boxes, found.labels, .5)) == 0


@pytest.mark.parametrize('kind', [
    ClassBalanceScorer, ConsistencyScorer, DifficultyCalibratedScorer,
    EntropyNMSScorer, FlipInconsistencyScorer, LogisticUncertaintyScorer])
def test_scorers_tell_the_boxes_of_classes(root, mmdet_scope, kind):
    model = DETECTORS['fcos']()
    found = score_pool(model, kind(score_thr=.3),
                       partly_labelled_pool(root))
    truth, data = {}, pool(root)
    for batch in data.batches('unlabelled', model):
        truth.update(zip(batch.ids, class_boxes(detect(model, batch), 3)))
    np.testing.assert_allclose(
        found.columns['class_boxes'],
        torch.stack([truth[i] for i in found.ids]), rtol=1e-3)


def test_one_forward_pass(root, mmdet_scope):
    for name in ('fcos', 'faster_rcnn'):
        model = DETECTORS[name]()
        layers = feature_layers(model)
        batch = next(iter(batches(model, root)))
        with Recorder({'backbone': model.backbone}) as recorder:
            describe(model, batch, layers)
        assert len(recorder.calls) == 1


@pytest.mark.parametrize('name', ['fcos', 'retina', 'faster_rcnn'])
def test_nothing_detected(root, mmdet_scope, name):
    model = DETECTORS[name]()
    getattr(model, 'roi_head', model).test_cfg.score_thr = 1.0
    if name != 'faster_rcnn':
        model.bbox_head.test_cfg.score_thr = 1.0
    layers = feature_layers(model)
    for batch in batches(model, root):
        for d in describe(model, batch, layers, .5):
            assert len(d.class_probs) == len(d.features) == 0
            assert len(d.candidates) == 0
            assert d.class_probs.shape[1] >= 3


@pytest.mark.parametrize('left', [0, 1])
def test_an_image_without_proposals(root, mmdet_scope, monkeypatch, left):
    """Alone and beside an image with some."""
    model = DETECTORS['faster_rcnn']()
    predict = model.rpn_head.predict
    monkeypatch.setattr(model.rpn_head, 'predict', lambda *args, **kwargs: [
        p if n < left else p[:0]
        for n, p in enumerate(predict(*args, **kwargs))])
    for batch in batches(model, root):
        found = describe(model, batch, ('fc_cls', ), .5)
        assert all(len(d.candidates) == len(d) for d in found)
        assert not any(len(d) for d in found[left:])
        assert all(d.class_probs.shape[1] == 4 for d in found)


def test_methods_come_back_after_an_error(mmdet_scope):
    head = DETECTORS['fcos']().bbox_head
    with pytest.raises(KeyError), detection_sources(head):
        raise KeyError
    assert '_predict_by_feat_single' not in vars(head)


@pytest.mark.parametrize('name', ['yolox', 'yolov3', 'detr'])
def test_other_heads_are_refused(mmdet_scope, name):
    with pytest.raises(ValueError, match='does not know how to of'):
        check_described(DETECTORS[name]())


def test_features_of_several_widths_are_refused(mmdet_scope):
    model = DETECTORS['ssd']()
    with pytest.raises(ValueError, match='use a detector with an FPN'):
        feature_layers(model)
