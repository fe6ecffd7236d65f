"""Which images are decoded to be verified, and which are known."""
import os

import numpy as np
import pytest
from PIL import Image

from mmal.pool import ExpectedImage, ImageLoader, VerifiedImages
from mmal.pool import verified_images as module

SIZE = (40, 30)


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(0)
    out = {}
    for i in range(3):
        path = str(tmp_path / f'{i}.jpg')
        Image.fromarray(rng.integers(0, 255, (30, 40, 3), 'u1')).save(path)
        out[i] = ExpectedImage(path, SIZE)
    return out


@pytest.fixture
def decoded(monkeypatch):
    """The files that are decoded."""
    paths, verify = [], module.verify_image
    monkeypatch.setattr(module, 'verify_image', lambda path, *args: (
        paths.append(path), verify(path, *args))[1])
    return paths


def remembering(tmp_path, files, ids=(0, 1, 2), loader=None):
    loader = loader or ImageLoader()
    verified = VerifiedImages(loader, str(tmp_path / 'verified.npy'))
    marks = verified.marks(files)
    verified.add(marks[i] for i in ids)
    return VerifiedImages(loader, verified.path)


def test_a_known_image_is_not_decoded(tmp_path, files, decoded):
    verified = remembering(tmp_path, files, [0, 1])
    assert [verified(*file) for file in files.values()] == [None] * 3
    assert decoded == [files[2].path]
    # but it is loaded where the pipeline could not
    assert verified(*files[0], load=True) is None
    assert decoded[1:] == [files[0].path]


def test_a_changed_or_missing_image_is_looked_at(tmp_path, files, decoded):
    verified = remembering(tmp_path, files)
    with open(files[0].path, 'r+b') as f:
        f.truncate(os.path.getsize(files[0].path) // 2)
    with open(files[1].path, 'r+b') as f:  # of the same size, but later
        content = f.read()
        f.seek(len(content) // 2)
        f.write(b'\0' * (len(content) - len(content) // 2))
    os.unlink(files[2].path)
    reasons = [verified(*file) for file in files.values()]
    assert 'truncated' in reasons[0] and reasons[2] == 'no such file'
    assert decoded == [file.path for file in files.values()]


def test_the_size_and_the_loader_count(tmp_path, files, decoded):
    verified = remembering(tmp_path, files)
    assert 'the json says 30x40' in verified(files[0].path, (30, 40))
    other = VerifiedImages(ImageLoader(color_type='unchanged'),
                           verified.path)
    assert other(*files[1]) is None
    assert decoded == [files[0].path, files[1].path]


@pytest.mark.parametrize('content', [
    b'', b'\x93NUMPY', b'no array', 'half', 'objects', 'floats'])
def test_a_damaged_file_is_made_again(tmp_path, files, decoded, content):
    path = remembering(tmp_path, files).path
    with open(path, 'rb') as f:
        whole = f.read()
    if content == 'objects':
        np.save(path, np.array([dict()]), allow_pickle=True)
    elif content == 'floats':
        np.save(path, np.ones((2, 2)))
    else:
        with open(path, 'wb') as f:
            f.write(whole[:-3] if content == 'half' else content)
    assert VerifiedImages(ImageLoader(), path)(*files[0]) is None
    assert decoded == [files[0].path]
    assert remembering(tmp_path, files)(*files[0]) is None
    assert len(decoded) == 1
    with open(path, 'rb') as f:
        assert f.read() == whole


def test_without_a_file_nothing_is_kept(files, decoded):
    verified = VerifiedImages(ImageLoader())
    verified.add(verified.marks(files).values())
    assert verified(*files[0]) is None and decoded == []
    assert VerifiedImages(ImageLoader())(*files[0]) is None
    assert decoded == [files[0].path]
