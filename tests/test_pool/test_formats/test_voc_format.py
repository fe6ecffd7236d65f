import os
import xml.etree.ElementTree as ElementTree

import pytest
from helpers.label_files import (
    boxes_in_mmdet,
    check_coco,
    corners_of,
    random_coco,
    tool,
    voc_object,
    voc_xml,
    write_photo,
    write_text,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageOps

from mmal.fileio import read_json
from mmal.pool import load_coco
from mmal.pool.formats import (
    VOC_CLASSES,
    VocFolder,
    choose_classes,
    read_voc,
    voc_to_coco,
)


def convert(folder, split='', classes=(), **kwargs):
    """The COCO dict of a folder, and counts of what was repaired."""
    images = read_voc(str(folder), split)
    done = voc_to_coco(images, choose_classes([images], classes), **kwargs)
    return done.coco, done.notes.counts


def one_photo(folder, xml, name='a', photo='a.jpg', size=(40, 30), **kwargs):
    """A folder of LabelImg with one photo."""
    write_text(f'{folder}/{name}.xml', xml)
    if photo:
        write_photo(f'{folder}/{photo}', size, **kwargs)
    return str(folder)


def count(counts, words):
    """How many notes there are whose kind has these words."""
    return sum(n for kind, n in counts.items() if words in kind)


@pytest.mark.parametrize('layout', [
    'flat', 'flat with folders', 'Annotations and JPEGImages',
    'Annotations and images', 'Annotations beside photos'])
def test_layouts(tmp_path, layout):
    xml = {'flat': '', 'flat with folders': 'x/'}.get(layout, 'Annotations/')
    photo = {'flat': '', 'flat with folders': 'x/',
             'Annotations and JPEGImages': 'JPEGImages/',
             'Annotations and images': 'images/'}.get(layout, '')
    for name in ('b', 'my photo 1'):
        write_text(f'{tmp_path}/{xml}{name}.xml',
                   voc_xml(voc_object('helmet', (2, 3, 12, 13))))
        write_photo(f'{tmp_path}/{photo}{name}.JPG', format='JPEG')
    coco, counts = convert(tmp_path)
    below = 'x/' if layout == 'flat with folders' else ''
    assert corners_of(coco) == {
        f'{below}{n}.JPG': [('helmet', [1, 2, 11, 12])]
        for n in ('b', 'my photo 1')}
    assert not counts


def test_the_tool_converts_a_folder_of_labelimg(tmp_path, capsys):
    folder = tmp_path / 'helmets'
    for i, name in enumerate(('vest', 'helmet', 'helmet')):
        one_photo(folder, voc_xml(voc_object(name, (2, 3, 12, 13))),
                  f'p {i}', f'p {i}.png')
    write_photo(f'{folder}/unlabelled.png')
    tool('voc2coco').main([str(folder)])
    path = tmp_path / 'annotations' / 'helmets.json'
    out = capsys.readouterr().out
    assert f'{path}: 3 images, 3 objects' in out
    assert 'helmet 2, vest 1' in out and str(folder) in out
    assert 'without an xml file, left out: 1 (unlabelled.png)' in out
    assert load_coco(str(path)).class_names == ('helmet', 'vest')
    assert boxes_in_mmdet(path, folder, ['helmet', 'vest']) == {
        'p 0.png': [('vest', [1, 2, 11, 12])],
        'p 1.png': [('helmet', [1, 2, 11, 12])],
        'p 2.png': [('helmet', [1, 2, 11, 12])]}


@pytest.mark.parametrize('seed', range(3))
def test_boxes_come_back(tmp_path, seed):
    coco = random_coco(seed)
    expected = corners_of(coco)
    for image in coco['images']:
        objects = [voc_object(n, (x1 + 1, y1 + 1, x2 + 1, y2 + 1))
                   for n, (x1, y1, x2, y2) in expected[image['file_name']]]
        size = image['width'], image['height']
        name = image['file_name']
        write_photo(f'{tmp_path}/voc/JPEGImages/{name}', size)
        write_text(f'{tmp_path}/voc/Annotations/{name[:-4]}.xml',
                   voc_xml(*objects, size=size, filename=name))
    tool('voc2coco').main([f'{tmp_path}/voc', '--classes', 'own'])
    path = tmp_path / 'annotations' / 'voc.json'
    assert corners_of(read_json(str(path))) == expected
    classes = list(load_coco(str(path)).class_names)
    assert boxes_in_mmdet(path, tmp_path / 'voc' / 'JPEGImages',
                          classes) == expected


@pytest.mark.parametrize('lines, names', [
    ('b.jpg\na.jpg\n', ['b.jpg', 'a.jpg']),
    ('\ufeffa 1\r\nmy photo -1\r\n', ['a.jpg', 'my photo.jpg']),
    ('my photo.jpg\n', ['my photo.jpg']),
    ('JPEGImages/a.jpg\nC:\\data\\b.xml\n', ['a.jpg', 'b.jpg']),
    ('2 1\n1\n', ['2 1.jpg', '1.jpg']),
    ('a\nb\na\n', ['a.jpg', 'b.jpg']),
])
def test_lists(tmp_path, lines, names):
    for name in ('a', 'b', 'my photo', '2 1', '1'):
        write_text(f'{tmp_path}/Annotations/{name}.xml', voc_xml())
        write_photo(f'{tmp_path}/JPEGImages/{name}.jpg')
    write_text(f'{tmp_path}/ImageSets/Main/train.txt', lines)
    assert VocFolder(str(tmp_path)).splits == ['train', 'val']
    coco, counts = convert(tmp_path, 'train', ['helmet'])
    assert [i['file_name'] for i in coco['images']] == names
    assert count(counts, 'twice in a list') == lines.count('a\nb\na')


def test_lists_without_main_and_in_utf16(tmp_path):
    one_photo(tmp_path, voc_xml(voc_object('dog', (1, 1, 9, 9))))
    os.makedirs(tmp_path / 'ImageSets')
    (tmp_path / 'ImageSets' / 'mine.txt').write_bytes('a'.encode('utf-16'))
    assert len(convert(tmp_path, 'mine')[0]['images']) == 1


def test_splits_need_lists(tmp_path):
    one_photo(tmp_path, voc_xml(voc_object('dog', (1, 1, 9, 9))))
    coco, counts = convert(tmp_path, 'train')
    assert len(coco['images']) == count(counts, 'no ImageSets') == 1
    with pytest.raises(SystemExit, match='which images are train and which '
                       'val: leave --split out'):
        tool('voc2coco').main([str(tmp_path), '--split', 'train', 'val'])


@pytest.mark.parametrize('filename, photo', [
    ('a', 'a.jpg'), ('a.jpg', 'a.png'), ('old.jpg', 'a.JPEG'),
    (None, 'a.bmp'), ('C:\\photos\\real.png', 'real.png'),
    ('real', 'real.tif'), ('A.jpg', 'A.JPG'), (None, 'A.Jpg'),
])
def test_the_photo_on_disk_decides(tmp_path, filename, photo):
    xml = voc_xml(voc_object('helmet', (1, 1, 9, 9)), filename=filename)
    coco, counts = convert(one_photo(tmp_path, xml, photo=photo))
    assert [i['file_name'] for i in coco['images']] == [photo]
    assert not counts


def test_accents_may_be_written_in_two_ways(tmp_path):
    one_photo(tmp_path, voc_xml(voc_object('dog', (1, 1, 9, 9))), 'caf\u00e9',
              'cafe\u0301.jpg')
    coco, _ = convert(tmp_path)
    assert os.path.exists(tmp_path / coco['images'][0]['file_name'])


@pytest.mark.parametrize('filename, expected', [
    ('a.jpg', 'a.jpg'), ('a', 'a.jpg'), (None, 'a.jpg'), ('b.png', 'b.png')])
def test_a_photo_that_is_not_on_disk_keeps_the_stated_size(
        tmp_path, filename, expected):
    xml = voc_xml(voc_object('helmet', (1, 1, 9, 9)), size=(50, 20),
                  filename=filename)
    coco, counts = convert(one_photo(tmp_path, xml, photo=None))
    assert coco['images'] == [
        dict(id=1, file_name=expected, width=50, height=20)]
    assert count(counts, 'not on disk') == 1


def test_of_photos_with_equal_names_filename_decides(tmp_path):
    write_photo(f'{tmp_path}/a.png')
    xml = voc_xml(voc_object('dog', (1, 1, 9, 9)), filename='a.png')
    coco, _ = convert(one_photo(tmp_path, xml))
    assert coco['images'][0]['file_name'] == 'a.png'
    one_photo(tmp_path, voc_xml(voc_object('dog', (1, 1, 9, 9))))
    with pytest.raises(ValueError, match='a.xml may be of any of the photos '
                       'a.jpg, a.png'):
        convert(tmp_path)


def test_two_files_of_one_photo_are_refused(tmp_path):
    one_photo(tmp_path, voc_xml(filename='a.jpg'), 'copy', None)
    one_photo(tmp_path, voc_xml())
    with pytest.raises(ValueError, match=r'copy.xml and .*a.xml are of one '
                       'photo, a.jpg'):
        convert(tmp_path, classes=['dog'])
    one_photo(tmp_path / 'x', voc_xml(), 'a.jpg')
    one_photo(tmp_path / 'x', voc_xml())
    with pytest.raises(ValueError, match='a.xml and a.jpg.xml are of one'):
        convert(tmp_path / 'x', classes=['dog'])


def test_swapped_corners_are_put_in_order(tmp_path):
    xml = voc_xml(voc_object('dog', (12, 13, 2, 3)),
                  voc_object('dog', (2, 13, 12, 3)))
    coco, counts = convert(one_photo(tmp_path, xml))
    assert [a['bbox'] for a in coco['annotations']] == [[1, 2, 10, 10]] * 2
    assert count(counts, 'swapped') == 2


@pytest.mark.parametrize('text, iscrowd, odd', [
    ('1', 1, 0), ('0', 0, 0), ('True', 1, 0), ('false', 0, 0), ('', 0, 0),
    ('Unspecified', 0, 0), (' 1 ', 1, 0), ('2', 1, 0), ('1.0', 1, 0),
    ('maybe', 0, 1)])
def test_difficult(tmp_path, text, iscrowd, odd):
    xml = voc_xml(voc_object('dog', (1, 1, 9, 9), text))
    coco, counts = convert(one_photo(tmp_path, xml))
    assert coco['annotations'][0]['iscrowd'] == iscrowd
    assert count(counts, 'neither yes nor no') == odd
    assert count(counts, '--difficult keep') == iscrowd
    kept, _ = convert(tmp_path, difficult='keep')
    assert kept['annotations'][0]['iscrowd'] == 0


@pytest.mark.parametrize('size', [None, (0, 0), (-1, 30), ('', '')])
def test_a_missing_size_is_the_photos(tmp_path, size):
    xml = voc_xml(voc_object('dog', (1, 1, 9, 9)), size=size)
    coco, counts = convert(one_photo(tmp_path, xml))
    assert (coco['images'][0]['width'], coco['images'][0]['height']) == (
        40, 30)
    assert count(counts, 'without <size>') == 1
    os.remove(tmp_path / 'a.jpg')
    with pytest.raises(ValueError, match='a.xml has no image size, and its '
                       'photo a.jpg'):
        convert(tmp_path)


def test_a_wrong_size_is_the_photos_and_reported(tmp_path):
    xml = voc_xml(voc_object('dog', (1, 1, 9, 9)), size=(400, 300))
    coco, counts = convert(one_photo(tmp_path, xml))
    assert coco['images'][0]['width'] == 40
    assert count(counts, 'resized after labelling?') == 1


def test_an_unreadable_photo_has_the_stated_size(tmp_path):
    one_photo(tmp_path, voc_xml(voc_object('dog', (1, 1, 9, 9))), photo=None)
    write_text(f'{tmp_path}/a.jpg', 'no photo')
    coco, counts = convert(tmp_path)
    assert coco['images'][0]['width'] == 40
    assert count(counts, 'unreadable photos') == 1


@pytest.mark.parametrize('orientation, drawn_on', [
    *((o, 'shown') for o in range(1, 9)),
    # below 5 the size cannot tell
    *((o, 'stored') for o in range(5, 9))])
def test_boxes_fit_the_photo_that_mmcv_loads(tmp_path, orientation, drawn_on):
    """A white rectangle stays where its box is."""
    image = Image.new('L', (40, 30))
    ImageDraw.Draw(image).rectangle((4, 6, 14, 10), fill=255)
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / 'a.png', exif=exif)
    shown = ImageOps.exif_transpose(image := Image.open(tmp_path / 'a.png'))
    left, top, right, bottom = (
        image if drawn_on == 'stored' else shown).getbbox()
    size = image.size if drawn_on == 'stored' else shown.size
    # VOC's right and bottom are the last pixel, counted from 1.
    xml = voc_xml(voc_object('dog', (left + 1, top + 1, right, bottom)),
                  size=size)
    coco, counts = convert(one_photo(tmp_path, xml, photo=None))
    assert (coco['images'][0]['width'], coco['images'][0]['height']) == (
        shown.size)
    x, y, w, h = coco['annotations'][0]['bbox']
    assert (x, y, x + w + 1, y + h + 1) == shown.getbbox()
    assert count(counts, 'boxes turned as well') == (drawn_on == 'stored')


def test_boxes_are_cut_at_the_border(tmp_path):
    boxes = {(-5, 3, 12, 13): [0, 2, 11, 10],
             (30, 20, 99, 99): [29, 19, 11, 11],
             (60, 3, 80, 13): None, (5, 5, 5, 9): None}
    xml = voc_xml(*(voc_object('dog', b) for b in boxes))
    coco, counts = convert(one_photo(tmp_path, xml))
    assert [a['bbox'] for a in coco['annotations']] == [
        b for b in boxes.values() if b]
    assert [a['area'] for a in coco['annotations']] == [110, 121]
    assert count(counts, 'cut at its border') == 2
    assert count(counts, 'less than a pixel') == 2


def test_boxes_in_another_unit_are_refused(tmp_path):
    xml = voc_xml(voc_object('dog', (.1, .2, .5, .5)))
    with pytest.raises(ValueError, match='none of the 1 boxes.*a.xml.*unit'):
        convert(one_photo(tmp_path, xml))


def test_tools_that_count_from_0(tmp_path):
    xml = voc_xml(voc_object('helmet', (0, 3, 12, 13)))
    coco, counts = convert(one_photo(tmp_path, xml))
    assert coco['annotations'][0]['bbox'] == [0, 2, 11, 10]
    assert count(counts, '--zero-based') == 1
    coco, counts = convert(tmp_path, first_pixel=0)
    assert coco['annotations'][0]['bbox'] == [0, 3, 12, 10]
    assert not counts


def test_vocs_classes_where_there_are_no_others(tmp_path):
    xml = voc_xml(voc_object('sheep', (1, 1, 9, 9)))
    coco, counts = convert(one_photo(tmp_path, xml))
    assert [c['name'] for c in coco['categories']] == list(VOC_CLASSES)
    assert count(counts, '--classes own') == 1
    assert coco['annotations'][0]['category_id'] == 17
    own, _ = convert(tmp_path, classes=['own'])
    assert own['categories'] == [dict(id=1, name='sheep')]


def test_own_classes_may_include_vocs(tmp_path):
    xml = voc_xml(*(voc_object(n, (1, 1, 9, 9)) for n in (
        'person', ' traffic\n light ', 'helmet')))
    coco, counts = convert(one_photo(tmp_path, xml))
    assert [c['name'] for c in coco['categories']] == [
        'helmet', 'person', 'traffic light']
    assert not counts
    with pytest.raises(ValueError, match="'traffic light'.*20 classes of VOC"):
        convert(tmp_path, classes='voc')


def test_a_strange_class_amid_vocs_own_is_refused(tmp_path):
    folder = tmp_path / 'VOC2007'
    one_photo(folder, voc_xml(*(
        voc_object(n, (1, 1, 9, 9)) for n in ('person', 'helmet'))))
    with pytest.raises(ValueError, match=r"a.xml.*'helmet'.*--classes own"):
        convert(folder)
    coco, _ = convert(folder, classes=['own'])
    assert [c['name'] for c in coco['categories']] == ['helmet', 'person']
    one_photo(folder, voc_xml(voc_object('helmet', (1, 1, 9, 9))))
    assert convert(folder)[0]['categories'] == [dict(id=1, name='helmet')]


def test_two_spellings_of_a_class_are_refused(tmp_path):
    one_photo(tmp_path, voc_xml(voc_object('car', (1, 1, 9, 9))), 'a')
    one_photo(tmp_path, voc_xml(voc_object('Car', (1, 1, 9, 9))), 'b', 'b.jpg')
    with pytest.raises(ValueError, match=r"a.xml.*'car'"):
        convert(tmp_path)
    coco, _ = convert(tmp_path, classes=['Car', 'car'])
    assert [a['category_id'] for a in coco['annotations']] == [2, 1]
    with pytest.raises(ValueError, match=r"b.xml.*'Car'.*is 'car' meant"):
        convert(tmp_path, classes=['car', 'bus'])


def test_another_case_of_vocs_class_is_reported(tmp_path):
    xml = voc_xml(voc_object('Car', (1, 1, 9, 9)))
    coco, counts = convert(one_photo(tmp_path, xml))
    assert coco['categories'] == [dict(id=1, name='Car')]
    assert count(counts, "'Car' is written 'car' in VOC") == 1


def test_classes_are_the_same_in_all_files_of_a_command(tmp_path):
    for split, name in (('train', 'vest'), ('val', 'helmet')):
        one_photo(tmp_path / split, voc_xml(voc_object(name, (1, 1, 9, 9))))
    tool('voc2coco').main([str(tmp_path / 'train'), str(tmp_path / 'val'),
                           '--out-dir', str(tmp_path / 'out')])
    for split in ('train', 'val'):
        coco = load_coco(str(tmp_path / 'out' / f'{split}.json'))
        assert coco.class_names == ('helmet', 'vest')


def test_images_without_objects_are_kept_and_counted(tmp_path):
    one_photo(tmp_path, voc_xml())
    with pytest.raises(ValueError, match='has an object: name the classes'):
        convert(tmp_path)
    coco, counts = convert(tmp_path, classes=['dog'])
    assert len(coco['images']) == count(counts, 'without objects') == 1


BOX = voc_object('dog', (1, 1, 9, 9))


@pytest.mark.parametrize('xml, message', [
    ('', 'not valid XML'),
    ('<annotation>', 'not valid XML'),
    ('<?xml version="1.0" encoding="none"?><annotation/>', 'not valid XML'),
    ('<!DOCTYPE a [<!ENTITY b "c">]><annotation>&b;</annotation>',
     'document type'),
    ('<html/>', 'first element is <html>'),
    (voc_xml(BOX, BOX.replace('dog', ' ')), 'number 2 has no <name>'),
    (voc_xml(BOX, '<object><name>dog</name></object>'),
     r'number 2\) without a box: there is no <xmin>'),
    (voc_xml(BOX.replace('<ymax>9', '<ymax>nine')), 'four numbers'),
    (voc_xml(BOX.replace('<ymax>9', '<ymax>9,5')), 'a point'),
    (voc_xml(BOX.replace('<ymax>9', '<ymax>nan')), 'four numbers'),
    (voc_xml(BOX.replace('<ymax>9', '<ymax>1e999')), 'four numbers'),
])
def test_wrong_files_are_named(tmp_path, xml, message):
    with pytest.raises(ValueError, match=message) as error:
        convert(one_photo(tmp_path, xml))
    assert 'a.xml' in str(error.value)


TEXTS = st.one_of(
    st.none(), st.integers(-99, 99).map(str), st.floats().map(str),
    st.sampled_from(['dog', 'Dog', 'True', '1,5', '']),
    st.text(st.characters(min_codepoint=32, max_codepoint=0x2fff)))
TAGS = st.sampled_from([
    'object', 'name', 'bndbox', 'xmin', 'ymin', 'xmax', 'ymax', 'size',
    'width', 'height', 'filename', 'difficult', 'part'])
TREES = st.recursive(
    st.tuples(TAGS, TEXTS, st.just(())),
    lambda inner: st.tuples(TAGS, TEXTS, st.lists(inner, max_size=6)),
    max_leaves=25)
OBJECTS = st.fixed_dictionaries(
    dict(name=st.one_of(st.sampled_from(['dog', 'helmet']), TEXTS),
         difficult=TEXTS,
         bndbox=st.fixed_dictionaries(
             {s: st.integers(-9, 60) for s in ('xmin', 'ymin', 'xmax', 'ymax')}
         ))).map(lambda o: ('object', None, (
             ('name', o['name'], ()), ('difficult', o['difficult'], ()),
             ('bndbox', None, [(k, str(v), ())
                               for k, v in o['bndbox'].items()]))))


def build(tree):
    tag, text, children = tree
    element = ElementTree.Element(tag)
    element.text = text
    element.extend(build(c) for c in children)
    return element


@settings(max_examples=150, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.lists(OBJECTS, max_size=5),
                 st.lists(st.one_of(TREES, OBJECTS), max_size=5)),
       st.one_of(st.just(b''), st.binary(max_size=4)), st.integers(0, 400))
def test_random_trees_are_read_or_refused(tmp_path, trees, noise, at):
    """A result that the pool takes, or one error that names the file."""
    root = ElementTree.Element('annotation')
    root.extend(build(t) for t in trees)
    content = ElementTree.tostring(root)
    write_photo(f'{tmp_path}/a.jpg')
    (tmp_path / 'a.xml').write_bytes(content[:at] + noise + content[at:])
    try:
        coco, _ = convert(tmp_path)
    except ValueError as e:
        assert str(tmp_path) in str(e)
        return
    check_coco(coco)
