"""Names of files as COCO files spell them and as the disk does."""
import json
import unicodedata

import pytest
from PIL import Image

from mmal.pool import load_with_images
from mmal.pool.reading import find_file

NFC = unicodedata.normalize('NFC', 'caf\u00e9.png')
NFD = unicodedata.normalize('NFD', 'caf\u00e9.png')


def make(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        Image.new('RGB', (8, 6)).save(folder / name)


@pytest.mark.parametrize('on_disk, in_file', [
    ('a/b.png', 'a\\b.png'), (NFC, NFD), (NFD, NFC),
    (f'a/{NFD}', f'a\\{NFC}')])
def test_one_file_of_another_spelling(tmp_path, on_disk, in_file):
    make(tmp_path, on_disk)
    assert find_file(str(tmp_path), in_file) == on_disk


def test_a_file_that_is_there_keeps_its_name(tmp_path):
    make(tmp_path, 'a/b.png', 'a\\b.png', NFC, NFD)
    for name in ('a\\b.png', 'a/b.png', NFC, NFD):
        assert find_file(str(tmp_path), name) == name
    assert find_file(str(tmp_path), 'a\\c.png') is None


def test_several_files_fit_none(tmp_path):
    make(tmp_path, f'a/{NFC}', f'a/{NFD}')
    assert find_file(str(tmp_path), f'a\\{NFC}') is None


def test_the_file_is_read_with_the_names_of_the_disk(tmp_path):
    make(tmp_path, 'a/b.png', NFC, 'plain.png')
    names = ['a\\b.png', NFD, 'plain.png', 'gone\\x.png']
    (tmp_path / 'pool.json').write_text(json.dumps(dict(
        images=[dict(id=n, file_name=name, width=8 if n == 3 else 0, height=6)
                for n, name in enumerate(names)],
        categories=[dict(id=1, name='cat')])))
    coco = load_with_images(
        str(tmp_path / 'pool.json'), str(tmp_path), need_annotations=False)
    assert [i['file_name'] for i in coco.images.values()] == [
        'a/b.png', NFC, 'plain.png', 'gone\\x.png']
    # sizes are those of the files found
    assert {i['width'] for i in coco.images.values()} == {8}
    assert '"file_name" spelled as on the disk (2)' in coco.repairs
