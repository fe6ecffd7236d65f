"""Pictures of detections beside what their detector is unsure of."""
from __future__ import annotations

from functools import partial
from typing import Optional

import mmcv
from mmdet.apis import inference_detector
from mmengine.config import Config
from mmengine.structures import InstanceData
from torch import nn

from mmal.scoring.dense.bald_scorer import check_branch
from mmal.visualization.detection_labels import draw_labelled
from mmal.visualization.heat_map import draw_heat_map
from .plain_training import plain_config
from .score_maps import ScoreMaps


class UncertaintyMaps(ScoreMaps):
    """Draws detections and, beside them, the BALD of the anchors.

    "Loss Rescaling by Uncertainty Inference for Single-stage Object
    Detection", visualised results. Of the anchors of a position the largest
    value counts, and of the levels, each enlarged to the image, too.

    Args:
        cfg (Config): An mmdet config; ``active_learning`` is not read.
        model (nn.Module): The trained detector in eval mode, with its
            ``dataset_meta`` and a Bayesian branch.
        score_thr (float): Detections above it are drawn, in [0, 1].
        class_name (str, optional): Draw the BALD of this class alone, of
            heads whose branch predicts classes.

    Raises:
        ValueError: If the detector has no such branch, or a setting is wrong.
    """

    def __init__(self,
                 cfg: Config,
                 model: nn.Module,
                 score_thr: float = 0.3,
                 class_name: Optional[str] = None) -> None:
        if not 0 <= score_thr <= 1:
            raise ValueError(f'--score-thr is {score_thr}: give a score from '
                             '0 to 1.')
        check_branch(model)
        super().__init__(plain_config(cfg), model, 'mmal.BALDScorer',
                         class_name=class_name)
        self.score_thr = score_thr

    def picture(self, path: str, vmax: Optional[float] = None) -> bytes:
        """The png of an image file, see :meth:`draw`."""
        image = mmcv.imread(path, channel_order='rgb')
        annotate = partial(
            draw_labelled,
            detections=self.detections(path),
            classes=self.model.dataset_meta['classes'],
            image_size=image.shape[:2])
        return draw_heat_map(image, self.map_of(path), self.label, vmax,
                             annotate)

    def detections(self, path: str) -> InstanceData:
        """Detections in an image file above the score; in its pixels."""
        detections = inference_detector(self.model, path).pred_instances
        return detections[detections.scores > self.score_thr]
