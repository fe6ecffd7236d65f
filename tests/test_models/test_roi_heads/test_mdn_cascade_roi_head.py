"""Mixtures in Cascade R-CNN, and RoI heads that cannot have them."""
import os.path as osp

import mmdet
import numpy as np
import pytest
import torch
from helpers.pools import pool
from helpers.tiny import STRIDES, build_detector
from helpers.tiny_faster_rcnn import tiny_faster_rcnn_config
from mmengine.config import Config, ConfigDict
from mmengine.structures import InstanceData

CLASSES = 3
SIZE = (64, 96)
OURS = 'mmal.MDNCascadeRoIHead'
pytestmark = pytest.mark.usefixtures('mmdet_scope')


def shipped(name):
    """A config of mmdet, on the backbone, FPN and RPN of the tiny ones."""
    folder = osp.join(osp.dirname(mmdet.__file__), '.mim', 'configs')
    cfg = Config.fromfile(osp.join(folder, name)).model
    tiny = tiny_faster_rcnn_config(CLASSES)
    for part in ('data_preprocessor', 'backbone', 'neck', 'rpn_head'):
        cfg[part] = ConfigDict(tiny[part])
    roi = cfg.roi_head
    extractor = roi.bbox_roi_extractor
    extractor.out_channels = tiny['neck']['out_channels']
    extractor.featmap_strides = list(STRIDES)
    extractor.roi_layer.output_size = 5
    for part in (cfg.test_cfg.rpn, cfg.train_cfg.rpn_proposal):
        part.max_per_img = 30
    cfg.test_cfg.rcnn.update(score_thr=0.01, max_per_img=20)
    return cfg


def stage(plain, **head):
    """mmdet's box head, or the one with mixtures in its place."""
    sizes = dict(in_channels=16, fc_out_channels=32, roi_feat_size=5,
                 num_classes=CLASSES)
    return {**plain, **sizes, **head}


def mixtures(plain, cls=2, box=2, **head):
    cfg = stage(plain, type='mmal.MDNShared2FCBBoxHead', cls_components=cls,
                box_components=box, **head)
    for side, components in (('cls', cls), ('bbox', box)):
        if components:  # the losses of mixtures are the default
            cfg.pop(f'loss_{side}', None)
    return cfg


def cascade(kind=OURS, **head):
    cfg = shipped('cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py')
    cfg.roi_head.type = kind
    make = mixtures if head else stage
    cfg.roi_head.bbox_head = [
        ConfigDict(make(part, **head)) for part in cfg.roi_head.bbox_head]
    return build_detector(cfg, 0, widen)


@torch.no_grad()
def widen(model):
    heads = model.roi_head.bbox_head
    for head in heads if isinstance(heads, torch.nn.ModuleList) else [heads]:
        for layer in (head.fc_cls, head.fc_reg):
            layer.weight.normal_(std=0.3)
            layer.bias.normal_(std=0.3)


def samples_of(number=2, boxes=True):
    from mmdet.structures import DetDataSample
    samples = []
    for _ in range(number):
        sample = DetDataSample(metainfo=dict(
            img_shape=SIZE, ori_shape=SIZE, scale_factor=(1.0, 1.0),
            pad_shape=SIZE, batch_input_shape=SIZE))
        sample.gt_instances = InstanceData(
            bboxes=torch.tensor([[8., 8., 40., 40.], [50., 20., 90., 60.]]
                                )[:2 * boxes],
            labels=torch.tensor([0, 2])[:2 * boxes])
        samples.append(sample)
    return samples


def images(number=2):
    return torch.randn(number, 3, *SIZE, generator=torch.manual_seed(0))


def train(model, **kwargs):
    torch.manual_seed(0)
    losses = model.train().loss(images(), samples_of(**kwargs))
    return {name: sum(v) if isinstance(v, list) else v
            for name, v in losses.items()}


@torch.no_grad()
def detect(model):
    results = model.eval().predict(images(), samples_of())
    return [sample.pred_instances for sample in results]


@pytest.mark.parametrize('boxes', [True, False])
@pytest.mark.parametrize('agnostic', [True, False])
def test_mmdets_cascade_trains_with_mixtures(agnostic, boxes):
    model = cascade(cls=2, box=3, reg_class_agnostic=agnostic)
    losses = train(model, boxes=boxes)
    assert {f's{i}.loss_{side}' for i in range(3)
            for side in ('cls', 'bbox')} <= set(losses)
    total = sum(v for name, v in losses.items() if 'loss' in name)
    total.backward()
    for parameter in model.roi_head.parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all()


def test_training_lowers_the_losses():
    model = cascade(cls=2, box=2)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    history = []
    for _ in range(30):
        losses = train(model)
        total = sum(v for name, v in losses.items() if 'loss' in name)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        history.append(total.item())
    assert np.mean(history[-5:]) < 0.7 * np.mean(history[:5])


def test_without_components_it_is_mmdets():
    theirs, ours = cascade('CascadeRoIHead'), cascade(cls=0, box=0)
    ours.load_state_dict(theirs.state_dict())
    for name, value in train(theirs).items():
        assert torch.equal(train(ours)[name], value), name
    for a, b in zip(detect(theirs), detect(ours)):
        assert len(a) > 0
        for name in ('bboxes', 'scores', 'labels'):
            assert torch.equal(a[name], b[name])


def test_one_component_detects_what_mmdets_does():
    theirs, ours = cascade('CascadeRoIHead'), cascade(cls=1, box=1)
    state = ours.state_dict()
    for name, value in theirs.state_dict().items():
        if state[name].shape != value.shape:
            # the means come first
            value = torch.cat([value, state[name][len(value):]])
        state[name] = value
    ours.load_state_dict(state)
    for a, b in zip(detect(theirs), detect(ours)):
        assert len(a) == len(b) > 0
        for name in ('bboxes', 'scores', 'labels'):
            torch.testing.assert_close(a[name], b[name])


def mixed(raw, components):
    """[C + 1] probabilities of raw class outputs, by a loop."""
    weights = raw[-components:].softmax(0)
    logits = raw[:components * (CLASSES + 1)].view(components, -1)
    return sum(w * z.softmax(0) for w, z in zip(weights, logits))


def moments(raw, components):
    """Mean, aleatoric and epistemic [4] of raw box outputs, by loops."""
    means, variances, weights = raw.view(3, components, 4)
    weights, variances = weights.softmax(0), variances.sigmoid()
    mean = sum(w * m for w, m in zip(weights, means))
    return (mean, sum(w * v for w, v in zip(weights, variances)),
            sum(w * (m - mean)**2 for w, m in zip(weights, means)))


def test_its_uncertainties_are_scored(tmp_path):
    from mmal.scoring import MixtureUncertaintyScorer, score_pool
    model = cascade(cls=2, box=2).eval()
    scorer = MixtureUncertaintyScorer(score_thr=0.05)
    images_of = pool(tmp_path)
    scorer.check(model, images_of)
    scores = score_pool(model, scorer, images_of)
    assert np.isfinite(scores.values).any()
    assert {f'{side}_{kind}_max' for side in ('box', 'cls')
            for kind in ('aleatoric', 'epistemic')} <= set(scores.columns)


@torch.no_grad()
def test_stages_by_hand():
    """Proposal by proposal; one image of three has none."""
    model = cascade(cls=2, box=2).eval()
    roi = model.roi_head
    feats = model.extract_feat(images(3))
    corner = torch.rand(9, 2, generator=torch.manual_seed(2)) * 40
    boxes = torch.cat([corner, corner + 24], 1)
    proposals = [InstanceData(bboxes=b) for b in boxes.split([5, 0, 4])]
    found = roi.predict(feats, proposals, samples_of(3))
    assert [len(f) > 0 for f in found] == [True, False, True]
    for image, (detections, rois) in enumerate(zip(found, proposals)):
        rows = []
        for box in rois.bboxes[:, None]:
            logs = []
            for number, head in enumerate(roi.bbox_head):
                rows_of = torch.cat([torch.full((1, 1), image), box], 1)
                raw = head(roi.bbox_roi_extractor[number](feats, rows_of))
                cls, reg = (part[0].double() for part in raw)
                logs.append(mixed(cls, 2).log())
                mean, aleatoric, epistemic = moments(reg, 2)
                box = head.bbox_coder.decode(
                    box, mean[None].float(), max_shape=SIZE)
            probs = (sum(logs) / 3).softmax(0)
            rows.append((probs, box[0], aleatoric, epistemic, cls))
        for one in detections:
            label = one.labels.item()
            probs, box, aleatoric, epistemic, cls = min(
                rows, key=lambda r: abs(r[0][label] - one.scores.item()))
            last = [z.softmax(0)[label] for z in cls[:8].view(2, 4)]
            weights = cls[-2:].softmax(0)
            mean = weights @ torch.stack(last)
            expected = dict(
                scores=probs[label], class_probs=probs, bboxes=box,
                box_aleatoric=aleatoric, box_epistemic=epistemic,
                cls_epistemic=sum(
                    w * (p - mean)**2 for w, p in zip(weights, last)),
                cls_aleatoric=weights @ cls[8:16].sigmoid().view(2, 4)[
                    :, label])
            for name, value in expected.items():
                np.testing.assert_allclose(
                    one[name][0], value, rtol=1e-3, atol=1e-4, err_msg=name)
        assert detections.box_std.shape == detections.bboxes.shape \
            if len(rois) else True


def test_mmdets_cascade_refuses_mixtures_in_the_first_step():
    model = cascade('CascadeRoIHead', cls=2, box=2)
    for step in (train, detect):
        with pytest.raises(ValueError, match=OURS):
            step(model)


def test_hybrid_task_cascade_refuses_mixtures_in_the_first_step():
    cfg = shipped('htc/htc-without-semantic_r50_fpn_1x_coco.py')
    cfg.roi_head.bbox_head = [
        ConfigDict(mixtures(part)) for part in cfg.roi_head.bbox_head]
    cfg.roi_head.mask_roi_extractor.out_channels = 16
    model = build_detector(cfg, 0)
    for step in (train, detect):
        with pytest.raises(ValueError, match=OURS):
            step(model)


def test_a_stage_of_another_type_is_refused_when_built():
    with pytest.raises(ValueError, match=r'bbox_head\[0\].type is Shared2FC'):
        cascade()


def test_pisa_refuses_mixtures_in_the_first_step():
    cfg = shipped('pisa/faster-rcnn_r50_fpn_pisa_1x_coco.py')
    cfg.roi_head.bbox_head = ConfigDict(mixtures(cfg.roi_head.bbox_head))
    with pytest.raises(ValueError, match='asks for the loss of classes alone'):
        train(build_detector(cfg, 0))


def test_dynamic_rcnn_refuses_mixtures_when_built():
    """Its smooth L1 loss changes while it is trained."""
    cfg = shipped('dynamic_rcnn/dynamic-rcnn_r50_fpn_1x_coco.py')
    cfg.roi_head.bbox_head = ConfigDict(mixtures(cfg.roi_head.bbox_head))
    with pytest.raises(AssertionError):
        build_detector(cfg, 0)


def test_double_head_refuses_mixtures_in_the_first_step():
    cfg = ConfigDict(tiny_faster_rcnn_config(
        CLASSES, type='mmal.MDNShared2FCBBoxHead'))
    cfg.roi_head.update(type='DoubleHeadRoIHead', reg_roi_scale_factor=1.3)
    with pytest.raises(ValueError, match='gives it 2'):
        train(build_detector(cfg, 0))
