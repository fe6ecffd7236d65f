"""A classifier that learns to predict its own loss."""
from __future__ import annotations

import torch
from torch import Tensor

from mmal.models.utils.random_state import preserve_rng_state
from mmal.registry import MODELS
from .image_classifier import ImageClassifier, labels_of


@MODELS.register_module()
class LearningLossClassifier(ImageClassifier):
    """An image classifier with a loss prediction head (LLAL).

    Yoo & Kweon, "Learning Loss for Active Learning", CVPR 2019, with the
    module on every map of the backbone: one for each block of ResNet.

    Args:
        *args: Of :class:`ImageClassifier`.
        loss_head (dict): Config of the loss prediction head; its type is
            'mmal.LossPredictionHead' unless given. ``in_channels`` are the
            channels of the backbone's maps.
        **kwargs: Of :class:`ImageClassifier`.

    Raises:
        ValueError: If ``loss_head.in_channels`` is missing.
    """

    def __init__(self, *args, loss_head: dict, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        cfg = {'type': 'mmal.LossPredictionHead', **loss_head}
        if 'in_channels' not in cfg:
            raise ValueError(
                'model.loss_head.in_channels must be given: the channels of '
                "each map of the backbone, e.g. [64, 128, 256, 512].")
        # the classifier's own weights are drawn as without this head
        with preserve_rng_state():
            self.loss_head = MODELS.build(cfg)

    def loss(self, inputs: Tensor, data_samples: list) -> dict:
        """The classifier's own loss, and ``loss_rank``."""
        maps, labels = self.extract_feat(inputs), labels_of(data_samples)
        logits = self.cls_head(maps)
        losses = self.cls_head.loss_by_feat(logits, labels)
        # what is to be predicted is a number, not something to be lowered
        with torch.no_grad():
            targets = self.cls_head.image_losses(logits, labels)
        return {**losses, **self.loss_head.loss(maps, targets)}

    def predict_losses(self, inputs: Tensor) -> Tensor:
        """[B]: the predicted loss of each image; only their order counts."""
        return self.loss_head(self.extract_feat(inputs))
