"""Photos under several ids, against a comparison of all pairs."""
import os
import tempfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmal.pool.coco import parse_coco
from mmal.pool.duplicates import (
    duplicate_photos,
    duplicates_note,
    look_alikes,
    look_alikes_note,
)

# ends that are alike, sizes that are alike, and files that are equal
CONTENTS = [b'', b'a', b'b', b'x' * 6000, b'y' + b'x' * 5999,
            b'x' * 5999 + b'y', b'x' * 6001]


def coco_of(names):
    return parse_coco(dict(
        images=[dict(id=i, file_name=name, width=1, height=1)
                for i, name in enumerate(names)],
        annotations=[], categories=[dict(id=1, name='cat')]), 'pool.json')


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.none(), st.integers(0, len(CONTENTS) - 1)),
                min_size=1, max_size=8),
       st.lists(st.integers(0, 7), max_size=3))
def test_all_pairs(contents, again):
    """``again`` lists files a second time; None is a missing file."""
    with tempfile.TemporaryDirectory() as folder:
        names = [f'{n}.jpg' for n in range(len(contents))]
        for name, content in zip(names, contents):
            if content is not None:
                with open(os.path.join(folder, name), 'wb') as f:
                    f.write(CONTENTS[content])
        names += [f'./{names[n % len(contents)]}' for n in again]
        kinds = contents + [contents[n % len(contents)] for n in again]
        groups = duplicate_photos(coco_of(names), folder)
    of = {i: set(ids) for ids in groups for i in ids}
    assert sum(map(len, groups)) == len(of)
    for i, (a, x) in enumerate(zip(names, kinds)):
        same = {
            j for j, (b, y) in enumerate(zip(names, kinds))
            if a.strip('./') == b.strip('./') or (x and CONTENTS[x] and x == y)
        }
        assert of.get(i, {i}) == same


def test_the_note_says_which(tmp_path):
    for name, content in (('a.jpg', b'1'), ('b.jpg', b'1'), ('c.jpg', b'2')):
        (tmp_path / name).write_bytes(content)
    note = duplicates_note(coco_of(['a.jpg', 'c.jpg', 'b.jpg']), str(tmp_path))
    assert 'pool.json lists 1 photos' in note and 'a.jpg (ids 0, 2)' in note
    assert duplicates_note(coco_of(['a.jpg', 'c.jpg']), str(tmp_path)) is None


@pytest.fixture
def photos(tmp_path):
    """Five pictures of soft blobs, and copies of the first in other forms."""
    draw = np.random.default_rng(0)

    def picture():
        coarse = draw.integers(0, 255, (6, 8, 3), dtype=np.uint8)
        return Image.fromarray(coarse).resize((320, 240), Image.BICUBIC)

    for n in range(5):
        picture().save(tmp_path / f'{n}.png')
    first = Image.open(tmp_path / '0.png')
    first.save(tmp_path / 'quality.jpg', quality=40)
    first.resize((160, 120)).save(tmp_path / 'small.png')
    brighter = np.asarray(first, np.int16) + 3
    Image.fromarray(brighter.clip(0, 255).astype(np.uint8)).save(
        tmp_path / 'brighter.png')
    first.transpose(Image.FLIP_LEFT_RIGHT).save(tmp_path / 'mirrored.png')
    for name in ('grey', 'white'):  # nothing to tell them by
        Image.new('RGB', (64, 64), name).save(tmp_path / f'{name}.png')
    return tmp_path


def test_copies_in_another_form_look_alike(photos):
    names = sorted(p.name for p in photos.iterdir()) + ['missing.jpg']
    groups = look_alikes(coco_of(names), str(photos))
    assert [[names[i] for i in ids] for ids in groups] == [
        ['0.png', 'brighter.png', 'quality.jpg', 'small.png']]
    note = look_alikes_note(coco_of(names), str(photos))
    assert '4 photos look nearly like another one, in 1 groups' in note
    assert look_alikes(coco_of(['1.png', 'missing.jpg']), str(photos)) == []


def test_of_many_photos_only_paths_are_compared(tmp_path):
    for name in ('a.jpg', 'b.jpg', 'c.jpg'):
        (tmp_path / name).write_bytes(b'same')
    coco = coco_of(['a.jpg', 'b.jpg', './a.jpg', 'x/../b.jpg', 'c.jpg'])
    for prefix in (str(tmp_path), '', '../images'):
        assert duplicate_photos(coco, prefix, most_read=4) == [[0, 2], [1, 3]]
    alone = coco_of(['a.jpg', 'b.jpg', 'c.jpg'])
    assert duplicate_photos(alone, str(tmp_path), most_read=2) == []
    assert duplicate_photos(alone, str(tmp_path)) == [[0, 1, 2]]
