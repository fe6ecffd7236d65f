"""Test-time augmentation that keeps uncertainties."""
from __future__ import annotations

from typing import Optional

import torch
from mmcv.ops import batched_nms
from mmdet.models.task_modules.coders import DistancePointBBoxCoder
from mmdet.models.test_time_augs import DetTTAModel as _DetTTAModel
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData

from mmal.registry import MODELS
from .merge_views import merge_views, unflip


@MODELS.register_module()
class DetTTAModel(_DetTTAModel):
    """mmdet's ``DetTTAModel``, which merges all fields of detections.

    mmdet keeps boxes, scores and labels of what is left after NMS over all
    views. Here the detections of an object in all views, flipped and resized,
    give its moments: see :func:`~.merge_views.merge_views`. Which detections
    are left, their order, scores and labels are mmdet's.

    Args:
        tta_cfg (dict): ``nms``, of type 'nms', and ``max_per_img``.
        mean_boxes (bool): Boxes are means over the views, weighted by score.
            False: mmdet's boxes, those with the highest score.
        **kwargs: See mmengine's ``BaseTTAModel``.

    Raises:
        ValueError: If ``tta_cfg`` has another NMS, whose detections drop no
            others.

    Example:
        >>> tta_model = dict(
        ...     type='mmal.DetTTAModel',
        ...     tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.5),
        ...                  max_per_img=100))
    """

    def __init__(self,
                 tta_cfg: Optional[dict] = None,
                 mean_boxes: bool = True,
                 **kwargs) -> None:
        super().__init__(tta_cfg=tta_cfg, **kwargs)
        nms = (tta_cfg or {}).get('nms') or {}
        if nms.get('type') != 'nms' or 'iou_threshold' not in nms:
            raise ValueError(
                f'tta_model.tta_cfg.nms is {nms or None}: set it to '
                "dict(type='nms', iou_threshold=0.5), which says which "
                'detections are of one object.')
        self.mean_boxes = mean_boxes

    def _merge_single_sample(
            self, data_samples: list[DetDataSample]) -> DetDataSample:
        """One prediction of the views of one image.

        Args:
            data_samples (list[DetDataSample]): One for each view, with
                ``pred_instances`` in pixels of the original image.

        Returns:
            DetDataSample: The first view that is not flipped, whose labels,
            if it has some, are those of the image, with all predictions.
        """
        sides = self._predicts_sides()
        views, numbers = [], []
        for number, sample in enumerate(data_samples):
            found = sample.pred_instances
            if 'masks' in found:
                raise ValueError('test-time augmentation cannot merge masks: '
                                 'test without --tta.')
            # a head may give fewer fields where nothing is detected
            if len(found):
                if sample.metainfo.get('flip'):
                    found = unflip(found, sample.ori_shape,
                                   sample.flip_direction, sides)
                views.append(found)
                numbers.append(found.labels.new_full((len(found), ), number))
        result = next((s for s in data_samples if not s.metainfo.get('flip')),
                      data_samples[0])
        if not views:
            return result
        every = InstanceData.cat(views)
        nms = self.tta_cfg['nms']
        kept = batched_nms(every.bboxes, every.scores, every.labels, nms)[1]
        merged = merge_views(every, torch.cat(numbers), kept,
                             nms['iou_threshold'], sides, self.mean_boxes)
        result.pred_instances = merged[:self.tta_cfg['max_per_img']]
        return result

    def _predicts_sides(self) -> bool:
        """Whether the detector's head predicts distances to sides."""
        head = getattr(self.module, 'bbox_head', None)
        return isinstance(
            getattr(head, 'bbox_coder', None), DistancePointBBoxCoder)
