"""What somebody has is recognised, and becomes one pool."""
import pytest
from helpers.label_files import (
    check_coco,
    corners_of,
    voc_object,
    voc_xml,
    write_photo,
    write_text,
)

from mmal.fileio import write_json
from mmal.pool.formats import read_pool, recognise

LINE = '1 0.5 0.5 0.25 0.2\n'  # of 40 x 30 pixels: 15 12 25 18


@pytest.fixture
def photos(tmp_path):
    """Two photos in a folder, with a note beside them."""
    folder = tmp_path / 'photos'
    for name in ('a.jpg', 'below/b.jpg'):
        write_photo(f'{folder}/{name}')
    write_text(f'{folder}/notes.txt', 'a note')
    return folder


def make(form, photos):
    """Labels of some form for the photo a.jpg; returns what to read."""
    if form == 'voc':
        write_text(f'{photos}/a.xml', voc_xml(
            voc_object('helmet', (16, 13, 26, 19))))
    elif form == 'yolo':
        write_text(f'{photos}/a.txt', LINE)
        write_text(f'{photos}/classes.txt', 'car\nhelmet\n')
    elif form == 'coco':
        write_json(f'{photos}/labels.json', dict(
            images=[dict(id=7, file_name='a.jpg')],
            annotations=[dict(id=1, image_id=7, category_id=2,
                              bbox=[15, 12, 10, 6])],
            categories=[dict(id=2, name='helmet')]))
        return f'{photos}/labels.json'
    return str(photos)


@pytest.mark.parametrize('form', ['voc', 'yolo', 'coco'])
def test_labels_of_every_form_give_the_same_box(photos, form):
    source = make(form, photos)
    assert recognise(source) == form
    pool = read_pool(source, form)
    check_coco(pool.coco)
    assert pool.img_prefix == str(photos)
    assert corners_of(pool.coco)['a.jpg'] == [('helmet', [15, 12, 25, 18])]
    image = next(i for i in pool.coco['images'] if i['file_name'] == 'a.jpg')
    assert (image['width'], image['height']) == (40, 30)


def test_photos_without_labels(photos):
    assert recognise(str(photos)) == 'images'
    pool = read_pool(str(photos), 'images', ['helmet', 'vest'])
    assert [i['file_name'] for i in pool.coco['images']] == [
        'a.jpg', 'below/b.jpg']
    assert [c['name'] for c in pool.coco['categories']] == ['helmet', 'vest']
    with pytest.raises(ValueError, match='name the classes: --classes'):
        read_pool(str(photos), 'images')


def test_two_forms_in_one_folder_are_not_guessed(photos):
    make('voc', photos)
    make('yolo', photos)
    with pytest.raises(ValueError, match='--format voc, --format yolo'):
        recognise(str(photos))
    for form in ('voc', 'yolo'):
        pool = read_pool(str(photos), form)
        assert corners_of(pool.coco)['a.jpg'] == [
            ('helmet', [15, 12, 25, 18])]


def test_splits_are_joined_and_an_image_of_two_is_taken_once(tmp_path):
    for name in ('1', '2', '3'):
        write_photo(f'{tmp_path}/JPEGImages/{name}.jpg')
        write_text(f'{tmp_path}/Annotations/{name}.xml', voc_xml(
            voc_object('helmet', (16, 13, 26, 19))))
    for split, names in (('train', '1\n2\n'), ('val', '2\n3\n')):
        write_text(f'{tmp_path}/ImageSets/Main/{split}.txt', names)
    pool = read_pool(str(tmp_path), 'voc', splits=['train', 'val'])
    check_coco(pool.coco)
    assert [i['file_name'] for i in pool.coco['images']] == [
        '1.jpg', '2.jpg', '3.jpg']
    assert len(pool.coco['annotations']) == 3
    assert pool.notes.counts['images that are in two splits, taken once'] == 1
    assert len(read_pool(str(tmp_path), 'voc').coco['images']) == 3
    only = read_pool(str(tmp_path), 'voc', splits=['val'])
    assert [i['file_name'] for i in only.coco['images']] == ['2.jpg', '3.jpg']


def test_splits_of_yolo_are_joined(tmp_path):
    for split in ('train', 'val'):
        write_photo(f'{tmp_path}/images/{split}/{split}.jpg')
        write_text(f'{tmp_path}/labels/{split}/{split}.txt', LINE)
    write_text(f'{tmp_path}/data.yaml', 'train: images/train\n'
               'val: images/val\nnames: [car, helmet]\n')
    source = f'{tmp_path}/data.yaml'
    assert recognise(source) == recognise(str(tmp_path)) == 'yolo'
    pool = read_pool(source, 'yolo')
    check_coco(pool.coco)
    assert corners_of(pool.coco) == {
        f'images/{s}/{s}.jpg': [('helmet', [15, 12, 25, 18])]
        for s in ('train', 'val')}
    only = read_pool(source, 'yolo', splits=['val'])
    assert [i['id'] for i in only.coco['images']] == [1]


def test_a_coco_file_is_repaired_and_says_so(photos):
    source = make('coco', photos)  # its image has no size
    assert any('repaired' in kind for kind in read_pool(
        source, 'coco').notes.counts)
    with pytest.raises(ValueError, match='has the classes helmet'):
        read_pool(source, 'coco', ['car'])
    with pytest.raises(ValueError, match='has no splits'):
        read_pool(source, 'coco', splits=['train'])


def test_what_is_no_source(tmp_path):
    with pytest.raises(FileNotFoundError, match='no file or folder'):
        recognise(f'{tmp_path}/gone')
    write_text(f'{tmp_path}/a.csv', 'x')
    with pytest.raises(ValueError, match='give a folder of photos'):
        recognise(f'{tmp_path}/a.csv')
