import os

import pytest
from helpers.label_files import (
    boxes_in_mmdet,
    random_coco,
    tool,
    write_photo,
    write_text,
)

from mmal.fileio import read_json, write_json
from mmal.pool import check_images, load_coco
from mmal.pool.formats import folder_to_coco


@pytest.fixture
def photos(tmp_path):
    """Two photos, one in a folder below, and what is not one."""
    folder = tmp_path / 'photos'
    write_photo(f'{folder}/b 1.JPG', (40, 30), format='JPEG', orientation=6)
    write_photo(f'{folder}/a/x.png', (20, 10))
    for name in ('notes.txt', 'raw.heic', '.hidden.jpg', '._b 1.JPG',
                 '__MACOSX/a.jpg', '.git/a.jpg'):
        write_text(f'{folder}/{name}', '')
    return folder


def run(*args):
    return tool('images2coco').main([str(a) for a in args])


def images_of(path):
    return {i['file_name']: i['id'] for i in read_json(str(path))['images']}


def test_a_folder_becomes_a_pool_where_mmdet_writes_it(photos, capsys):
    write_text(f'{photos.parent}/classes.txt', 'helmet\nvest\n')
    assert run(photos, photos.parent / 'classes.txt', 'pool.json') == 0
    path = photos.parent / 'annotations' / 'pool.json'
    out = capsys.readouterr().out
    assert f'{path}: 2 images, 0 objects' in out
    assert 'classes: helmet, vest' in out
    assert 'other kinds (1 .txt, 1 .heic), left out: 2' in out
    coco = load_coco(str(path))
    assert list(coco.images.values()) == [
        dict(id=1, file_name='a/x.png', width=20, height=10),
        dict(id=2, file_name='b 1.JPG', width=30, height=40)]
    assert not coco.annotations
    assert not check_images(coco, str(photos), decode=True)
    assert boxes_in_mmdet(path, photos, ['helmet', 'vest']) == {
        'a/x.png': [], 'b 1.JPG': []}


def test_a_name_with_a_folder_is_written_there(photos, tmp_path):
    assert run(photos, 'helmet, vest', tmp_path / 'x' / 'pool.json') == 0
    coco = load_coco(str(tmp_path / 'x' / 'pool.json'))
    assert coco.class_names == ('helmet', 'vest')


def test_extensions_can_be_excluded(photos, tmp_path):
    out = tmp_path / 'pool.json'
    assert run(photos, 'a', out, '-e', 'png', '.bmp') == 0
    assert list(images_of(out)) == ['b 1.JPG']


def test_unreadable_photos_are_listed_or_left_out(photos, tmp_path, capsys):
    write_text(f'{photos}/broken.jpg', 'no photo')
    write_text(f'{photos}/empty.jpg', '')
    os.symlink('nowhere', photos / 'link.jpg')
    out = tmp_path / 'pool.json'
    assert run(photos, 'a', out) == 1
    said = capsys.readouterr().err
    assert '3 of 5 photos are unreadable' in said
    assert 'broken.jpg: it is not an image' in said
    assert 'empty.jpg: the file is empty' in said
    assert 'link.jpg: no such file' in said
    assert '--skip-unreadable' in said and not out.exists()
    assert run(photos, 'a', out, '--skip-unreadable') == 0
    assert 'unreadable photos, left out: 3' in capsys.readouterr().out
    assert len(images_of(out)) == 2


def test_ids_stay_when_the_folder_changes(photos, tmp_path):
    out = tmp_path / 'pool.json'
    run(photos, 'a', out)
    write_photo(f'{photos}/a/first.jpg')
    run(photos, 'a', out)
    assert images_of(out) == {'a/first.jpg': 3, 'a/x.png': 1, 'b 1.JPG': 2}
    os.remove(photos / 'a' / 'first.jpg')
    run(photos, 'a', out)
    write_photo(f'{photos}/0.jpg')
    run(photos, 'a', out)
    # 3 was another photo's.
    assert images_of(out) == {'0.jpg': 4, 'a/x.png': 1, 'b 1.JPG': 2}


def test_labelled_images_keep_their_ids_and_classes(photos, tmp_path, capsys):
    labelled = dict(
        images=[dict(id=7, file_name='b 1.JPG', width=30, height=40),
                dict(id=9, file_name='gone.jpg', width=30, height=40)],
        annotations=[dict(id=1, image_id=7, category_id=5, area=4,
                          bbox=[1, 1, 2, 2], iscrowd=0)],
        categories=[dict(id=5, name='vest'), dict(id=2, name='helmet')])
    write_json(str(tmp_path / 'labelled.json'), labelled)
    out = tmp_path / 'pool.json'
    assert run(photos, tmp_path / 'labelled.json', out) == 0
    assert images_of(out) == {'a/x.png': 10, 'b 1.JPG': 7}
    assert read_json(str(out))['categories'] == labelled['categories']
    assert 'not in the folder: 1 (gone.jpg)' in capsys.readouterr().out

    from mmal.pool import initial_ids
    del labelled['images'][1]
    write_json(str(tmp_path / 'labelled.json'), labelled)
    cfg = dict(ann_file=str(tmp_path / 'labelled.json'))
    assert initial_ids(cfg, load_coco(str(out)), 0).ids == [7]


def test_an_image_has_one_id(photos, tmp_path, capsys):
    run(photos, 'a', tmp_path / 'pool.json')
    coco = random_coco(0)
    coco['images'][4]['file_name'] = 'a/x.png'
    write_json(str(tmp_path / 'labelled.json'), coco)
    assert run(photos, tmp_path / 'labelled.json', tmp_path / 'pool.json') == 1
    assert 'a/x.png has two ids, 1 and 5' in capsys.readouterr().err


def test_labels_are_not_overwritten(photos, tmp_path, capsys):
    write_json(str(tmp_path / 'out.json'), random_coco(0))
    assert run(photos, 'a', tmp_path / 'out.json') == 1
    assert 'has annotations' in capsys.readouterr().err
    assert read_json(str(tmp_path / 'out.json')) == random_coco(0)


def test_a_folder_may_be_called_like_a_data_set(photos, tmp_path, monkeypatch):
    os.rename(photos, tmp_path / 'svhn')
    monkeypatch.chdir(tmp_path)
    assert run('svhn', 'a', 'pool.json') == 0
    assert len(images_of('annotations/pool.json')) == 2


@pytest.mark.parametrize('folder, classes, out, message', [
    ('gone', 'a', 'x.json', 'there is no folder gone'),
    ('.', 'gone.txt', './x.json', 'there is no file gone.txt'),
    ('.', 'a', 'x.txt', 'x.txt must end in .json'),
    ('.', ' , ', './x.json', 'names no class'),
    ('.', 'a,a', './x.json', 'twice: a'),
    ('.', 'a', './x.json', r'. has no photos .it has 1 .md.'),
    ('.', 'a', './other.json', 'other.json has no key "images"'),
])
def test_wrong_arguments_are_said(tmp_path, monkeypatch, capsys, folder,
                                  classes, out, message):
    monkeypatch.chdir(tmp_path)
    if out == './other.json':
        write_json('other.json', {})
    else:
        write_text(f'{tmp_path}/read.md', '')
    assert run(folder, classes, out) == 1
    import re
    assert re.search(message, capsys.readouterr().err)
    assert not os.path.exists(tmp_path / 'x.json')


def test_links_do_not_lead_in_a_circle(photos, tmp_path):
    os.symlink(photos, photos / 'a' / 'up')
    os.makedirs(tmp_path / 'more')
    write_photo(f'{tmp_path}/more/m.jpg')
    os.symlink(tmp_path / 'more', photos / 'linked')
    coco = folder_to_coco(str(photos), 'a').coco
    assert [i['file_name'] for i in coco['images']] == [
        'a/x.png', 'b 1.JPG', 'linked/m.jpg']


def test_names_that_are_not_utf8(photos, tmp_path, capsys):
    write_photo(f'{tmp_path}/m.jpg')
    os.rename(tmp_path / 'm.jpg', os.fsencode(photos) + b'/\xe9.jpg')
    write_text(os.fsdecode(os.fsencode(photos) + b'/\xe8.jpg'), 'no photo')
    out = tmp_path / 'pool.json'
    assert run(photos, 'a', out, '--skip-unreadable') == 0
    coco = load_coco(str(out))
    assert len(coco.ids) == 3
    assert not check_images(coco, str(photos), decode=True)
