"""Addresses of tasks: whatever they are, nothing outside the folder of the
images is found."""
import os
from urllib.parse import quote

import pytest
from helpers.served_runs import pool_json
from hypothesis import given, settings
from hypothesis import strategies as st

from mmal.pool import load_coco
from mmal.serving.refusal import Refusal
from mmal.serving.task_images import TaskImages

NAMES = ['a.jpg', 'night/b.jpg', 'night/c d+e%20.jpg', 'day/b.jpg', 'ü.png']
SECRET = 'secret.jpg'


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    """``photos`` with the images, and files around it that are not."""
    root = tmp_path_factory.mktemp('root')
    for name in NAMES:
        path = root / 'photos' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    (root / SECRET).write_bytes(b'secret')
    (root / 'photos_of_others').mkdir()
    (root / 'photos_of_others' / 'a.jpg').write_bytes(b'secret')
    (root / 'photos' / 'link.jpg').symlink_to(root / SECRET)
    (root / 'photos' / 'linked').symlink_to(root / 'photos_of_others')
    (root / 'photos' / 'inner.jpg').symlink_to(root / 'photos' / 'a.jpg')
    (root / 'link_to_photos').symlink_to(root / 'photos')
    return root


def images(root, names=NAMES, folder='photos'):
    path = pool_json(str(root / 'pool.json'), names)
    return TaskImages(load_coco(path, need_annotations=False),
                      str(root / folder))


@pytest.mark.parametrize('form', [
    '{}', '/data/local-files/?d={quoted}', '/data/local-files?d={quoted}',
    '/data/local-files/?d=some/folder/{quoted}', 'some/folder/{}',
    '/studio/data/local-files/?d={quoted}', '/data/upload/12/{quoted}',
    '/data/upload/12/0a1b2c3d-{quoted}', '/label/studio/data/upload/1/{quoted}'
])
def test_forms_of_addresses(root, form):
    found = images(root)
    for n, name in enumerate(NAMES):
        if '0a1b2c3d-' in form:
            # an upload has no folder, and its name is a changed one
            if '/' in name:
                continue
        address = form.format(name, quoted=quote(name))
        image = found.find(address)
        assert image == 100 - n
        assert os.path.samefile(found.path(image), root / 'photos' / name)


def test_an_upload_of_a_photo_in_a_folder(root):
    found = images(root, ['night/b.jpg', 'day/b.jpg', 'day/c.jpg'])
    assert found.find('/data/upload/1/0a1b2c3d-c.jpg') == 98
    with pytest.raises(Refusal, match='may be several'):
        found.find('/data/upload/1/0a1b2c3d-b.jpg')


@pytest.mark.parametrize('address', [
    '/etc/passwd', '../secret.jpg', 'night/../../secret.jpg', 'x/../a.jpg',
    '..\\a.jpg', '\\\\server\\a.jpg', 'C:\\a.jpg', 'c:/a.jpg', '//host/a.jpg',
    'http://host/a.jpg', 'https://host/data/upload/1/a.jpg',
    'HTTP://host/a.jpg', 'file:///a.jpg', 's3://bucket/a.jpg',
    'http://host/data/local-files/?d=a.jpg',
    '/data/local-files/?d=/etc/passwd', '/data/local-files/?d=../a.jpg',
    '/data/local-files/?d=..%2Fa.jpg', '/data/local-files/?d=%2e%2e/a.jpg',
    '/data/local-files/?d=%252e%252e/a.jpg', '/data/local-files/?d=',
    '/data/local-files/?e=a.jpg', '/data/local-files/a.jpg',
    '/data/local-files/?d=http://host/a.jpg', '/data/upload/1/../a.jpg',
    '/data/upload/1/%2e%2e/a.jpg', '/data/upload/a.jpg', '/data/a.jpg',
    '%2Fetc/a.jpg', '%2e%2e/a.jpg', '/a.jpg', 'a.jpg\0', 'a.jpg\n', 'http://[',
    'data:image/png;base64,AAAA', '', ' ', '.', '/', 'nobody.jpg', SECRET,
    'a.jpg' * 1000, None, 3, 2.5, True, [], {}, ['a.jpg'], {'d': 'a.jpg'},
])
def test_what_is_refused(root, address):
    found = images(root)
    with pytest.raises(Refusal) as refusal:
        found.path(found.find(address))
    assert refusal.value.status == 400
    assert len(str(refusal.value)) < 600


@pytest.mark.parametrize('name', [
    'link.jpg', 'linked/a.jpg', '../secret.jpg', '../photos_of_others/a.jpg'])
def test_names_of_the_pool_that_lead_out_of_the_folder(root, name):
    """Even where the pool itself has them."""
    found = images(root, [name])
    assert found.named(name) == 100
    with pytest.raises(Refusal, match='leads out of'):
        found.path(100)


def test_an_absolute_name_of_the_pool(root):
    inside, outside = (str(root / p) for p in ('photos/a.jpg', SECRET))
    found = images(root, [inside, outside])
    assert found.path(100) == os.path.realpath(inside)
    with pytest.raises(Refusal, match='leads out of'):
        found.path(99)


def test_links_that_stay_inside(root):
    found = images(root, ['inner.jpg'], 'link_to_photos')
    assert found.path(found.find('inner.jpg')) == os.path.realpath(
        root / 'photos' / 'a.jpg')


def test_a_photo_that_is_gone(root):
    with pytest.raises(Refusal, match='gone.jpg is not in .*photos'):
        images(root, ['gone.jpg']).path(100)


def test_images_elsewhere_cannot_be_served(root):
    with pytest.raises(ValueError, match='in a folder of this machine'):
        TaskImages(images(root).pool, 's3://bucket/photos')


@pytest.fixture(scope='module')
def with_links(root):
    return images(root, [*NAMES, 'link.jpg', 'linked/a.jpg', 'inner.jpg'])


PIECES = st.sampled_from([
    *NAMES, SECRET, 'link.jpg', 'linked', 'inner.jpg', 'photos', '..', '.',
    '/', '//', '\\', '%2e', '%2E%2e', '%2f', '%252f', '%00', '\0', '~', '?d=',
    '?', '&', '#', '=', 'd', ':', 'C:', 'http://', 'file://', 'localhost',
    '/data/upload/', '/data/upload/1/', '/data/local-files/?d=', '0a1b2c3d-',
    '.rf.0123456789abcdef01', 'etc', 'passwd', '_jpg', '.jpg', ' ', '\u202e',
    '\uff0e\uff0e', '\u2215'])


@settings(max_examples=400, deadline=None)
@given(st.one_of(
    st.text(max_size=60),
    st.lists(PIECES, max_size=8).map(''.join),
    st.lists(st.one_of(PIECES, st.text(max_size=4)), max_size=8).map(''.join)))
def test_nothing_outside_is_found(root, with_links, address):
    try:
        path = with_links.path(with_links.find(address))
    except Refusal:
        return
    folder = os.path.realpath(root / 'photos')
    assert os.path.realpath(path) == path
    assert path.startswith(folder + os.sep)
    assert b'secret' not in open(path, 'rb').read()
    # and it is a file that the address names
    assert any(word in address for word in ('.jpg', '.png', '_jpg'))
