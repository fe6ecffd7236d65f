"""Detections in several views of an image that was never made."""
import numpy as np
import torch
from mmengine.structures import InstanceData
from torch import Tensor

CLASSES = 3


def detections(seed: int,
               views: int = 3,
               objects: int = 4) -> tuple[InstanceData, Tensor]:
    """What some views find of the same objects, and false alarms.

    An object is sometimes missed in a view, or found twice.

    Args:
        seed (int): Of all numbers.
        views (int): V.
        objects (int): How many there are. Defaults to 4.

    Returns:
        tuple[InstanceData, Tensor]: n detections with all fields of a head
        with mixtures, in an image of 80 x 100, and the view of each, [n].
    """
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 60, (objects, 2))
    truth = np.concatenate([corners, corners + rng.uniform(15, 30, (
        objects, 2))], 1)
    truth_labels = rng.integers(CLASSES, size=objects)
    boxes, labels, view = [], [], []
    for number in range(views):
        for box, label in zip(truth, truth_labels):
            for _ in range(rng.choice([0, 1, 2], p=[.2, .6, .2])):
                boxes.append(box + rng.normal(0, 1.5, 4))
                labels.append(label)
                view.append(number)
        boxes.append(rng.uniform(0, 40, 4) + [0, 0, 45, 45])
        labels.append(rng.integers(CLASSES))
        view.append(number)
    n = len(boxes)
    made = InstanceData(
        bboxes=torch.tensor(np.array(boxes)).float(),
        scores=torch.tensor(rng.uniform(.1, 1, n)).float(),
        labels=torch.tensor(np.array(labels)),
        box_std=torch.tensor(rng.uniform(.5, 3, (n, 4))).float(),
        box_aleatoric=torch.tensor(rng.uniform(.1, 1, (n, 4))).float(),
        box_epistemic=torch.tensor(rng.uniform(.1, 1, (n, 4))).float(),
        cls_aleatoric=torch.tensor(rng.uniform(0, .2, n)).float(),
        cls_epistemic=torch.tensor(rng.uniform(0, .2, n)).float(),
        class_probs=torch.tensor(
            rng.dirichlet(np.ones(CLASSES + 1), n)).float())
    return made, torch.tensor(view)
