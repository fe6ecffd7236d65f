"""mmdet's visualizer with the uncertainties of each detection in its label."""
from __future__ import annotations

import math
from typing import Optional

import cv2
import numpy as np
from mmdet.structures import DetDataSample
from mmdet.visualization import DetLocalVisualizer
from mmdet.visualization.palette import get_palette
from mmengine.dist import master_only
from mmengine.structures import InstanceData

from mmal.registry import VISUALIZERS

# field -> (side, kind), in the order of a label
FIELDS = {
    'box_aleatoric': ('box', 'al'),
    'box_epistemic': ('box', 'ep'),
    'cls_aleatoric': ('cls', 'al'),
    'cls_epistemic': ('cls', 'ep'),
}
MARGIN = 2


@VISUALIZERS.register_module()
class UncertaintyVisualizer(DetLocalVisualizer):
    """Draws detections; their labels show what the detector is unsure of.

    A label reads e.g. ``cow 0.83 | box al 0.21 ep 0.03 | cls al 0.05 ep
    0.001``, a line for each part: aleatoric (al) and epistemic (ep)
    uncertainty of the box, the largest of its four coordinates', and of the
    class. Labels stay inside the image and off each other where there is
    room. Detections without such fields are drawn as mmdet does.

    Args:
        name (str): Name of the instance.
        *args: See mmdet's ``DetLocalVisualizer``.
        show_uncertainty (bool): False draws all as mmdet does.
        font_size (float): Height of the labels' font, pixels.
        min_width (int): Narrower images are enlarged by a whole number to at
            least so many pixels, so that labels leave room for the picture.
        **kwargs: See mmdet's ``DetLocalVisualizer``.

    Raises:
        ValueError: If ``font_size`` or ``min_width`` is not positive.
    """

    def __init__(self,
                 name: str = 'visualizer',
                 *args,
                 show_uncertainty: bool = False,
                 font_size: float = 12,
                 min_width: int = 500,
                 **kwargs) -> None:
        for key, value in (('font_size', font_size), ('min_width', min_width)):
            if not value > 0:
                raise ValueError(f'visualizer.{key} is {value}: give a number '
                                 'of pixels above 0.')
        super().__init__(name, *args, **kwargs)
        self.show_uncertainty = show_uncertainty
        self.font_size = font_size
        self.min_width = min_width

    @master_only
    def add_datasample(self,
                       name: str,
                       image: np.ndarray,
                       data_sample: Optional[DetDataSample] = None,
                       *args,
                       **kwargs) -> None:
        """See mmdet's ``DetLocalVisualizer.add_datasample``."""
        if self.show_uncertainty and data_sample is not None and \
                _is_uncertain(data_sample.get('pred_instances', {})):
            factor = math.ceil(self.min_width / image.shape[1])
            image, data_sample = _enlarged(image, data_sample, factor)
        super().add_datasample(name, image, data_sample, *args, **kwargs)

    def _draw_instances(self, image: np.ndarray, instances: InstanceData,
                        classes: Optional[list],
                        palette: Optional[list]) -> np.ndarray:
        if not (self.show_uncertainty and _is_uncertain(instances)):
            return super()._draw_instances(image, instances, classes, palette)
        labels = instances.labels.tolist()
        if 'label_names' in instances:
            names = list(instances.label_names)
        else:
            names = [classes[i] if classes is not None else f'class {i}'
                     for i in labels]

        # mmdet draws boxes and masks; for empty names it writes nothing
        bare = InstanceData(**dict(instances.items()))
        bare.label_names = [''] * len(names)
        if 'scores' in bare:
            del bare.scores
        super()._draw_instances(image, bare, classes, palette)

        texts = [
            uncertainty_text(instances, i, n) for i, n in enumerate(names)
        ]
        sizes = np.array([text_extent(t, self.font_size) for t in texts])
        boxes = instances.bboxes.detach().cpu().numpy()
        corners = place_labels(boxes, sizes, image.shape[:2])
        inks = get_palette(self.text_color, max(labels) + 1)
        edges = get_palette(self.bbox_color or palette, max(labels) + 1)
        for text, corner, label in zip(texts, corners, labels):
            self.draw_texts(
                text,
                corner + MARGIN,
                colors=inks[label],
                font_sizes=self.font_size * 72 / self.dpi,
                font_families='monospace',
                bboxes=dict(
                    facecolor='black',
                    alpha=0.7,
                    pad=MARGIN,
                    edgecolor=np.divide(edges[label], 255)))
        return self.get_image()


def uncertainty_text(instances: InstanceData, index: int, name: str) -> str:
    """The label of one detection.

    Args:
        instances (InstanceData): n detections, with any of ``scores`` [n],
            ``box_aleatoric`` and ``box_epistemic`` [n, 4] (the largest of the
            four is shown), ``cls_aleatoric`` and ``cls_epistemic`` [n].
        index (int): Which of them.
        name (str): Its class.

    Returns:
        str: A line of name and score, one of the box, one of the class.

    Examples:
        >>> import torch
        >>> detections = InstanceData(
        ...     scores=torch.tensor([0.83]),
        ...     box_aleatoric=torch.tensor([[0.1, 0.21, 0.2, 0.0]]),
        ...     cls_epistemic=torch.tensor([3.16e-6]))
        >>> uncertainty_text(detections, 0, 'cow').splitlines()
        ['cow 0.83', 'box al 0.21', 'cls ep 3.2e-6']
    """
    lines = {'': [name]}
    if 'scores' in instances:
        lines[''].append(f'{float(instances.scores[index]):.2f}')
    for field, (side, kind) in FIELDS.items():
        if field in instances:
            value = float(instances[field][index].max())
            lines.setdefault(side, [side]).extend((kind, _short(value)))
    return '\n'.join(' '.join(words) for words in lines.values())


def _short(value: float) -> str:
    """Two digits that count: ``0.21``, ``0.001``, ``3.2e-6``, ``140``."""
    if not math.isfinite(value):
        return str(value)
    if not 1e-4 <= abs(value) < 1e4:
        mantissa, _, exponent = f'{value:.1e}'.partition('e')
        return f'{mantissa}e{int(exponent)}' if value else '0'
    return f'{float(f"{value:.2g}"):g}'


def place_labels(boxes: np.ndarray, sizes: np.ndarray,
                 image_size: tuple[int, int]) -> np.ndarray:
    """Find each label a place beside its box and off the other labels.

    A label goes above its box, below it, right of it, left of it or into its
    top left corner: where it covers the least of the labels before it, then of
    all boxes; the first of these places if several are equal.

    Args:
        boxes (np.ndarray): [n, 4], x1, y1, x2, y2 in pixels.
        sizes (np.ndarray): [n, 2], width and height of each label.
        image_size (tuple[int, int]): Height and width of the image.

    Returns:
        np.ndarray: [n, 2], x and y of each label's top left corner. Labels
        are moved into the image; one that is larger begins at its edge.
    """
    limit = np.array(image_size)[::-1] - sizes
    placed = np.zeros((0, 4))
    for (x1, y1, x2, y2), (width, height), most in zip(boxes, sizes, limit):
        corners = np.array([(x1, y1 - height), (x1, y2), (x2, y1),
                            (x1 - width, y1), (x1, y1)])
        corners = np.maximum(np.minimum(corners, most), 0)
        spots = np.concatenate([corners, corners + (width, height)], axis=1)
        covered = []  # area of each spot, on boxes and on labels
        for others in (boxes, placed):
            low = np.maximum(spots[:, None, :2], others[None, :, :2])
            high = np.minimum(spots[:, None, 2:], others[None, :, 2:])
            covered.append((high - low).clip(0).prod(-1).sum(1))
        # rounded, so that spots that are equal by eye go by their order; the
        # last key, the labels, counts first
        best = np.lexsort(np.round(covered, 3))[0]
        placed = np.concatenate([placed, spots[best:best + 1]])
    return placed[:, :2]


def text_extent(text: str, font_size: float) -> tuple[float, float]:
    """Width and height of a text of a fixed-width font, with its frame.

    DejaVu Sans Mono, matplotlib's own, is 0.602 wide and 1.2 apart.
    """
    lines = text.splitlines()
    width = 0.61 * font_size * max(map(len, lines))
    return width + 2 * MARGIN, 1.25 * font_size * len(lines) + 2 * MARGIN


def _is_uncertain(instances: InstanceData) -> bool:
    """Whether there are boxes with a field of :data:`FIELDS`."""
    known = 'bboxes' in instances and len(instances) > 0
    return known and any(field in instances for field in FIELDS)


def _enlarged(image: np.ndarray, sample: DetDataSample,
              factor: int) -> tuple[np.ndarray, DetDataSample]:
    """Image and boxes; what was given is not changed."""
    parts = {key: part for key, part in sample.items()
             if isinstance(part, InstanceData)}
    has_masks = any('masks' in part for part in parts.values()) or any(
        key.endswith('_seg') for key in sample.keys())
    # masks would have to grow too: a picture with any stays as it is
    if factor <= 1 or has_masks:
        return image, sample
    image = cv2.resize(
        image, None, fx=factor, fy=factor, interpolation=cv2.INTER_CUBIC)
    large = sample.clone()  # shares its parts with the sample
    for key, part in parts.items():
        if 'bboxes' in part:
            part = part.clone()
            part.bboxes = getattr(part.bboxes, 'tensor', part.bboxes) * factor
            setattr(large, key, part)
    return image, large
