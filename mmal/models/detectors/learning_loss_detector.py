"""A single-stage detector that learns to predict its own loss."""
from typing import Optional, Union

import torch
from mmdet.models.detectors import SingleStageDetector
from torch import Tensor

from mmal.compat.losses import local_losses
from mmal.models.utils.random_state import preserve_rng_state
from mmal.recorder import Recorder
from mmal.registry import MODELS
from ..utils import image_losses

FEATURES = ('neck', 'backbone')


@MODELS.register_module()
class LearningLossDetector(SingleStageDetector):
    """Any single-stage detector of mmdet with a loss prediction head (LLAL).

    Yoo & Kweon, "Learning Loss for Active Learning", CVPR 2019. A config of a
    plain detector is extended by its type alone::

        model = dict(type='mmal.LearningLossDetector')

    Classes such as FCOS, RetinaNet or ATSS are SingleStageDetector by another
    name. Those with a ``loss`` of their own (LAD, knowledge distillation,
    CondInst, …) would lose it here.

    Detections and the detector's own losses are those of the plain detector;
    so are its weights for the same seed, as long as ``loss_head.detach`` is
    True and gradients are not clipped by their norm over all parameters. A
    checkpoint of the plain detector can be loaded, and this one's into it.

    What is to be predicted is the loss each image has alone, taken from the
    same head outputs without a gradient. Pairs of images of a batch are
    compared, so a batch (of each process) must have at least two images for
    the head to learn. Cost in training: the head's loss once more, image by
    image; in inference: none.

    Args:
        backbone (dict): Config of the backbone.
        neck (dict | list[dict], optional): Config of the neck.
        bbox_head (dict): Config of a dense head.
        loss_head (dict, optional): Config of the loss prediction head; its
            type is 'mmal.LossPredictionHead' unless given. ``in_channels`` is
            taken from ``neck`` where that names its output channels.
        features (str): The maps it reads: 'neck' (what the dense head gets,
            as in LLAL and ISAL) or 'backbone'.
        **kwargs: Of mmdet's ``SingleStageDetector``: ``train_cfg``,
            ``test_cfg``, ``data_preprocessor`` and ``init_cfg``.

    Raises:
        ValueError: If ``features`` is unknown, or ``loss_head.in_channels``
            is needed.
    """

    def __init__(self,
                 backbone: dict,
                 neck: Optional[Union[dict, list]] = None,
                 bbox_head: Optional[dict] = None,
                 loss_head: Optional[dict] = None,
                 features: str = 'neck',
                 **kwargs) -> None:
        super().__init__(
            backbone=backbone, neck=neck, bbox_head=bbox_head, **kwargs)
        if features not in FEATURES:
            raise ValueError(f'model.features is {features!r}: choose one of '
                             f'{", ".join(map(repr, FEATURES))}.')
        self.features = features
        cfg = {'type': 'mmal.LossPredictionHead', **(loss_head or {})}
        if 'in_channels' not in cfg:
            cfg['in_channels'] = _neck_channels(neck, features)
        # the detector's own weights are drawn as without this head
        with preserve_rng_state():
            self.loss_head = MODELS.build(cfg)

    def loss(self, batch_inputs: Tensor, batch_data_samples: list) -> dict:
        """The detector's own losses, and ``loss_rank``.

        Args:
            batch_inputs (Tensor): [B, 3, H, W].
            batch_data_samples (list[DetDataSample]): B samples with boxes.

        Returns:
            dict[str, Tensor | list[Tensor]]: All terms.
        """
        backbone = self.backbone(batch_inputs)
        neck = self.neck(backbone) if self.with_neck else backbone
        with Recorder({'bbox_head': self.bbox_head}) as recorder:
            losses = self.bbox_head.loss(neck, batch_data_samples)
        if not recorder.calls:
            raise TypeError(
                f'{type(self.bbox_head).__name__}.loss does not call its '
                'forward, so the losses of single images cannot be taken: '
                'choose another dense head for mmal.LearningLossDetector.')
        labels = [s.gt_instances for s in batch_data_samples]
        # Each process has images of its own, so none may wait for another;
        # and the detector trains as it would without this head.
        with torch.no_grad(), local_losses(), \
                preserve_rng_state(batch_inputs.device):
            targets = image_losses(self, recorder.calls[-1].output,
                                   batch_data_samples, labels)
        maps = neck if self.features == 'neck' else backbone
        return {**losses, **self.loss_head.loss(maps, targets)}

    def predict_losses(self, batch_inputs: Tensor) -> Tensor:
        """Predict the loss of each image; the dense head is not run.

        Args:
            batch_inputs (Tensor): [B, 3, H, W].

        Returns:
            Tensor: [B], without a unit: only their order has a meaning.
        """
        maps = self.backbone(batch_inputs)
        if self.features == 'neck' and self.with_neck:
            maps = self.neck(maps)
        return self.loss_head(maps)


def _neck_channels(neck: Union[dict, list, None], features: str) -> list[int]:
    """The channels of a neck's output maps by its config."""
    try:
        if features != 'neck':
            raise KeyError(features)
        channels = neck['out_channels']
        if not isinstance(channels, int):
            return list(channels)
        return [channels] * (neck.get('num_outs') or len(neck['in_channels']))
    except (KeyError, TypeError) as e:
        raise ValueError(
            'model.loss_head.in_channels must be given: the channels of each '
            f'map of the {features} cannot be read from the config.') from e
