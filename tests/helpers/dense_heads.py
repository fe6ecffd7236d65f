"""A detector of a head alone, and heads small enough for loops."""
import torch
from mmdet.models.detectors import SingleStageDetector
from mmdet.registry import MODELS
from mmengine.config import ConfigDict
from torch import nn

CHANNELS = 8
ANCHORS = dict(
    type='AnchorGenerator', octave_base_scale=4, scales_per_octave=2,
    ratios=[0.5, 1.0], strides=[8, 16])
ONE_ANCHOR = dict(
    type='AnchorGenerator', octave_base_scale=8, scales_per_octave=1,
    ratios=[1.0], strides=[8, 16])
PLAIN = dict(
    num_classes=3, in_channels=CHANNELS, feat_channels=CHANNELS,
    stacked_convs=1)
TEST_CFG = dict(
    nms_pre=100, min_bbox_size=0, score_thr=0.05, max_per_img=20,
    nms=dict(type='nms', iou_threshold=0.5))

HEADS = dict(
    retina=dict(PLAIN, type='RetinaHead', anchor_generator=ANCHORS),
    retina_softmax=dict(
        PLAIN, type='RetinaHead', anchor_generator=ANCHORS,
        loss_cls=dict(type='CrossEntropyLoss')),
    fcos=dict(
        PLAIN, type='FCOSHead', strides=(8, 16),
        regress_ranges=((-1, 32), (32, 1e8)), norm_cfg=None),
    atss=dict(
        PLAIN, type='ATSSHead', anchor_generator=ONE_ANCHOR,
        norm_cfg=dict(type='GN', num_groups=2)),
    ssd=dict(
        type='SSDHead', num_classes=3, in_channels=(CHANNELS, CHANNELS),
        anchor_generator=dict(
            type='SSDAnchorGenerator', scale_major=False, strides=[8, 16],
            min_sizes=[12, 20], max_sizes=[20, 40], ratios=[[2], [2, 3]])),
    yolov3=dict(
        type='YOLOV3Head', num_classes=3, in_channels=(CHANNELS, CHANNELS),
        out_channels=(CHANNELS, CHANNELS), featmap_strides=(8, 16),
        anchor_generator=dict(
            type='YOLOAnchorGenerator', strides=[8, 16],
            base_sizes=[[(8, 12), (16, 9)], [(30, 40), (50, 20)]])),
    yolox=dict(PLAIN, type='YOLOXHead', strides=(8, 16)))


class HeadAlone(SingleStageDetector):
    """Its images are the features of the first level."""

    def __init__(self, head: nn.Module) -> None:
        nn.Module.__init__(self)
        self.bbox_head = head

    def extract_feat(self, inputs):
        return inputs, inputs[:, :, ::2, ::2]


def detector(name: str, seed: int = 0, **head) -> HeadAlone:
    """A detector in eval mode whose outputs differ between positions."""
    torch.manual_seed(seed)
    cfg = ConfigDict({**HEADS[name], **head}, test_cfg=TEST_CFG,
                     _scope_='mmdet')
    model = HeadAlone(MODELS.build(cfg))
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.normal_(module.weight, std=0.3)
    return model.eval()


def features(batch: int = 2, seed: int = 1) -> torch.Tensor:
    """Images for :class:`HeadAlone`."""
    return torch.randn(batch, CHANNELS, 4, 6,
                       generator=torch.Generator().manual_seed(seed))


def by_hand(name: str, model: HeadAlone, outputs) -> torch.Tensor:
    """[B, P, C] with the background of softmax heads, by loops."""
    images = []
    for b in range(len(outputs[0][0])):
        positions = []
        for level in range(2):
            maps = [output[level][b] for output in outputs]
            for y in range(maps[0].shape[1]):
                for x in range(maps[0].shape[2]):
                    positions += _at(name, model, [m[:, y, x] for m in maps])
        images.append(torch.stack(positions))
    return torch.stack(images)


def _at(name, model, values):
    if name == 'yolov3':
        return [v[4].sigmoid() * v[5:].sigmoid()
                for v in values[0].split(5 + 3)]
    if name == 'yolox':
        return [values[0].sigmoid() * values[2].sigmoid()]
    softmax = name in ('ssd', 'retina_softmax')
    return [v.softmax(0) if softmax else v.sigmoid()
            for v in values[0].split(3 + softmax)]
