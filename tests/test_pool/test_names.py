import hashlib
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmal.pool.names import NameIndex, is_inside


@pytest.mark.parametrize('path, inside', [
    ('/p/a.jpg', True), ('/p/x/a.jpg', True), ('/p/../a.jpg', False),
    ('/p/x/../a.jpg', False), ('/pool/a.jpg', False), ('/p', False),
    ('/p/a..b.jpg', True)])
def test_which_paths_are_inside_a_folder(path, inside):
    assert is_inside(path, '/p') is inside


def match_names(theirs, ours, other_folders=False):
    return NameIndex(ours, other_folders).match(theirs)

HASH = hashlib.md5(b'x').hexdigest()


@pytest.mark.parametrize('change', [
    lambda n: n,
    lambda n: f'images/{HASH[:8]}-{n}',
    lambda n: f'images\\{n}',
    lambda n: f'/data/local-files/?d=pics/{n}',
    lambda n: f'/data/local-files/?d=my%20pics/{n}'.replace('ö', '%C3%B6'),
    lambda n: f'Train/{n}',
    lambda n: f'/home/me/photos/{n}',
    lambda n: n.replace('.png', f'_png.rf.{HASH}.jpg'),
    lambda n: unicodedata.normalize('NFD', n),
])
def test_names_of_labelling_tools_are_found_again(change):
    ours = ['pool_1.png', 'köln 2.png', 'a-b.png']
    names = [change(n) for n in ours]
    assert match_names(names, ours) == dict(zip(names, ours))


def test_the_same_name_in_another_folder_is_another_photo():
    """But for labelling tools, which put all into folders of their own."""
    assert match_names(['a/1.png'], ['b/1.png']) == {}
    assert match_names(['a/1.png'], ['b/1.png'], other_folders=True) == {
        'a/1.png': 'b/1.png'}
    assert match_names(['1.png'], ['b/1.png']) == {'1.png': 'b/1.png'}
    assert match_names(['x/b/1.png'], ['b/1.png']) == {'x/b/1.png': 'b/1.png'}


def test_a_name_in_two_folders_is_not_guessed():
    assert match_names(['1.png'], ['a/1.png', 'b/1.png']) == {}
    assert match_names(['c/1.png'], ['a/1.png', 'b/1.png'],
                       other_folders=True) == {}
    assert match_names(['c/1.png'], ['a/1.png', 'b/1.png']) == {}
    assert match_names(['a\\1.png'], ['a/1.png', 'b/1.png']) == {
        'a\\1.png': 'a/1.png'}


def test_two_names_of_one_image_are_an_error():
    with pytest.raises(ValueError, match='several names mean the same'):
        match_names(['1.png', 'x/1.png'], ['1.png'])


@given(st.lists(st.text(min_size=1), unique=True, max_size=9))
def test_the_same_names_always_match(names):
    assert match_names(names, names) == {n: n for n in names}
