import numpy as np
import pytest

from mmal.datasets import ImageLabels, PaddedCrop, write_image_labels

IMAGES = np.zeros((2, 4, 5, 3), np.uint8)


def test_wrong_shapes_and_labels_are_named(tmp_path):
    with pytest.raises(ValueError, match=r'\[2, 4, 5, 3\]'):
        ImageLabels(IMAGES, [0])
    with pytest.raises(ValueError, match='labels of pool go from 0 to 2'):
        write_image_labels(str(tmp_path), 'pool', ImageLabels(IMAGES, [0, 2]),
                           ('a', 'b'))


def test_a_padded_crop_moves_the_image():
    image = np.arange(1, 5 * 4 * 3 + 1, dtype=np.uint8).reshape(5, 4, 3)
    np.random.seed(0)
    seen = set()
    for _ in range(200):
        found = PaddedCrop(padding=1)(dict(img=image.copy()))['img']
        assert found.shape == image.shape and found.dtype == image.dtype
        padded = np.pad(image, ((1, 1), (1, 1), (0, 0)))
        seen |= {(r, c) for r in range(3) for c in range(3)
                 if np.array_equal(found, padded[r:r + 5, c:c + 4])}
    assert len(seen) == 9


def test_no_padding_is_refused():
    with pytest.raises(ValueError, match='PaddedCrop.padding is 0'):
        PaddedCrop(padding=0)
