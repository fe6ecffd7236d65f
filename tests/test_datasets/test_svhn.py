import os

import cv2
import numpy as np
import pytest

from mmal.datasets import make_svhn
from mmal.pool import load_coco

io = pytest.importorskip('scipy.io')


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / 'mat'
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, labels in (('train', [10, 1, 9]), ('test', [2, 10])):
        pixels = rng.integers(0, 256, (32, 32, 3, len(labels)), np.uint8)
        io.savemat(folder / f'{name}_32x32.mat',
                   dict(X=pixels, y=np.array(labels, np.uint8)[:, None]))
    return str(folder)


def test_label_ten_is_the_digit_zero(source, tmp_path):
    root = make_svhn(source, str(tmp_path / 'coco'))
    pool = load_coco(os.path.join(root, 'pool.json'))
    names = {c['id']: c['name'] for c in pool.categories}
    found = [names[a['category_id']] for a in pool.annotations_of(pool.ids)]
    assert found == ['0', '1', '9']
    pixels = io.loadmat(os.path.join(source, 'train_32x32.mat'))['X']
    name = pool.images[pool.ids[1]]['file_name']
    image = cv2.imread(os.path.join(root, 'images', name))
    np.testing.assert_array_equal(image[..., ::-1], pixels[..., 1])


def test_missing_and_wrong_files_are_named(source, tmp_path):
    os.remove(os.path.join(source, 'test_32x32.mat'))
    with pytest.raises(FileNotFoundError, match='test_32x32.mat'):
        make_svhn(source, str(tmp_path / 'coco'))
    io.savemat(os.path.join(source, 'test_32x32.mat'), dict(X=np.zeros(3)))
    with pytest.raises(ValueError, match='is no file of SVHN'):
        make_svhn(source, str(tmp_path / 'coco'))
    assert os.listdir(tmp_path) == ['mat']
