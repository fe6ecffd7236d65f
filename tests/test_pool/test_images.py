import io

import numpy as np
import pytest
from PIL import Image, ImageFile

from mmal.pool import (
    CocoData,
    ImageLoader,
    UnreadableImage,
    UnreadableImagesError,
    check_images,
    load_images,
    read_size,
    verify_image,
)

SIZE = (64, 48)


def _encoded(size=SIZE, format='JPEG', orientation=None):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    exif = Image.Exif()
    if orientation:
        exif[0x0112] = orientation
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format, exif=exif)
    return out.getvalue()


@pytest.fixture
def folder(tmp_path):
    good = _encoded()
    files = {
        'good.jpg': good,
        'good.png': _encoded(format='PNG'),
        'empty.jpg': b'',
        'text.jpg': b'<html>404</html>',
        'cut.jpg': good[:len(good) // 2],
        'cut.png': _encoded(format='PNG')[:-3000],
        'last_byte.jpg': good[:-40],
        'small.jpg': _encoded((32, 48)),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    return tmp_path


def _coco(names, size=SIZE):
    images = {
        n: {'id': n, 'file_name': name, 'width': size[0], 'height': size[1]}
        for n, name in enumerate(names)
    }
    return CocoData('pool.json', images, {}, [])


ALL = ['good.jpg', 'gone.jpg', 'empty.jpg', 'text.jpg', 'cut.jpg', 'cut.png',
       'last_byte.jpg', 'small.jpg', 'good.png']


def test_existence_only(folder):
    bad = check_images(_coco(ALL), str(folder))
    assert [(b.file_name, b.reason) for b in bad] == [
        ('gone.jpg', 'no such file'), ('empty.jpg', 'the file is empty')]
    assert bad[0] == UnreadableImage(1, 'gone.jpg', str(folder / 'gone.jpg'),
                              'no such file')


def test_decoding_finds_all(folder):
    bad = {b.file_name: b.reason
           for b in check_images(_coco(ALL), str(folder), decode=True)}
    assert list(bad) == ALL[1:-1]
    assert bad['text.jpg'] == 'it is not an image'
    for name in ('cut.jpg', 'cut.png', 'last_byte.jpg'):
        assert 'truncated' in bad[name]
    assert bad['small.jpg'] == 'it is 32x48, the json says 64x48'


def test_only_the_ids_asked_for(folder):
    bad = check_images(_coco(ALL), str(folder), ids=[0, 2], decode=True)
    assert [b.id for b in bad] == [2]
    assert check_images(_coco(ALL), str(folder), ids=[]) == []


def test_other_file_backends(folder):
    loader = ImageLoader(backend_args={'backend': 'local'})
    plain = check_images(_coco(ALL), str(folder), decode=True)
    assert check_images(
        _coco(ALL), str(folder), decode=True, loader=loader) == plain
    assert [b.id for b in check_images(
        _coco(ALL), str(folder), loader=loader)] == [1]


def test_pil_told_to_accept_truncated_files(folder, monkeypatch):
    monkeypatch.setattr(ImageFile, 'LOAD_TRUNCATED_IMAGES', True)
    assert 'truncated' in verify_image(str(folder / 'cut.jpg'))
    assert len(check_images(_coco(['cut.jpg']), str(folder), decode=True)) == 1
    assert ImageFile.LOAD_TRUNCATED_IMAGES  # as others left it


def test_verify_image(folder):
    assert verify_image(str(folder / 'good.jpg')) is None
    assert verify_image(str(folder / 'gone.jpg')) == 'no such file'
    assert verify_image(str(folder)) == 'it is a folder'
    assert verify_image(str(folder / 'small.jpg'), size=(32, 48)) is None


def test_a_folder_named_like_an_image(tmp_path):
    (tmp_path / 'a.jpg').mkdir()
    for decode in (False, True):
        image, = check_images(_coco(['a.jpg']), str(tmp_path), decode=decode)
        assert image.reason == 'it is a folder'
    assert read_size(str(tmp_path), 'a.jpg') == 'it is a folder'


COLOR_TYPES = ('color', 'grayscale', 'unchanged', 'color_ignore_orientation',
               'grayscale_ignore_orientation')


@pytest.mark.parametrize('format', ['JPEG', 'PNG'])
@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
@pytest.mark.parametrize('color_type', COLOR_TYPES)
def test_exif_rotation_is_judged_as_the_loader_loads(tmp_path, color_type,
                                                     backend, format):
    """The size that passes is the size of what training sees."""
    mmcv = pytest.importorskip('mmcv')
    loader = ImageLoader(backend, color_type)
    for orientation in (1, 3, 6, 8):
        path = str(tmp_path / f'{orientation}.img')
        content = _encoded(format=format, orientation=orientation)
        with open(path, 'wb') as f:
            f.write(content)
        array = mmcv.imfrombytes(content, color_type, backend=backend)
        seen = array.shape[1::-1]
        turned = seen != SIZE
        for load in (False, True):
            def verify(size):
                return verify_image(path, size, loader, load)
            assert verify(seen) is None
            assert verify((32, 48)) is not None
            assert (verify(SIZE) is not None) == turned
            assert not turned or 'EXIF' in verify(SIZE)
        assert read_size(str(tmp_path), f'{orientation}.img', loader) == seen


def test_error_lists_ten(folder):
    bad = [UnreadableImage(n, f'{n}.jpg', f'/d/{n}.jpg', 'no such file')
           for n in range(12)]
    error = UnreadableImagesError(bad)
    assert error.images == bad
    assert '12 image(s)' in str(error) and '/d/9.jpg' in str(error)
    assert '/d/10.jpg' not in str(error) and '2 more' in str(error)
    assert "on_bad_image='skip'" in str(error)
