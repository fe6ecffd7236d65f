import os
import struct
import zlib

import pytest
from helpers.label_files import write_photo
from PIL import Image

from mmal.pool import verify_image
from mmal.pool.formats.photos import PhotoSize, photo_size, photo_sizes
from mmal.pool.image_loader import opencv_rotates

FORMATS = ('jpg', 'png', 'tif', 'webp', 'bmp', 'ppm')


@pytest.mark.parametrize('extension', FORMATS)
@pytest.mark.parametrize('orientation', [None, 1, 3, 6, 8])
def test_the_size_is_the_one_the_pool_is_checked_for(tmp_path, extension,
                                                     orientation):
    path = f'{tmp_path}/a.{extension}'
    if extension in ('bmp', 'ppm'):
        orientation = None
    write_photo(path, (40, 30), orientation)
    size = photo_size(path)
    # in WebP OpenCV follows the orientation since version 5
    turned = orientation in (6, 8) and (
        extension != 'webp' or opencv_rotates('WEBP'))
    assert (size.width, size.height) == ((30, 40) if turned else (40, 30))
    assert size.stored == (40, 30)
    assert verify_image(path, size=(size.width, size.height)) is None
    import mmcv
    assert mmcv.imread(path).shape[:2] == (size.height, size.width)


def test_no_pixel_is_decoded(tmp_path):
    """A PNG that claims 60,000 x 50,000 pixels and has none."""
    def chunk(name, data):
        return (struct.pack('>I', len(data)) + name + data +
                struct.pack('>I', zlib.crc32(name + data)))

    header = struct.pack('>IIBBBBB', 60000, 50000, 8, 2, 0, 0, 0)
    path = tmp_path / 'a.png'
    path.write_bytes(b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) +
                     chunk(b'IDAT', b'') + chunk(b'IEND', b''))
    limit = Image.MAX_IMAGE_PIXELS
    assert photo_sizes([str(path)]) == [PhotoSize(60000, 50000)]
    assert Image.MAX_IMAGE_PIXELS == limit


def test_what_cannot_be_read_has_a_reason(tmp_path):
    write_photo(f'{tmp_path}/a.jpg')
    content = (tmp_path / 'a.jpg').read_bytes()
    (tmp_path / 'cut.jpg').write_bytes(content[:30])
    (tmp_path / 'empty.jpg').touch()
    (tmp_path / 'folder.jpg').mkdir()
    os.mkfifo(tmp_path / 'pipe.jpg')
    names = ('cut', 'empty', 'folder', 'pipe', 'gone', 'x' * 300)
    reasons = photo_sizes([f'{tmp_path}/{n}.jpg' for n in names])
    assert reasons[1:5] == ['the file is empty', 'it is no file',
                            'it is no file', 'no such file']
    assert all(isinstance(r, str) for r in reasons)
