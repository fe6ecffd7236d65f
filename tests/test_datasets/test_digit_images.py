import os

import cv2
import numpy as np
import pytest

from mmal.datasets import make_digit_images
from mmal.pool import load_coco

datasets = pytest.importorskip('sklearn.datasets')


def test_each_image_is_a_sample_of_its_class(tmp_path):
    root = make_digit_images(str(tmp_path / 'digits'))
    digits = datasets.load_digits()
    known = {}
    for image, label in zip(digits.images, digits.target):
        known.setdefault(int(label), []).append(image * 255 / 16)
    counts = {}
    for split in ('pool', 'val'):
        coco = load_coco(os.path.join(root, f'{split}.json'))
        labels = [a['category_id'] - 1 for a in coco.annotations_of(coco.ids)]
        counts[split] = np.bincount(labels)
        for i in (0, len(coco.ids) // 2, -1):
            name = coco.images[coco.ids[i]]['file_name']
            grey = cv2.imread(os.path.join(root, 'images', name))[..., 0]
            assert grey.shape == (32, 32)
            # means of four pixels in the middle of each cell
            small = grey.reshape(8, 4, 8, 4)[:, 1:3, :, 1:3].mean((1, 3))
            nearest = min(np.abs(small - s).mean() for s in known[labels[i]])
            assert nearest < 20
    assert counts['val'].min() > 40
    assert (np.diff(counts['pool'][2:]) < 0).all()
    assert counts['pool'][0] > 3 * counts['pool'][9]
