import functools
import http.server
import io
import os
import struct
import threading
import zlib

import cv2
import mmcv
import numpy as np
import pytest
from PIL import Image, ImageFile

from mmal.pool import (
    CocoData,
    ImageFiles,
    ImageLoader,
    UnreadableImage,
    UnreadableImagesError,
    check_images,
    load_images,
    read_size,
    refuse_addresses,
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
               'grayscale_ignore_orientation', cv2.IMREAD_COLOR,
               cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION,
               cv2.IMREAD_UNCHANGED)


@pytest.mark.parametrize('format', ['JPEG', 'PNG'])
@pytest.mark.parametrize('backend', ['cv2', 'pillow'])
@pytest.mark.parametrize('color_type', COLOR_TYPES)
def test_exif_rotation_is_judged_as_the_loader_loads(tmp_path, color_type,
                                                     backend, format):
    """The size that passes is the size of what training sees."""
    if backend == 'pillow' and isinstance(color_type, int):
        pytest.skip('numbers are flags of OpenCV')
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
            assert verify_image(path, seen, loader, load) is None
            assert verify_image(path, (32, 48), loader, load) is not None
            stored = verify_image(path, SIZE, loader, load)
            assert (stored is not None) == turned
            assert not turned or 'EXIF' in stored
        assert read_size(str(tmp_path), f'{orientation}.img', loader) == seen


def test_error_lists_ten(folder):
    bad = [UnreadableImage(n, f'{n}.jpg', f'/d/{n}.jpg', 'no such file')
           for n in range(12)]
    error = UnreadableImagesError(bad)
    assert error.images == bad
    assert '12 image(s)' in str(error) and '/d/9.jpg' in str(error)
    assert '/d/10.jpg' not in str(error) and '2 more' in str(error)
    assert "on_bad_image='skip'" in str(error)


def _write(path, array):
    """Write a file with OpenCV, which keeps 16 bits and floats."""
    path.write_bytes(cv2.imencode(path.suffix, array)[1].tobytes())


def _values(peak, dtype, shape=(48, 64, 3)):
    array = np.random.default_rng(0).random(shape)
    return (array / array.max() * peak).astype(dtype)


@pytest.fixture
def decoders(tmp_path):
    """Files that some decoders read and others do not."""
    for number, channels in (('1', ()), ('3', (3, ))):
        _write(tmp_path / f'float{number}.tif',
               _values(1, np.float32, (48, 64, *channels)))
    for format, mode in (('GIF', 'P'), ('TGA', 'RGB'), ('WEBP', 'RGB'),
                         ('JPEG2000', 'RGB')):
        image = Image.open(io.BytesIO(_encoded(format='PNG')))
        image.convert(mode).save(tmp_path / f'a.{format.lower()}', format)
    image.convert('CMYK').save(tmp_path / 'cmyk.jpg')
    _write(tmp_path / 'twelve.png', _values(4095, np.uint16))
    _write(tmp_path / 'twelve.tif', _values(4095, np.uint16))
    return tmp_path


@pytest.mark.parametrize('loader', [
    ImageLoader(), ImageLoader(color_type='unchanged'), ImageLoader('pillow')])
def test_the_loader_decides_what_is_readable(decoders, loader):
    names = sorted(p.name for p in decoders.iterdir())
    unreadable = {
        image.file_name: image.reason for image in
        load_images(_coco(names), str(decoders), loader).unreadable}
    assert unreadable, 'nothing to tell apart'
    for name in names:
        try:
            array = mmcv.imread(
                str(decoders / name), loader.color_type,
                backend=loader.imdecode_backend)
        except OSError:  # of Pillow
            array = None
        assert (name in unreadable) == (array is None)
        # asked without loading, only what Pillow cannot tell is loaded
        if array is not None:
            assert verify_image(str(decoders / name), SIZE, loader) is None


def test_the_reason_names_loader_and_format(decoders):
    reason = verify_image(str(decoders / 'float1.tif'), SIZE, load=True)
    assert reason.startswith("cv2 cannot load this TIFF (F) with "
                             "color_type='color'")
    assert 'convert it to 8-bit' in reason


def test_cut_files_of_any_format_are_found(decoders):
    """Where the loader itself notices nothing Pillow does."""
    for path in sorted(decoders.iterdir()):
        if path.name.startswith('float'):
            continue
        content = path.read_bytes()
        path.write_bytes(content[:len(content) * 2 // 3])
        for load in (False, True):
            reason = verify_image(str(path), SIZE, load=load)
            assert reason, path.name


@pytest.mark.parametrize('name', ['twelve.png', 'twelve.tif'])
def test_twelve_bits_in_sixteen_are_noted(decoders, name):
    _write(decoders / 'bright.png', _values(255, np.uint8))
    coco = _coco([name, 'bright.png'])
    peak = int(mmcv.imread(str(decoders / name)).max())
    inspected = load_images(coco, str(decoders), ImageLoader())
    assert not inspected.unreadable
    assert name in inspected.note and 'bright' not in inspected.note
    assert '1 of 2 images' in inspected.note
    assert f'reach {peak} of 255' in inspected.note
    assert 'uint16 with values up to 4,095' in inspected.note
    assert "color_type='unchanged'" in inspected.note
    unchanged = ImageLoader(color_type='unchanged')
    assert load_images(coco, str(decoders), unchanged).note is None


def test_a_dark_photo_among_others_is_no_reason_for_a_note(tmp_path):
    _write(tmp_path / 'night.png', _values(20, np.uint8))
    _write(tmp_path / 'day.png', _values(200, np.uint8))
    _write(tmp_path / 'deep.png', _values(60000, np.uint16))
    both = load_images(_coco(['night.png', 'day.png', 'deep.png']),
                       str(tmp_path), ImageLoader())
    assert both.note is None
    alone = load_images(_coco(['night.png']), str(tmp_path), ImageLoader())
    assert 'reach 20 of 255 (' in alone.note
    assert load_images(_coco([]), str(tmp_path), ImageLoader()).note is None


def _png_header(width, height):
    """A PNG that says how large it is and has hardly any pixels."""
    chunks = ((b'IHDR', struct.pack('>IIBBBBB', width, height, 1, 0, 0, 0, 0)),
              (b'IDAT', zlib.compress(b'\0' * 100)), (b'IEND', b''))
    return b'\x89PNG\r\n\x1a\n' + b''.join(
        struct.pack('>I', len(data)) + kind + data +
        struct.pack('>I', zlib.crc32(kind + data)) for kind, data in chunks)


def test_images_beyond_the_limit_of_the_loader(tmp_path, monkeypatch):
    path = tmp_path / 'bomb.png'
    path.write_bytes(_png_header(40000, 30000))
    for load in (False, True):
        reason = verify_image(str(path), (40000, 30000), load=load)
        assert reason == (
            'it has 40000x30000 pixels, but cv2 loads at most 1,073,741,824: '
            'cut it into tiles or scale it down')
    assert read_size(str(tmp_path), 'bomb.png') == (40000, 30000)
    good = tmp_path / 'good.jpg'
    good.write_bytes(_encoded())
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 1000)
    assert verify_image(str(good), SIZE, load=True) is None
    assert 'pillow loads at most 2,000' in verify_image(
        str(good), SIZE, ImageLoader('pillow'))
    assert Image.MAX_IMAGE_PIXELS == 1000  # as others left it


@pytest.mark.parametrize('name', ['http://x.org/a.jpg', 's3://bucket/a.jpg'])
def test_addresses_need_a_file_backend(tmp_path, name):
    for decode in (False, True):
        image, = check_images(_coco([name]), '', decode=decode)
        assert image.reason.startswith('its file_name is an address')


@pytest.mark.parametrize('args, message', [
    (dict(imdecode_backend='pil'), "is 'pil': mmcv knows cv2"),
    (dict(color_type='colour'), "is 'colour': mmcv knows color"),
    (dict(imdecode_backend='turbojpeg'), 'turbojpeg'),
])
def test_arguments_that_load_nothing(args, message, monkeypatch):
    monkeypatch.setattr(mmcv.image.io, 'jpeg', None)
    with pytest.raises(ValueError, match=message):
        ImageLoader(**args).check()
    ImageLoader().check()


@pytest.fixture
def address(folder):
    """The address that serves the files of a folder."""
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f'http://127.0.0.1:{server.server_port}'
        server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Writes no log."""

    def log_message(self, *args):
        pass


def test_images_are_fetched_by_the_loader(address, folder):
    loader = ImageLoader(backend_args={'backend': 'http'})
    coco = _coco([f'{address}/{name}' for name in ALL])
    fetched = {u.id: u.reason for u in
               check_images(coco, '', decode=True, loader=loader)}
    local = {u.id: u.reason for u in
             check_images(_coco(ALL), str(folder), decode=True)}
    missing = ALL.index('gone.jpg')
    assert '404' in fetched.pop(missing) and local.pop(missing)
    assert fetched == local
    assert load_images(coco, '', loader, [0]).unreadable == []
    # http cannot be asked for a file without its content
    assert check_images(coco, '', loader=loader) == []
    assert read_size('', f'{address}/small.jpg', loader) == (32, 48)
    # a folder may be an address without any arguments
    images = check_images(_coco(ALL), address, decode=True)
    assert {u.id for u in images} == {missing, *local}


def test_files_are_loaded_again_only_when_they_change(folder, monkeypatch):
    """A file that is spoilt behind its size and time shows what is read."""
    names = ['good.jpg', 'good.png', 'small.jpg']
    coco = _coco(names)
    coco.images[2].update(width=32)
    files = ImageFiles(coco, str(folder), ImageLoader(), loaded=[0])
    path = folder / 'good.jpg'
    whole, status = path.read_bytes(), path.stat()
    path.write_bytes(b'x' * len(whole))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert files.find_broken([0, 1, 2]) == []
    os.utime(path)
    (folder / 'small.jpg').unlink()
    for _ in range(2):  # what is broken is not remembered
        broken = files.find_broken([0, 1, 2])
        assert [(u.id, u.reason) for u in broken] == [
            (2, 'no such file'), (0, 'it is not an image')]
    path.write_bytes(whole)
    assert files.find_broken([0, 1]) == []


def test_only_a_loader_that_fetches_takes_addresses():
    coco = _coco(['a.jpg', 's3://bucket/b.jpg'])
    for loader in (None, ImageLoader()):
        with pytest.raises(ValueError, match="pool.json: .* 1 of 2 images is "
                           "an address, e.g. 's3://bucket/b.jpg'"):
            refuse_addresses(coco, loader)
    refuse_addresses(coco, ImageLoader(backend_args={'backend': 's3'}))
    refuse_addresses(_coco(['a.jpg']))
