"""What ISAL needs of each kind of model: one forward pass, its losses."""
from __future__ import annotations

from torch import nn

from .base import ModelAdapter
from .classifier import ClassifierAdapter
from .detr import DETRAdapter
from .one_stage import OneStageAdapter
from .two_stage import TwoStageAdapter

ADAPTERS = (OneStageAdapter, TwoStageAdapter, DETRAdapter, ClassifierAdapter)


def adapter_of(model: nn.Module, seed: int = 0) -> ModelAdapter:
    """The adapter that knows a model.

    Args:
        model (nn.Module): The detector or classifier.
        seed (int): Of what its losses draw at random.

    Raises:
        ValueError: If there is none.
    """
    for adapter in ADAPTERS:
        if adapter.accepts(model):
            return adapter(model, seed)
    raise ValueError(
        f'{type(model).__name__} is neither a single-stage detector with a '
        'bbox_head that has loss_by_feat (FCOS, RetinaNet, SSD, YOLO, …) nor '
        'a two-stage one with an RPN and a StandardRoIHead (Faster R-CNN), '
        'nor a detection transformer with the head of a plain, Conditional, '
        'DAB or Deformable DETR or of DINO, nor an mmal.ImageClassifier: '
        'choose another scorer for it.')
