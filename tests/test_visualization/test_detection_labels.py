"""Labelled boxes on a panel, read back from the picture."""
import cv2
import numpy as np
import torch
from mmengine.structures import InstanceData

from mmal.visualization.detection_labels import draw_labelled
from mmal.visualization.heat_map import draw_heat_map

CLASSES = ['RBC', 'WBC']
SIZE = (240, 320)


def picture(boxes, labels=None):
    """A grey image with detections, RGB."""
    found = InstanceData(
        bboxes=torch.tensor(boxes).reshape(-1, 4),
        scores=torch.full((len(boxes), ), 0.87),
        labels=torch.tensor(labels or [0] * len(boxes), dtype=torch.long))
    image = np.full((*SIZE, 3), 128, np.uint8)
    content = draw_heat_map(
        image, np.zeros((3, 4)), 'bits', annotate=lambda panel: draw_labelled(
            panel, found, CLASSES, SIZE))
    decoded = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
    return decoded[..., ::-1].astype(int)


def panel(image):
    """The rows and columns of the left image, and its corner."""
    grey = (abs(image - 128).max(-1) <= 1)[:, :image.shape[1] // 2]
    ys, xs = np.nonzero(grey)
    return ys.min(), ys.max(), xs.min(), xs.max()


def test_a_box_lies_where_it_is_said_to():
    empty, drawn = picture([]), picture([[80., 60., 240., 180.]])
    top, bottom, left, right = panel(empty)
    ys, xs = np.nonzero((empty != drawn).any(-1))
    scale = (right - left + 1) / SIZE[1]
    assert abs(xs.min() - (left + 80 * scale)) <= 3
    assert abs(xs.max() - (left + 240 * scale)) <= 3
    assert abs(ys.max() - (top + 180 * scale)) <= 3
    inside = drawn[int(top + 90 * scale):int(top + 170 * scale),
                   int(left + 90 * scale):int(left + 230 * scale)]
    assert (abs(inside - 128) <= 1).all()  # an outline, its label outside
    assert ys.min() >= top


def test_labels_are_legible_and_do_not_cover_each_other():
    """White letters on a dark ground, as many again for a box beside it."""
    def letters(image):
        half = image[:, :image.shape[1] // 2]
        top, bottom, left, right = panel(image)
        part = half[top:bottom + 1, left:right + 1]
        return (part.min(-1) > 200).sum()

    one = letters(picture([[20., 60., 120., 180.]]))
    two = letters(picture([[20., 60., 120., 180.], [24., 64., 124., 184.]]))
    assert one > 60
    assert two > 1.8 * one


def test_classes_have_colours():
    first, second = (picture([[80., 60., 240., 180.]], [c]) for c in (0, 1))
    assert (first != second).any(-1).sum() > 200


def test_nothing_found():
    assert (picture([]) == picture(np.zeros((0, 4)).tolist())).all()
