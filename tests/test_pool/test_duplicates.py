"""Photos under several ids, against a comparison of all pairs."""
import os
import tempfile

from hypothesis import given, settings
from hypothesis import strategies as st

from mmal.pool import duplicate_photos, duplicates_note
from mmal.pool.coco import parse_coco

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
