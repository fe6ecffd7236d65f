"""A classifier that reads the samples of a detector's data set."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Optional, Union

import torch
from mmdet.structures import DetDataSample
from mmengine.model import BaseModel
from mmengine.structures import InstanceData
from torch import Tensor

from mmal.registry import MODELS

_MODES = ('loss', 'predict', 'tensor')


@MODELS.register_module()
class ImageClassifier(BaseModel):
    """A backbone and a head that gives each image one class.

    An image's class is the label of its only box, whose place does not
    matter; so a classification pool is a COCO file as well. A prediction is a
    box around the image.

    Args:
        backbone (dict): Config of a backbone of mmdet or of this package.
        cls_head (dict): Config of a head, e.g. ``mmal.LinearClsHead``.
        data_preprocessor (dict, optional): Of mmdet's
            ``DetDataPreprocessor``.
        input_size (int): Side of an image in pixels, to try the model with;
            others work too.
        init_cfg (dict | list, optional): As any mmengine module's.
    """

    def __init__(self,
                 backbone: dict,
                 cls_head: dict,
                 data_preprocessor: Optional[dict] = None,
                 input_size: int = 32,
                 init_cfg: Optional[Union[dict, list]] = None) -> None:
        super().__init__(
            data_preprocessor=data_preprocessor, init_cfg=init_cfg)
        self.input_size = input_size
        self.backbone = MODELS.build(backbone)
        self.cls_head = MODELS.build(cls_head)

    def forward(self,
                inputs: Tensor,
                data_samples: Optional[list[DetDataSample]] = None,
                mode: str = 'tensor') -> Union[dict, list, Tensor]:
        """What mmengine's loops call.

        Args:
            inputs (Tensor): [B, 3, H, W].
            data_samples (list[DetDataSample], optional): B samples, for
                'loss' and 'predict'.
            mode (str): 'loss' gives :meth:`loss`, 'predict'
                :meth:`predict`, 'tensor' the logits [B, C].

        Raises:
            ValueError: If the mode is another.
        """
        if mode not in _MODES:
            raise ValueError(f'mode is {mode!r}: choose one of '
                             f'{", ".join(map(repr, _MODES))}.')
        if mode == 'tensor':
            return self.logits(inputs)
        return getattr(self, mode)(inputs, data_samples)

    def extract_feat(self, inputs: Tensor) -> Sequence[Tensor]:
        """The maps of the backbone."""
        return self.backbone(inputs)

    def logits(self, inputs: Tensor) -> Tensor:
        """[B, C] of images [B, 3, H, W]."""
        return self.cls_head(self.extract_feat(inputs))

    def loss(self, inputs: Tensor, data_samples: list) -> dict:
        """Loss terms.

        Raises:
            ValueError: If an image has not exactly one label.
        """
        return self.cls_head.loss(
            self.extract_feat(inputs), labels_of(data_samples))

    def predict(self, inputs: Tensor, data_samples: list) -> list:
        """Add ``pred_instances`` to the samples.

        Each has one box, the whole image as it was loaded, with ``labels``
        [1], ``scores`` [1] and ``class_probs`` [1, C].
        """
        probs = self.cls_head.probabilities(self.logits(inputs).float())
        scores, labels = probs.max(1, keepdim=True)
        for i, sample in enumerate(data_samples):
            # a sample need not say its size: the class is all that counts
            height, width = sample.metainfo.get('ori_shape', (0, 0))[:2]
            sample.pred_instances = InstanceData(
                bboxes=probs.new_tensor([[0, 0, width, height]]),
                labels=labels[i],
                scores=scores[i],
                class_probs=probs[i:i + 1])
        return data_samples


def labels_of(samples: Sequence[DetDataSample]) -> Tensor:
    """The class of each image.

    Args:
        samples (sequence[DetDataSample]): B samples with ``gt_instances``.

    Returns:
        Tensor: int64 [B].

    Raises:
        ValueError: If an image has no label or several.
    """
    return single_labels([s.gt_instances for s in samples],
                         [s.metainfo.get('img_id') for s in samples])


def single_labels(instances: Sequence[InstanceData],
                  names: Sequence) -> Tensor:
    """The only label of each image, int64 [B]; names are for the message."""
    for image, name in zip(instances, names):
        if len(image) != 1:
            raise ValueError(
                f'image {name} has {len(image)} labels, but a classifier '
                'needs exactly one: correct its annotations in the COCO file.')
    return torch.cat([image.labels for image in instances])
