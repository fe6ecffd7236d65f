"""What influence could do if the labels were known: an experiment."""
from __future__ import annotations

import os.path as osp
from typing import Optional

import torch
from mmengine.structures import InstanceData
from torch import Tensor, nn
from torch.utils.data import Dataset

from mmal.registry import TASK_UTILS
from mmal.scoring.batch import Batch
from mmal.scoring.data import ScoringData, Split, build_dataset
from mmal.types import ImageId
from .influence_scorer import InfluenceScorer


@TASK_UTILS.register_module()
class OracleInfluenceScorer(InfluenceScorer):
    """Influence of each image with its true labels.

    For experiments on pools that are labelled throughout: it tells how far
    influence could come if pseudo-labels were perfect. It asks for labels
    that active learning is there to save.

    Args:
        ann_file (str): COCO json with the labels of the pool.
        **options: Of :class:`InfluenceScorer`.

    Raises:
        ValueError: There is no such file, or it lacks an image of the pool.
    """

    def __init__(self, ann_file: str, **options) -> None:
        super().__init__(**options)
        self.ann_file = osp.abspath(ann_file)
        self._labelled: Optional[Dataset] = None
        self._number: dict[ImageId, int] = {}

    def check(self, model: nn.Module, data: ScoringData) -> None:
        """See :meth:`InfluenceScorer.check`."""
        if not osp.isfile(self.ann_file):
            raise ValueError(
                f'active_learning.scorer.ann_file {self.ann_file} is no file: '
                'give the COCO json with the labels of the pool.')
        super().check(model, data)

    def prepare(self, model: nn.Module, data: ScoringData) -> None:
        """See :meth:`InfluenceScorer.prepare`; reads the labels."""
        split = dict(data.splits['unlabelled'].dataset,
                     ann_file=self.ann_file)
        self._labelled = build_dataset(Split(split, labels=True))
        self._number = {
            self._labelled.get_data_info(n)['img_id']: n
            for n in range(len(self._labelled))}
        missing = set(data.ids('unlabelled')).difference(self._number)
        if missing:
            raise ValueError(
                f'active_learning.scorer.ann_file {self.ann_file} lacks '
                f'{len(missing)} images of the pool, e.g. '
                f'{sorted(map(str, missing))[0]}.')
        super().prepare(model, data)

    def process(self, model: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """Scores and numbers of true boxes, both [B]."""
        labels = [self._labels(image, sample, batch.inputs)
                  for image, sample in zip(batch.ids, batch.samples)]
        with self.recorder:
            outputs = self.adapter.forward(batch)
            losses = self.adapter.image_losses(outputs, batch.samples, labels)
        rows = self._columns(losses)
        self.recorder.clear()
        return dict(rows, expected_boxes=rows['score'].new_tensor(
            [len(label) for label in labels]))

    def _labels(self, image: ImageId, sample, like: Tensor) -> InstanceData:
        """True labels in the coordinates of the network's input."""
        # of a dry run there are none
        number = self._number.get(image)
        instances = [] if number is None else [
            i for i in self._labelled.get_data_info(number)['instances']
            if not i['ignore_flag']]
        boxes = like.new_tensor([i['bbox'] for i in instances]).view(-1, 4)
        scale = like.new_tensor(sample.metainfo.get('scale_factor', (1., 1.)))
        return InstanceData(
            bboxes=boxes * scale.repeat(2),
            labels=torch.tensor([i['bbox_label'] for i in instances],
                                dtype=torch.long, device=like.device))
