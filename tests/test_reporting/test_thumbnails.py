import base64
import os

import cv2
import numpy as np
import pytest

from mmal.reporting.thumbnails import SIDES, make_thumbnails


def write(path, width, height, noise=0):
    rng = np.random.default_rng(0)
    picture = np.zeros((height, width, 3))
    picture[:, :width // 2] = (30, 60, 200)  # red on the left, as BGR
    picture += rng.normal(0, noise, picture.shape) if noise else 0
    picture = picture.clip(0, 255).astype(np.uint8)
    cv2.imencode('.png', picture)[1].tofile(str(path))
    return str(path)


def decoded(address):
    content = base64.b64decode(address.split(',')[1])
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)


def test_a_picture_is_the_image_smaller(tmp_path):
    path = write(tmp_path / 'ä b.png', 1200, 600)
    thumbnail = make_thumbnails([path], 'none', 10**6)[path]
    assert thumbnail.size == (1200, 600)
    picture = decoded(thumbnail.address)
    assert picture.shape == (SIDES[0] // 2, SIDES[0], 3)
    left, right = picture[:, :300].mean((0, 1)), picture[:, 340:].mean((0, 1))
    assert np.abs(left - (30, 60, 200)).max() < 12 and right.max() < 12


def test_a_small_image_is_not_enlarged(tmp_path):
    path = write(tmp_path / 'a.png', 50, 40)
    assert decoded(make_thumbnails([path], 'none', 10**6)[path].address
                   ).shape == (40, 50, 3)


@pytest.mark.parametrize('budget', [10**6, 60_000, 20_000, 8_000, 100])
def test_addresses_never_take_more_than_the_budget(tmp_path, budget):
    paths = [write(tmp_path / f'{i}.png', 320, 240, noise=10)
             for i in range(4)]
    folder = str(tmp_path / 'small files')
    thumbnails = make_thumbnails(paths, folder, budget)
    assert list(thumbnails) == paths
    addresses = [t.address for t in thumbnails.values()]
    if addresses[0].startswith('data:'):
        assert sum(map(len, addresses)) <= budget
        assert not os.path.exists(folder)
    else:
        assert budget < 20_000
        assert all(a.startswith('small%20files/') for a in addresses)
        assert len(os.listdir(folder)) == 4


def test_a_harder_image_than_the_sample_does_not_break_the_budget(tmp_path):
    plain = [write(tmp_path / f'{i}.png', 320, 240) for i in range(30)]
    # the sample is regular: these are not in it
    hard = [write(tmp_path / f'hard_{i}.png', 640, 480, noise=80)
            for i in range(2)]
    paths = [plain[0], hard[0], *plain[1:20], hard[1], *plain[20:]]
    thumbnails = make_thumbnails(paths, str(tmp_path / 'f'), 40_000)
    assert sum(len(t.address) for t in thumbnails.values()
               if t.address.startswith('data:')) <= 40_000


def test_prefixes_and_the_filling_of_base64_count(tmp_path):
    """They are a large part of what pictures as small as these take."""
    paths = [write(tmp_path / f'{i}.png', 4, 4) for i in range(60)]
    kinds = set()
    for budget in range(3000, 16_000, 250):
        addresses = [t.address for t in make_thumbnails(
            paths, str(tmp_path / 'f'), budget).values()]
        in_page = [a for a in addresses if a.startswith('data:')]
        assert sum(map(len, in_page)) <= budget
        kinds.add(len(in_page))
    assert kinds == {0, 60}


@pytest.mark.parametrize('content', [b'', b'no image'])
def test_what_cannot_be_read_is_missing(tmp_path, content):
    broken, whole = tmp_path / 'a.jpg', write(tmp_path / 'b.png', 60, 40)
    broken.write_bytes(content)
    none, folder = str(tmp_path / 'none.jpg'), str(tmp_path)
    paths = [str(broken), none, folder, whole]
    for budget in (10**6, 1):
        assert list(make_thumbnails(paths, str(tmp_path / 'f'), budget)) == [
            whole]
    assert make_thumbnails([], 'none', 10) == {}


def test_a_large_jpeg_keeps_its_size_and_place(tmp_path):
    """It is decoded at an eighth where its size is known."""
    picture = np.zeros((3000, 5120, 3), np.uint8)
    picture[:, :2560] = 250
    path = str(tmp_path / 'large.jpg')
    cv2.imwrite(path, picture)
    thumbnail = make_thumbnails([path], 'none', 10**6,
                                {path: (5120, 3000)})[path]
    assert thumbnail.size == (5120, 3000)
    small = decoded(thumbnail.address)
    assert small.shape == (375, 640, 3)
    assert small[:, :310].min() > 230 and small[:, 330:].max() < 20
