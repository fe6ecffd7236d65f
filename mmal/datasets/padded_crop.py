"""The usual augmentation of small images."""
from __future__ import annotations

import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness

from mmal.registry import TRANSFORMS


@TRANSFORMS.register_module()
class PaddedCrop(BaseTransform):
    """Moves an image by up to some pixels; what comes in is of one value.

    The same as padding on all sides and cropping at random to the old size.
    Boxes are left as they are: for images with a class, not for detectors.

    Args:
        padding (int): Pixels at most, in each direction, >= 1; CIFAR's is 4.
        value (int): Grey value of the padding.

    Raises:
        ValueError: If ``padding`` is below 1.
    """

    def __init__(self, padding: int = 4, value: int = 0) -> None:
        if padding < 1:
            raise ValueError(f'PaddedCrop.padding is {padding}: give at '
                             'least 1 pixel, or leave the step out.')
        self.padding = padding
        self.value = value

    @cache_randomness
    def _corner(self) -> np.ndarray:
        return np.random.randint(0, 2 * self.padding + 1, 2)

    def transform(self, results: dict) -> dict:
        """Change ``img``, uint8 [H, W, 3]."""
        image = results['img']
        sides = (self.padding, self.padding)
        padded = np.pad(
            image, (sides, sides, (0, 0)), constant_values=self.value)
        # drawn apart, for mmcv can hold it to draw the same again
        row, column = self._corner()
        height, width = image.shape[:2]
        results['img'] = np.ascontiguousarray(
            padded[row:row + height, column:column + width])
        return results
