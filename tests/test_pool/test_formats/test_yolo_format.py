import os

import pytest
from helpers.label_files import (
    boxes_in_mmdet,
    check_coco,
    corners_of,
    random_coco,
    tool,
    write_photo,
    write_text,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmal.pool import load_coco
from mmal.pool.formats import YoloFolder, yolo_to_coco

LINE = '1 0.5 0.5 0.25 0.2\n'  # of 40 x 30 pixels: 15 12 10 6
NAMES = 'car\nhelmet\n'


def convert(folder, split='', classes=(), **kwargs):
    """The COCO dict of a folder, and counts of what was repaired."""
    files = YoloFolder.open(str(folder))
    done = yolo_to_coco(files, split, files.class_names(classes), **kwargs)
    return done.coco, done.notes.counts


def write_pair(folder, photo, label, text=LINE, **kwargs):
    write_photo(f'{folder}/{photo}', **kwargs)
    write_text(f'{folder}/{label}', text)


def count(counts, words):
    return sum(n for kind, n in counts.items() if words in kind)


@pytest.mark.parametrize('photo, label, names, split', [
    ('images/a b.jpg', 'labels/a b.txt', 'classes.txt', ''),
    ('images/x/a.JPG', 'labels/x/a.txt', 'classes.txt', ''),
    ('a.png', 'a.txt', 'classes.txt', ''),
    ('a.png', 'labels/a.txt', 'labels/classes.txt', ''),
    ('obj_train_data/a.png', 'obj_train_data/a.txt', 'obj.names', ''),
    ('images/train/a.png', 'labels/train/a.txt', 'classes.txt', 'train'),
    ('valid/images/a.png', 'valid/labels/a.txt', 'classes.txt', 'valid'),
    ('JPEGImages/a.jpg', 'labels/a.txt', 'classes.txt', ''),
])
def test_layouts(tmp_path, photo, label, names, split):
    write_pair(tmp_path, photo, label)
    write_text(f'{tmp_path}/{names}', NAMES)
    assert list(YoloFolder.open(str(tmp_path)).splits) == [split]
    coco, counts = convert(tmp_path, split)
    assert corners_of(coco) == {photo: [('helmet', [15, 12, 25, 18])]}
    assert [c['name'] for c in coco['categories']] == ['car', 'helmet']
    assert not counts


@pytest.mark.parametrize('yaml', [
    'train: images/train\nval: images/val\ntest:\n',
    'path: .\ntrain: [images/train]\nval: ./images/val\n',
    'path: /elsewhere/set\ntrain: ../images/train\nval: ../images/val\n',
    'train: train.txt\nval: images/val\ntest: images/none\n',
])
@pytest.mark.parametrize('names', [
    'names: [no, "2"]', 'names:\n  0: no\n  1: "2"'])
def test_data_yaml(tmp_path, yaml, names, capsys):
    folder = tmp_path / 'set'
    for split in ('train', 'val', 'more'):
        write_pair(folder, f'images/{split}/{split}.jpg',
                   f'labels/{split}/{split}.txt')
    write_text(f'{folder}/train.txt', './images/train/train.jpg\n')
    write_text(f'{folder}/data.yaml', yaml + names)
    tool('yolo2coco').main([str(folder)])
    assert 'in no split, left out: 1' in capsys.readouterr().out
    out = tmp_path / 'annotations'
    assert sorted(os.listdir(out)) == ['set_train.json', 'set_val.json']
    for split in ('train', 'val'):
        # What yaml would take for False and a number are names.
        assert boxes_in_mmdet(out / f'set_{split}.json', folder,
                              ['no', '2']) == {
            f'images/{split}/{split}.jpg': [('2', [15, 12, 25, 18])]}
    with pytest.raises(SystemExit, match="no split 'test'. It has train, val"):
        tool('yolo2coco').main([str(folder), '--split', 'test'])


def test_the_yaml_may_be_given(tmp_path):
    write_pair(tmp_path, 'images/a.jpg', 'labels/a.txt')
    write_text(f'{tmp_path}/helmets.yaml', 'names: [car, helmet]')
    coco, _ = convert(tmp_path / 'helmets.yaml')
    assert corners_of(coco)['images/a.jpg'][0][0] == 'helmet'


@pytest.mark.parametrize('yaml, message', [
    ('names: [a', 'not valid yaml'), ('- a', 'no keys'),
    ('names: {a: b}', '"names" is no list'),
    ('names: [[a]]', '"names" is no list'),
    ('names: [a, a]', 'twice: a'),
    ('names: [a, "", b]', 'name 2 is empty'),
    ('names: [a, b]\ntrain: [{a: b}]', 'is no path'),
    ('names: [a, b]\ntrain: list.txt', 'names the photo gone.jpg'),
])
def test_wrong_yaml_is_named(tmp_path, yaml, message):
    write_pair(tmp_path, 'images/a.jpg', 'labels/a.txt')
    write_text(f'{tmp_path}/list.txt', 'gone.jpg')
    write_text(f'{tmp_path}/data.yaml', yaml)
    with pytest.raises(ValueError, match=message) as error:
        convert(tmp_path)
    assert str(tmp_path) in str(error.value)


def test_splits_by_folders(tmp_path):
    """A stray photo does not join train and val; a folder called like a
    split amid others is none."""
    for name in ('train/a', 'val/b', 'c'):
        write_pair(tmp_path, f'images/{name}.jpg', f'labels/{name}.txt')
    assert YoloFolder.open(str(tmp_path)).splits == {
        'train': ['images/train/a.jpg'], 'val': ['images/val/b.jpg']}
    os.remove(tmp_path / 'images' / 'val' / 'b.jpg')
    assert list(YoloFolder.open(str(tmp_path)).splits) == ['']


def test_lists_of_another_machine(tmp_path):
    for name in ('a', 'b'):
        write_pair(tmp_path, f'images/{name}.jpg', f'labels/{name}.txt')
    write_text(f'{tmp_path}/train.txt', 'D:\\set\\images\\b.jpg\n')
    write_text(f'{tmp_path}/data.yaml', 'train: train.txt')
    assert YoloFolder.open(str(tmp_path)).splits == {'train': ['images/b.jpg']}


@pytest.mark.parametrize('seed', range(3))
def test_boxes_come_back(tmp_path, seed):
    coco = random_coco(seed)
    expected = corners_of(coco)
    for image in coco['images']:
        w, h = image['width'], image['height']
        lines = [
            f'{["car", "dog", "person"].index(n)} {(a + c) / 2 / w:.6f} '
            f'{(b + d) / 2 / h:.6f} {(c - a) / w:.6f} {(d - b) / h:.6f}'
            for n, (a, b, c, d) in expected[image['file_name']]]
        write_pair(tmp_path, f'set/{image["file_name"]}',
                   f'set/{image["file_name"][:-4]}.txt', '\n'.join(lines),
                   size=(w, h))
    classes = ['car', 'dog', 'person']
    tool('yolo2coco').main([str(tmp_path / 'set'), '--classes', *classes])
    path = tmp_path / 'annotations' / 'set.json'
    assert load_coco(str(path)).class_names == tuple(classes)
    read = boxes_in_mmdet(path, tmp_path / 'set', classes)
    assert read.keys() == expected.keys()
    for name in expected:
        for (label, box), (other, exact) in zip(read[name], expected[name],
                                                strict=True):
            assert label == other
            assert box == pytest.approx(exact, abs=1e-3)


def test_polygons_become_boxes(tmp_path):
    write_pair(tmp_path, 'a.jpg', 'a.txt',
               '0 0.1 0.2 0.5 0.2 0.3 0.6\n1 0.1 0.1 0.5 0.1 0.5 0.5 0.1 0.5')
    coco, counts = convert(tmp_path, classes=['a', 'b'])
    assert corners_of(coco)['a.jpg'] == [
        ('a', [4, 6, 20, 18]), ('b', [4, 3, 20, 15])]
    assert count(counts, 'polygons') == 2


def test_keypoints_are_no_polygon(tmp_path):
    write_pair(tmp_path, 'a.jpg', 'a.txt',
               '0 0.5 0.5 0.25 0.2 0.9 0.9 0.8 0.8')
    write_text(f'{tmp_path}/data.yaml', 'names: [a]\nkpt_shape: [2, 2]')
    coco, _ = convert(tmp_path)
    assert corners_of(coco)['a.jpg'] == [('a', [15, 12, 25, 18])]


def test_photos_and_labels_without_each_other_are_counted(tmp_path):
    write_pair(tmp_path, 'images/a.jpg', 'labels/a.txt')
    write_pair(tmp_path, 'images/empty.jpg', 'labels/empty.txt', '\n')
    write_photo(f'{tmp_path}/images/alone.jpg')
    write_text(f'{tmp_path}/labels/gone.txt', LINE)
    write_text(f'{tmp_path}/labels/classes.txt', NAMES)
    coco, counts = convert(tmp_path)
    assert len(coco['images']) == 3 and len(coco['annotations']) == 1
    assert count(counts, 'nothing on them') == 1
    assert count(counts, 'label files without a photo') == 1
    coco, counts = convert(tmp_path, leave_out_unlabelled=True)
    assert [i['file_name'] for i in coco['images']] == [
        'images/a.jpg', 'images/empty.jpg']
    assert count(counts, 'without a label file, left out') == 1


def test_repeated_lines_and_boxes_outside_are_counted(tmp_path):
    write_pair(tmp_path, 'a.jpg', 'a.txt', LINE + '1  0.5 0.5 0.25 0.2\n'
               '0 0.9 0.5 0.4 0.2\n0 0.5 0.5 0 0.1\n')
    coco, counts = convert(tmp_path, classes=['a', 'b'])
    assert corners_of(coco)['a.jpg'] == [
        ('b', [15, 12, 25, 18]), ('a', [28, 12, 40, 18])]
    assert count(counts, 'stand twice') == 1
    assert count(counts, 'cut at its border') == 1
    assert count(counts, 'less than a pixel') == 1


@pytest.mark.parametrize('line, message', [
    ('0 0.5 0.5 0.25', '3 numbers follow the class'),
    ('0 0.5 0.5 0.25 0.2 0.9', 'predictions'),
    ('0 0.5 0.5 0.25 0.2 0.9 0.9 0.9', '7 numbers'),
    ('0 0.5 0.5 0.25 O.2', 'no number'),
    ('0 0,5 0,5 0,25 0,2', 'need a point'),
    ('helmet 0.5 0.5 0.25 0.2', 'no number'),
    ('0 nan 0.5 0.25 0.2', 'nan is no share'),
    ('0 0.5 inf 0.25 0.2', 'inf is no share'),
    ('0 12 14 3 2', 'are these pixels'),
    ('0 0.5 0.5 -0.25 0.2', 'below 0'),
    ('-1 0.5 0.5 0.25 0.2', 'class is -1'),
    ('0.5 0.5 0.5 0.25 0.2', 'class is 0.5'),
    ('2 0.5 0.5 0.25 0.2', 'no class number 2, the names are those of 0 to'),
])
def test_wrong_lines_are_named(tmp_path, line, message):
    write_pair(tmp_path, 'a.jpg', 'a.txt', f'{LINE}\n{line}\n')
    write_pair(tmp_path, 'b.jpg', 'b.txt')
    with pytest.raises(ValueError, match=message) as error:
        convert(tmp_path, classes=['car', 'helmet'])
    assert f'{tmp_path}/a.txt, line 3' in str(error.value)
    assert '1 lines' in str(error.value)


def test_a_class_may_be_a_whole_float(tmp_path):
    write_pair(tmp_path, 'a.jpg', 'a.txt', '\ufeff' + LINE.replace('1', '1.0'))
    coco, _ = convert(tmp_path, classes=['car', 'helmet'])
    assert coco['annotations'][0]['category_id'] == 2


def test_what_is_missing_is_said(tmp_path):
    with pytest.raises(SystemExit, match='there is no folder .*gone'):
        tool('yolo2coco').main([str(tmp_path / 'gone')])
    with pytest.raises(ValueError, match='no photos'):
        convert(tmp_path)
    write_photo(f'{tmp_path}/images/a.jpg')
    with pytest.raises(ValueError, match='labels/a.txt.*images2coco'):
        convert(tmp_path)
    write_text(f'{tmp_path}/labels/a.txt', LINE)
    with pytest.raises(ValueError, match='no classes.txt.*--classes'):
        convert(tmp_path)
    with pytest.raises(SystemExit, match='there is no file names.txt'):
        tool('yolo2coco').main([str(tmp_path), '--classes', 'names.txt'])


def test_unreadable_photos_are_refused_or_left_out(tmp_path):
    write_pair(tmp_path, 'a.jpg', 'a.txt')
    write_text(f'{tmp_path}/b.jpg', 'no photo')
    with pytest.raises(ValueError, match='1 of 2 photos are unreadable:\n.*'
                       'b.jpg: it is not an image\n.*--skip-unreadable'):
        convert(tmp_path, classes=['car', 'helmet'])
    coco, counts = convert(tmp_path, classes=['car', 'helmet'],
                           skip_unreadable=True)
    assert len(coco['images']) == count(counts, 'unreadable') == 1


def test_the_size_is_that_after_the_rotation_of_exif(tmp_path):
    write_pair(tmp_path, 'a.jpg', 'a.txt', orientation=6)
    coco, _ = convert(tmp_path, classes=['car', 'helmet'])
    assert coco['images'][0]['width'] == 30
    assert coco['annotations'][0]['bbox'] == [11.25, 16, 7.5, 8]


def test_a_label_in_another_encoding_is_named(tmp_path):
    write_pair(tmp_path, 'a.jpg', 'a.txt')
    (tmp_path / 'a.txt').write_bytes(b'\xe9')
    with pytest.raises(ValueError, match='a.txt is not a text in UTF-8'):
        convert(tmp_path, classes=['car'])


NUMBERS = st.one_of(
    st.floats(0, 1).map(str), st.integers(-2, 3).map(str),
    st.floats().map(str), st.sampled_from(['', 'x', '1e400', '0,5', '_']))
LINES = st.one_of(
    st.lists(NUMBERS, max_size=9).map(' '.join),
    st.tuples(st.integers(0, 3), *[st.floats(0, 1)] * 4).map(
        lambda t: ' '.join(map(str, t))))


@settings(max_examples=200, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(
    st.lists(LINES, max_size=4).map('\n'.join).map(str.encode),
    st.text().map(lambda t: t.encode('utf-8', 'replace')),
    st.binary(max_size=30)))
def test_random_lines_are_read_or_refused(tmp_path, content):
    """A result that the pool takes, or one error that names the file."""
    write_photo(f'{tmp_path}/a.jpg')
    (tmp_path / 'a.txt').write_bytes(content)
    try:
        coco, _ = convert(tmp_path, classes=['a', 'b', 'c'])
    except ValueError as e:
        assert 'a.txt' in str(e)
        return
    check_coco(coco)


VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5),
              st.sampled_from(['a', '.', 'a.jpg', 'a.txt', '..'])),
    lambda v: st.one_of(
        st.lists(v, max_size=3),
        st.dictionaries(st.sampled_from(['0', '1', 'a']), v, max_size=3)),
    max_leaves=8)
NAME_LISTS = st.one_of(st.just(['a', 'b']), VALUES)


@settings(max_examples=100, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(VALUES, st.fixed_dictionaries(
    dict(names=NAME_LISTS),
    optional=dict(train=VALUES, val=VALUES, path=VALUES, kpt_shape=VALUES))))
def test_random_yaml_is_read_or_refused(tmp_path, value):
    import yaml
    write_pair(tmp_path, 'a.jpg', 'a.txt')
    write_text(f'{tmp_path}/data.yaml', yaml.safe_dump(value))
    try:
        files = YoloFolder.open(str(tmp_path))
        classes = files.class_names()
        for split in files.splits:
            check_coco(yolo_to_coco(files, split, classes).coco)
    except ValueError as e:
        assert str(tmp_path) in str(e)
