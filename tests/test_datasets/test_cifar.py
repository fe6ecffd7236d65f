import os
import pickle

import cv2
import numpy as np
import pytest

from mmal.datasets import make_cifar
from mmal.pool import load_coco


def rows(number, seed):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (number, 3072), np.uint8)


def write(path, content):
    """A file as python 2 pickled it: all strings are bytes."""
    content = {k.encode(): v for k, v in content.items()}
    with open(path, 'wb') as f:
        pickle.dump(content, f, protocol=2)


@pytest.fixture
def cifar10(tmp_path):
    folder = tmp_path / 'cifar-10-batches-py'
    folder.mkdir()
    names = [b'airplane', b'automobile', b'bird']
    write(folder / 'batches.meta', dict(label_names=names))
    for i in range(5):
        write(folder / f'data_batch_{i + 1}',
              dict(data=rows(2, i), labels=[i % 3, 2]))
    write(folder / 'test_batch', dict(data=rows(3, 9), labels=[1, 0, 2]))
    return str(folder)


def test_pixels_labels_and_names_are_those_of_the_files(cifar10, tmp_path):
    root = make_cifar(cifar10, str(tmp_path / 'coco'))
    pool = load_coco(os.path.join(root, 'pool.json'))
    val = load_coco(os.path.join(root, 'val.json'))
    assert pool.class_names == ('airplane', 'automobile', 'bird')
    assert len(pool.ids) == 10 and len(val.ids) == 3
    assert not set(pool.ids) & set(val.ids)
    labels = [a['category_id'] - 1 for a in pool.annotations_of(pool.ids)]
    assert labels == [0, 2, 1, 2, 2, 2, 0, 2, 1, 2]
    assert all(a['bbox'] == [0, 0, 32, 32]
               for a in val.annotations_of(val.ids))
    third = pool.images[pool.ids[2]]['file_name']
    image = cv2.imread(os.path.join(root, 'images', third))[..., ::-1]
    planes = rows(2, 1)[0].reshape(3, 32, 32)
    np.testing.assert_array_equal(image.transpose(2, 0, 1), planes)


def test_cifar100_has_the_fine_labels(tmp_path):
    folder = tmp_path / 'cifar-100-python'
    folder.mkdir()
    write(folder / 'meta', dict(fine_label_names=[b'apple', b'bee'],
                                coarse_label_names=[b'fruit']))
    for name in ('train', 'test'):
        write(folder / name, dict(data=rows(2, 0), fine_labels=[1, 0],
                                  coarse_labels=[0, 0]))
    root = make_cifar(str(folder), str(tmp_path / 'coco'), classes=100)
    pool = load_coco(os.path.join(root, 'pool.json'))
    assert pool.class_names == ('apple', 'bee')
    assert [a['category_id'] for a in pool.annotations_of(pool.ids)] == [2, 1]


def test_it_is_made_once(cifar10, tmp_path):
    root = make_cifar(cifar10, str(tmp_path / 'coco'))
    before = os.stat(os.path.join(root, 'pool.json')).st_mtime_ns
    assert make_cifar('nowhere', root) == root
    assert os.stat(os.path.join(root, 'pool.json')).st_mtime_ns == before


def test_no_code_of_a_pickle_runs(cifar10, tmp_path):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / 'evil'), )

    with open(os.path.join(cifar10, 'data_batch_3'), 'wb') as f:
        pickle.dump(Evil(), f)
    with pytest.raises(ValueError, match='data_batch_3 is no file of CIFAR'):
        make_cifar(cifar10, str(tmp_path / 'coco'))
    assert not os.path.exists(tmp_path / 'evil')
    assert sorted(os.listdir(tmp_path)) == ['cifar-10-batches-py']


def test_missing_and_wrong_files_are_named(cifar10, tmp_path):
    with pytest.raises(FileNotFoundError, match='prepare_data.source'):
        make_cifar(str(tmp_path / 'nowhere'), str(tmp_path / 'coco'))
    write(os.path.join(cifar10, 'test_batch'), dict(data=rows(1, 0)))
    with pytest.raises(ValueError, match='test_batch has no labels'):
        make_cifar(cifar10, str(tmp_path / 'coco'))
    with pytest.raises(ValueError, match='classes is 20'):
        make_cifar(cifar10, str(tmp_path / 'coco'), classes=20)
