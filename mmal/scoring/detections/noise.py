"""Images with noise, to see what a detector thinks of them."""
from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from mmcv.transforms import BaseTransform
from torch import nn

from mmal.models.committees.preprocessing import statistics
from mmal.random_tensors import TensorStreams
from mmal.randomness import Key, seeded_uniform
from mmal.registry import TRANSFORMS
from mmal.scoring.batch import Batch
from mmal.scoring.data import is_loader

_BITS = 53  # of a uniform number, which become a seed


@TRANSFORMS.register_module()
class GaussianNoise(BaseTransform):
    """Adds noise N(0, variance) to the loaded image.

    "Deep Active Learning for Object Detection with Mixture Density Networks",
    appendix A.4. The image is taken as scaled to [0, 1], and clipped to it
    afterwards. An image always gets the same noise, whenever and wherever it
    is read.

    Args:
        variance (float): Of the noise, > 0; the paper's is 0.01.
        seed (int): The noise depends on it and on the image id.

    Raises:
        ValueError: If the variance is not a positive number.
    """

    def __init__(self, variance: float = 0.01, seed: int = 0) -> None:
        if not 0 < variance < math.inf:
            raise ValueError(f'the variance of the noise is {variance}: give '
                             'a positive number, e.g. 0.01.')
        self.std = math.sqrt(variance)
        self.seed = seed

    def transform(self, results: dict) -> dict:
        """Change ``img``, uint8 [H, W, 3], which must have an ``img_id``."""
        image = results['img']
        draw = seeded_uniform([results['img_id']], self.seed, 'noise')[0]
        rng = np.random.default_rng(int(draw * 2**_BITS))
        noise = rng.normal(0, 255 * self.std, image.shape)
        noisy = np.rint((image + noise).clip(0, 255))
        results['img'] = noisy.astype(image.dtype)
        return results


def noisy_pipeline(pipeline: Sequence[dict],
                   variance: float,
                   seed: int = 0) -> list[dict]:
    """A pipeline that adds noise right after it has loaded an image.

    Args:
        pipeline (sequence[dict]): A test pipeline.
        variance (float): See :class:`GaussianNoise`.
        seed (int): See :class:`GaussianNoise`.

    Raises:
        ValueError: If nothing in it loads an image.
    """
    noise = dict(type='mmal.GaussianNoise', variance=variance, seed=seed)
    for i, step in enumerate(pipeline):
        if is_loader(step):
            return [*pipeline[:i + 1], noise, *pipeline[i + 1:]]
    raise ValueError(
        'the test pipeline has no LoadImageFromFile, so noise cannot be added '
        'to the image: give test_dataloader.dataset.pipeline one.')


def noisy_batch(batch: Batch, model: nn.Module, std: float,
                *key: Key) -> Batch:
    """The same images with noise, as the detector sees them.

    Padding stays as it is. The noise of an image depends on its id, its size
    and the key alone, and is the same on every device.

    Args:
        batch (Batch): B images.
        model (nn.Module): The detector; its ``DetDataPreprocessor`` says how
            they are normalised.
        std (float): Standard deviation of the noise, for pixels from 0 to
            255; sums are clipped to this range.
        *key (int | str): What the noise is for, e.g. seed and round.

    Returns:
        Batch: With new ``inputs``; ids and samples are those of ``batch``.
    """
    mean, scale = statistics(model.data_preprocessor, batch.inputs)
    inputs = batch.inputs.clone()
    by_shape = defaultdict(list)
    for row, sample in enumerate(batch.samples):
        by_shape[tuple(sample.img_shape[:2])].append(row)
    # Of one shape as a rule: a batch has images of one size.
    for (height, width), rows in by_shape.items():
        streams = TensorStreams([batch.ids[n] for n in rows], *key, 'noise')
        every = len(rows) == len(inputs)
        inside = (inputs if every else inputs[rows])[:, :, :height, :width]
        pixels = inside * scale + mean
        noisy = pixels + std * streams.normal(pixels.shape[1:], inputs.device)
        # The difference is added: undoing and redoing the normalisation would
        # round every pixel.
        inside += (noisy.clamp(0, 255) - pixels) / scale
        if not every:
            inputs[rows, :, :height, :width] = inside
    return Batch(batch.ids, inputs, batch.samples)
