"""How long people take to label images: a cost model in seconds."""
from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from mmal.types import ImageId
from .coco import is_box

PER_IMAGE = 7.8
PER_BOX = 34.5


@dataclass(frozen=True)
class CostModel:
    """Seconds of labelling: so many an image, and so many a box.

    The defaults are the median times of crowd workers on ImageNet in Su, Deng
    & Fei-Fei, "Crowdsourcing Annotations for Visual Object Detection", AAAI
    workshop on human computation, 2012: 25.5 s to draw a box and 9.0 s for
    somebody else to verify it, together 34.5 s a box; and 7.8 s to verify
    that no object of the image lacks a box. (Their sum is the 42 s a box that
    is often quoted.) With another way of working it is less: Papadopoulos et
    al., "Extreme clicking for efficient object annotation", ICCV 2017,
    measure 7.0 s a box on PASCAL VOC, where the annotator clicks on the four
    outermost points of an object. Times of one's own people are better than
    either.

    Args:
        per_image (float): Seconds to open an image and look it over, >= 0,
            whatever is on it.
        per_box (float): Seconds for a box, >= 0.
        per_class (mapping[str, float]): Seconds for a box of some classes in
            place of ``per_box``, >= 0, by name.

    Examples:
        >>> model = CostModel(5., 10., dict(RBC=3.))
        >>> model.seconds([[2, 4], [0, 0]], ['WBC', 'RBC']).tolist()
        [37.0, 5.0]
    """
    per_image: float = PER_IMAGE
    per_box: float = PER_BOX
    per_class: Mapping[str, float] = field(default_factory=dict)

    def box_seconds(self, class_names: Sequence[str]) -> np.ndarray:
        """Seconds for a box of each of C classes, float64 [C]."""
        return np.array([self.per_class.get(name, self.per_box)
                         for name in class_names], np.float64)

    def seconds(self, counts: np.ndarray,
                class_names: Sequence[str]) -> np.ndarray:
        """Seconds to label images.

        Args:
            counts (np.ndarray): [N, C], boxes of each class on N images; also
                expected ones.
            class_names (sequence[str]): C names.

        Returns:
            np.ndarray: float64 [N].
        """
        counts = np.asarray(counts, np.float64).reshape(-1, len(class_names))
        return self.per_image + counts @ self.box_seconds(class_names)

    def hours(self, images: int, annotations: Iterable[Mapping],
              categories: Sequence[Mapping]) -> float:
        """Hours to label images that are labelled now.

        Args:
            images (int): How many, those without boxes too.
            annotations (iterable[dict]): Their COCO annotations; what is
                marked as no box, see :func:`~mmal.pool.coco.is_box`, costs
                nothing.
            categories (sequence[dict]): COCO categories.
        """
        of_box = self.box_seconds([c['name'] for c in categories])
        seconds = {c['id']: s for c, s in zip(categories, of_box.tolist())}
        boxes = math.fsum(
            seconds[a['category_id']] for a in annotations if is_box(a))
        return (images * self.per_image + boxes) / 3600


def count_by_class(annotations: Iterable[Mapping], ids: Sequence[ImageId],
                   categories: Sequence[Mapping]) -> np.ndarray:
    """The boxes of each class on each image.

    Args:
        annotations (iterable[dict]): COCO annotations of these images.
        ids (sequence[int | str]): N images.
        categories (sequence[dict]): C COCO categories.

    Returns:
        np.ndarray: int64 [N, C].
    """
    row = {image: n for n, image in enumerate(ids)}
    column = {c['id']: n for n, c in enumerate(categories)}
    counts = np.zeros((len(row), len(column)), np.int64)
    for a in annotations:
        if is_box(a):
            counts[row[a['image_id']], column[a['category_id']]] += 1
    return counts
