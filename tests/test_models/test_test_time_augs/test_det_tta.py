"""Views of one image through the model that merges them."""
import copy

import pytest
import torch
from helpers.tiny_mdn_fcos import tiny_mdn_fcos
from helpers.tiny_ssd import tiny_mdn_ssd
from helpers.views import detections
from mmcv.ops import batched_nms
from mmdet.models.test_time_augs import DetTTAModel as MMDetsModel
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import nn

from mmal.models import DetTTAModel
from mmal.models.test_time_augs import merge_views, unflip
from mmal.registry import MODELS

SHAPE = (80, 100)
TTA = ConfigDict(nms=dict(type='nms', iou_threshold=.5), max_per_img=5)
pytestmark = pytest.mark.usefixtures('mmdet_scope')


class Recorded(nn.Module):
    """A detector that gives what it is given."""

    def test_step(self, data):
        return data['samples']


def sample(instances, direction=None):
    return DetDataSample(
        metainfo=dict(ori_shape=SHAPE, flip=direction is not None,
                      flip_direction=direction, img_id=1),
        pred_instances=instances)


def mirrored(found):
    """As a horizontally flipped view gives it, by loops."""
    flipped = copy.deepcopy(found)
    for i, (x1, y1, x2, y2) in enumerate(found.bboxes.tolist()):
        flipped.bboxes[i] = torch.tensor(
            [SHAPE[1] - x2, y1, SHAPE[1] - x1, y2])
        flipped.box_std[i] = found.box_std[i][[2, 1, 0, 3]]
    return flipped


def build(module, **kwargs):
    return MODELS.build(dict(type='mmal.DetTTAModel', module=module,
                             tta_cfg=TTA, **kwargs))


def views(seed=0):
    found, _ = detections(seed)
    # the flipped one first, as mmdet's own --tta has it
    return [sample(mirrored(found), 'horizontal'), sample(found)]


def test_what_is_left_is_mmdets():
    ours = build(Recorded(), mean_boxes=False)
    theirs = MMDetsModel(module=Recorded(), tta_cfg=TTA)
    found, expected = (m.merge_preds([views(), views(1)])
                       for m in (ours, theirs))
    for a, b in zip(found, expected):
        for name in ('bboxes', 'scores', 'labels'):
            torch.testing.assert_close(a.pred_instances[name],
                                       b.pred_instances[name])
        assert len(a.pred_instances) == 5


def test_a_mirror_image_tells_nothing_new():
    """Both views agree, so the moments are those of one."""
    found, _ = detections(0)
    merged = build(Recorded()).merge_preds([views()])[0]
    assert merged.flip is False  # its truth, if any, lies as the boxes do
    for one in merged.pred_instances:
        row = (found.scores - one.scores).abs().argmin()
        for name in found.keys():
            torch.testing.assert_close(one[name][0], found[name][row],
                                       rtol=1e-4, atol=1e-4)


def test_views_without_detections():
    full, _ = detections(0)
    empty = InstanceData(bboxes=torch.zeros(0, 4), scores=torch.zeros(0),
                         labels=torch.zeros(0).long())
    model = build(Recorded())
    alone = model.merge_preds([[sample(full)]])[0].pred_instances
    some = model.merge_preds([[sample(empty), sample(full)]])[0].pred_instances
    none = model.merge_preds([[sample(empty)] * 2])[0].pred_instances
    assert len(none) == 0 and len(some) == len(alone) == 5
    for name in alone.keys():
        assert torch.equal(some[name], alone[name])


@pytest.mark.parametrize('make, sides', [(tiny_mdn_ssd, False),
                                         (tiny_mdn_fcos, True)])
def test_views_of_a_detector(make, sides):
    """Whether a head predicts sides is known; else it is merge_views."""
    model = make().eval()
    image = torch.randint(0, 255, (3, 96, 96), dtype=torch.uint8,
                          generator=torch.manual_seed(0))
    views = [dict(
        inputs=[image.flip(-1) if flip else image],
        data_samples=[DetDataSample(metainfo=dict(
            ori_shape=(96, 96), img_shape=(96, 96), scale_factor=(1.0, 1.0),
            flip=flip, flip_direction='horizontal' if flip else None))])
        for flip in (False, True)]
    with torch.no_grad():
        merged = build(model).test_step({
            key: [view[key] for view in views] for key in views[0]})
        alone = [model.test_step(view)[0].pred_instances for view in views]
    alone[1] = unflip(alone[1], (96, 96), 'horizontal', sides)
    every = InstanceData.cat(alone)
    kept = batched_nms(every.bboxes, every.scores, every.labels, TTA.nms)[1]
    view = torch.arange(2).repeat_interleave(torch.tensor(list(map(
        len, alone))))
    expected = merge_views(every, view, kept, .5, sides)[:5]
    assert len(expected) > 0 and 'box_std' in expected
    for name, value in expected.items():
        assert torch.equal(merged[0].pred_instances[name], value)


@pytest.mark.parametrize('nms', [None, dict(type='soft_nms',
                                            iou_threshold=.5)])
def test_another_nms_is_refused(nms):
    with pytest.raises(ValueError, match='tta_model.tta_cfg.nms'):
        DetTTAModel(module=Recorded(), tta_cfg=dict(nms=nms))


def test_masks_are_refused():
    found, _ = detections(0)
    found.masks = torch.zeros(len(found), 2, 2)
    with pytest.raises(ValueError, match='masks'):
        build(Recorded()).merge_preds([[sample(found)]])
