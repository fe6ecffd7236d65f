"""What labelling tools export becomes the labels that a run waits for."""
import csv
import io
import json
import os
import zipfile

import pytest
import yaml
from helpers import exports
from helpers.exports import CLASSES, DIALECTS, PHOTOS
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mmal.fileio import read_json, write_json
from mmal.pool import CocoData, ManualOracle, load_coco
from mmal.pool.formats import exchange
from mmal.pool.formats.exchange import (
    LabelBox,
    LabelExport,
    LabelImage,
    turned_box,
)
from mmal.pool.formats.exports import read_export
from mmal.pool.formats.label_studio import LabelConfig
from mmal.pool.label_export import TOOLS, export_request
from mmal.pool.label_import import (
    ImportOptions,
    import_labels,
    labelled_so_far,
    match_images,
    save_labels,
)
from mmal.pool.label_request import LabelRequest, save_starting_boxes
from mmal.pool.layout import LabelDir

MORE = {'more/a2.jpg': ((50, 40), []), 'empty.jpg': ((50, 40), [])}


def pool_of(photos):
    content = exports.coco(photos)
    images = {i['id']: i for i in content['images']}
    return CocoData('pool.json', images, {}, content['categories'])


def ask(folder, photos=PHOTOS, others=MORE):
    """A request for photos of a pool that has others too."""
    pool = pool_of({**photos, **others})
    files = LabelDir(str(folder))
    names = set(photos)
    write_json(files.request, pool.subset(
        i for i, e in pool.images.items() if e['file_name'] in names))
    return LabelRequest.open(files), pool


def boxes_of(content):
    """File name -> classes and boxes of a COCO dict."""
    names = {c['id']: c['name'] for c in content['categories']}
    return {
        i['file_name']: [(names[a['category_id']], a['bbox'])
                         for a in content['annotations']
                         if a['image_id'] == i['id']]
        for i in content['images']
    }


def same(content, photos=PHOTOS, exact=1e-6):
    """Whether the labels are just the boxes of the photos."""
    found = boxes_of(content)
    assert set(found) == set(photos)
    for name, (_, boxes) in photos.items():
        assert [label for label, _ in found[name]] == [b[0] for b in boxes]
        for (_, ours), (_, theirs) in zip(found[name], boxes):
            assert ours == pytest.approx(theirs, abs=exact)


def image(name='a.jpg', boxes=(('car', (1, 2, 30, 40)), ), **kwargs):
    return LabelImage(name, boxes=[LabelBox(*b) for b in boxes], **kwargs)


def imported(tmp_path, *images, photos=PHOTOS, **options):
    request, pool = ask(tmp_path / 'labels', photos)
    return import_labels(LabelExport('coco', list(images), []), request, pool,
                         ImportOptions(**options))


@pytest.mark.parametrize('dialect', DIALECTS, ids=lambda d: d.__name__)
def test_every_box_is_equal(dialect, tmp_path):
    form, exact = DIALECTS[dialect]
    photos = PHOTOS
    if dialect is exports.yolo_cvat or dialect.__name__.startswith('yolo'):
        # a line that stands twice counts once
        photos = {n: (size, list(dict.fromkeys(boxes)))
                  for n, (size, boxes) in PHOTOS.items()}
    request, pool = ask(tmp_path / 'labels', photos)
    export = read_export(dialect(str(tmp_path), photos), classes=CLASSES)
    assert export.form == form
    assert set(export.classes) <= {*CLASSES, 'objects'}
    result = import_labels(export, request, pool)
    assert not result.waiting and not result.unknown
    same(result.content, photos, exact)

    # and the run takes them
    save_labels(result, request)
    oracle = ManualOracle(pool, folder=request.files.path)
    assert len(oracle.annotate(request.images.ids)) == sum(
        len(boxes) for _, boxes in photos.values())


@pytest.mark.parametrize('tool', TOOLS)
def test_what_goes_out_comes_back(tool, tmp_path):
    """The starting boxes themselves, where somebody says they were looked
    at."""
    request, pool = ask(tmp_path / 'labels')
    for name in PHOTOS:
        path = tmp_path / 'photos' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b'not looked at')
    predicted = {
        i: [LabelBox(label, tuple(map(float, bbox)), .25 * n + .1, (1, 2, 3, 4)
                     if tool != 'yolo' else None)
            for n, (label, bbox) in enumerate(
                dict.fromkeys(PHOTOS[entry['file_name']][1]))]
        for i, entry in request.images.images.items()}
    photos = {entry['file_name']: (PHOTOS[entry['file_name']][0],
                                   [(b.label, b.bbox) for b in predicted[i]])
              for i, entry in request.images.images.items()}
    images = request.to_label(predicted)
    save_starting_boxes(request, images)
    out = str(tmp_path / 'out' / TOOLS[tool])
    written = export_request(tool, images, request.images,
                             str(tmp_path / 'photos'), out)
    if tool == 'label-studio':  # people accept all predictions
        tasks = read_json(out)
        assert tasks[0]['predictions'][0]['result'][0]['score'] == .1
        assert 'left 1.0' in json.dumps(tasks[0]['predictions'])
        write_json(out, [dict(t, annotations=[dict(t['predictions'][0])])
                         for t in tasks])
    export = read_export(written.path, classes=CLASSES)
    if tool != 'label-studio':
        result = import_labels(export, request, pool)
        assert sorted(result.unchanged) == sorted(PHOTOS)
        assert not result.content['images']
    result = import_labels(export, request, pool,
                           ImportOptions(confirm_unchanged=True))
    same(result.content, photos, 1e-5)


def request_of(folder, *names):
    """Photos without boxes, in a request and in a folder, where it can hold
    them."""
    photos = {name: ((50, 40), []) for name in names}
    request, _ = ask(folder / 'labels', photos, {})
    (folder / 'photos').mkdir()
    for name in names:
        if '/' not in name:
            (folder / 'photos' / name).write_bytes(b'photo')
    return request


def exported(folder, request, tool, out='out', **options):
    return export_request(tool, request.to_label({}), request.images,
                          str(folder / 'photos'), str(folder / out),
                          **options)


def test_yolo_keeps_what_people_have_drawn(tmp_path):
    request = request_of(tmp_path, 'a.jpg')
    (tmp_path / 'out').mkdir()
    exported(tmp_path, request, 'yolo')
    drawn = tmp_path / 'out' / 'labels' / 'a.txt'
    drawn.write_text('0 0.5 0.5 0.1 0.1')
    with pytest.raises(ValueError, match='people have drawn.*Import.*--out'):
        exported(tmp_path, request, 'yolo')
    assert drawn.read_text() == '0 0.5 0.5 0.1 0.1'


@pytest.mark.parametrize('tool, options', [
    ('yolo', {}), ('fiftyone', {}), ('label-studio', dict(how='upload')),
    ('label-studio', {})])
@pytest.mark.parametrize('name', ['../secret.jpg', 'ABSOLUTE'])
def test_names_that_lead_out(tool, options, name, tmp_path):
    name = name.replace('ABSOLUTE', f'{tmp_path}/secret.jpg')
    (tmp_path / 'secret.jpg').write_bytes(b'secret')
    request = request_of(tmp_path, 'a.jpg', name)
    with pytest.raises(ValueError, match='leads out of.*--to coco'):
        exported(tmp_path, request, tool, **options)
    assert not (tmp_path / 'out').exists()
    assert not (tmp_path / 'secret.txt').exists()
    # where the name alone is passed on, it may be any
    exported(tmp_path, request, 'coco', 'out.json')


def test_label_files_stay_in_their_folder(tmp_path):
    """An absolute name of a photo that is in the folder."""
    request = request_of(tmp_path, f'{tmp_path}/photos/a.jpg')
    with pytest.raises(ValueError, match='leads out of .*out'):
        exported(tmp_path, request, 'yolo')
    assert not (tmp_path / 'photos' / 'a.txt').exists()


@pytest.mark.parametrize('tool', ['yolo', 'fiftyone'])
def test_photos_of_one_stem_are_refused(tool, tmp_path):
    request = request_of(tmp_path, 'a.jpg', 'a.png', 'b.jpg')
    with pytest.raises(ValueError, match="'a.jpg', 'a.png' apart.*--to"):
        exported(tmp_path, request, tool)
    exported(tmp_path, request, 'cvat', 'out.xml')


def test_fiftyone_finds_photos_whatever_they_are_called(tmp_path):
    """It cuts off what follows the last dot of a name in data.json."""
    request = request_of(tmp_path, 'a.1.jpg', 'day/b.png', 'day/no_ending',
                         'no.photo')
    exported(tmp_path, request, 'fiftyone')
    photos = {os.path.splitext(name)[0]: path for name, path in read_json(
        f'{tmp_path}/out/data.json').items()}
    labels = read_json(f'{tmp_path}/out/labels.json')['labels']
    assert {key: os.path.relpath(photos[key], tmp_path / 'photos')
            for key in labels} == {
        'a.1': 'a.1.jpg', 'day/b': 'day/b.png',
        'day/no_ending': 'day/no_ending', 'no.photo': 'no.photo'}


def test_yolo_lists_its_classes_in_their_order(tmp_path):
    """As texts of a json, their numbers would be none."""
    request = request_of(tmp_path, 'a.jpg')
    exported(tmp_path, request, 'yolo')
    with open(f'{tmp_path}/out/data.yaml', encoding='utf-8') as f:
        config = yaml.safe_load(f)
    assert config['names'] == list(CLASSES) and config['nc'] == len(CLASSES)


@pytest.mark.parametrize('changes, is_finished', [
    (dict(tags=['labelled']), True), (dict(tags=['night']), None),
    (dict(tags=None), None), ({}, None), (dict(tags='unlabelled'), None),
    (dict(tags=5), None), (dict(tags={'labelled': 1}), None),
    (dict(tags=['labelled'], ground_truth=None), True)])
def test_a_tag_of_fiftyone_says_that_a_photo_is_done(
        changes, is_finished, tmp_path):
    path = exports.fiftyone_samples(str(tmp_path)) + '/samples.json'
    content = read_json(path)
    content['samples'][0].update(changes)
    export = read_export(exports.write(path, content))
    assert export.images[0].is_finished is is_finished
    assert export.images[1].is_finished is None


@pytest.mark.parametrize('names, is_taken', [
    (['a', 'a-2'], False), (['data/a.jpg', 'data/a-2.jpg'], False),
    (['a', 'day/a'], True), (['data/a.jpg', 'data/day/a.jpg'], True),
    (['a.jpg'], True), (['day/a'], True)])
def test_a_name_without_its_folder_may_be_of_another_photo(
        names, is_taken, tmp_path):
    """FiftyOne without rel_dir calls photos of two folders so."""
    photos = {'a.jpg': ((50, 40), []), 'day/a.jpg': ((50, 40), [])}
    request, pool = ask(tmp_path / 'labels', photos, {})
    box = LabelBox('car', (1., 2., 3., 4.))
    result = import_labels(
        LabelExport('fiftyone', [LabelImage(n, boxes=[box]) for n in names],
                    []), request, pool)
    assert len(result.labelled) == (len(names) if is_taken else 0)
    assert is_taken or 'rel_dir' in result.problems['a.jpg']
    assert 'day/a.jpg' in result.waiting or 'day/a.jpg' in result.labelled


def test_no_name_without_its_folder_corrects_another_photo(tmp_path):
    """The run has labels of a.jpg, and FiftyOne calls day/a.jpg so."""
    photos = {'a.jpg': ((50, 40), []), 'day/a.jpg': ((50, 40), [])}
    request, pool = ask(tmp_path / 'labels', photos, {})
    request = LabelRequest(request.files, request.images,
                           frozenset(['a.jpg']))
    result = import_labels(
        LabelExport('fiftyone', [image('a')], []), request, pool)
    assert not result.corrected and not result.content['images']
    assert result.waiting == ['day/a.jpg']
    assert any('rel_dir' in line for line in result.lines())
    # by its full name it is a correction
    result = import_labels(
        LabelExport('fiftyone', [image('a.jpg')], []), request, pool)
    assert result.corrected == ['a.jpg']


def test_tasks_and_interface_are_two_files(tmp_path):
    request = request_of(tmp_path, 'a.jpg')
    with pytest.raises(ValueError, match='interface.*json'):
        exported(tmp_path, request, 'label-studio', 'req.xml')
    assert not (tmp_path / 'req.xml').exists()


def test_a_printed_command_can_be_pasted(tmp_path):
    request = request_of(tmp_path, 'a.jpg')
    (tmp_path / 'my photos').mkdir()
    (tmp_path / 'photos').rename(tmp_path / 'my photos' / 'a')
    written = export_request(
        'label-studio', request.to_label({}), request.images,
        str(tmp_path / 'my photos' / 'a'), str(tmp_path / 'e.json'))
    assert f"DOCUMENT_ROOT='{tmp_path}/my photos' " in written.steps[0]


def test_one_moved_box_is_a_change(tmp_path):
    request, pool = ask(tmp_path / 'labels')
    images = request.to_label({request.open_ids[0]: [
        LabelBox('car', (1., 2., 30., 40.)), LabelBox('car', (5., 5., 9., 9.))
    ]})
    save_starting_boxes(request, images)

    def result(*boxes):
        export = LabelExport('coco', [image(boxes=boxes)], [])
        return import_labels(export, request, pool)

    a, b = ('car', (1.01, 2, 30, 40)), ('car', (5, 5, 9, 9))
    assert result(b, a).unchanged == ['a.jpg']
    for changed in ([a], [a, b, b], [a, ('car', (5, 5, 9.5, 9))],
                    [a, ('person', (5, 5, 9, 9))]):
        assert result(*changed).labelled == ['a.jpg']


@pytest.mark.parametrize('name', [
    'a.jpg', 'images/a.jpg', 'images\\a.jpg', 'a.png', 'a',
    '0a1b2c3d-a.jpg', '/data/upload/7/0a1b2c3d-a.jpg',
    '/data/local-files/?d=photos/a.jpg', 'Train/a.jpg',
    f'a_jpg.rf.{exports.digest("a")}.jpg',
    'https://bucket.example.org/photos/a.jpg?signature=x/y',
    's3://bucket/photos/a.jpg', 'file:///C:/photos/a.jpg',
])
def test_names_that_tools_make(name, tmp_path):
    result = imported(tmp_path, image(name))
    assert result.labelled == ['a.jpg'] and not result.unknown
    assert len(result.missing) == 2


def test_names_as_a_server_stores_them():
    """Without blanks and signs, as Label Studio's uploads are."""
    ours = ["it's (1) photo.jpg", 'b c.jpg', 'b_c d.jpg', 'b c_d.jpg']
    matched, unknown = match_images(
        [image('/data/upload/1/0a1b2c3d-its_1_photo.jpg'), image('b_c.jpg'),
         image('b_c_d.jpg')], ours)
    assert list(matched) == ours[:2] and unknown == ['b_c_d.jpg']


def test_a_name_that_several_photos_have_is_none(tmp_path):
    photos = {'x/a.jpg': ((9, 9), []), 'y/a.jpg': ((9, 9), []),
              'b.jpg': ((9, 9), [])}
    matched, unknown = match_images(
        [image('a.jpg'), image('a.png'), image('b.tiff')], list(photos))
    assert unknown == ['a.jpg', 'a.png'] and set(matched) == {'b.jpg'}


@settings(max_examples=60, deadline=None)
@given(st.lists(
    st.text(st.characters(blacklist_categories=('Cs', 'Cc'),
                          blacklist_characters='/\\?%#:'), min_size=1,
            max_size=12).filter(lambda s: s.strip('. ') == s),
    min_size=1, max_size=6, unique_by=lambda s: s.casefold()))
def test_uploads_are_found_again(stems):
    """Whatever photos are called, the name of an upload means the right one
    or none."""
    import unicodedata
    ours = [unicodedata.normalize('NFC', f'{s}.jpg') for s in stems]
    ours = list(dict.fromkeys(ours))
    for name in ours:
        matched, unknown = match_images(
            [image(f'/data/upload/3/0123abcd-{name}')], ours)
        assert list(matched) == [name]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_resized_photos_are_scaled_back(data):
    width, height = (data.draw(st.integers(20, 4000)) for _ in 'wh')
    scale = data.draw(st.floats(.1, 4))
    size = tuple(max(2, round(s * scale)) for s in (width, height))
    x, y = (data.draw(st.floats(0, .5)) for _ in 'xy')
    w, h = (data.draw(st.floats(.1, .5)) for _ in 'wh')
    theirs = (x * size[0], y * size[1], w * size[0], h * size[1])
    ours = (x * width, y * height, w * width, h * height)
    photos = {'a.jpg': ((width, height), [])}
    pool = pool_of(photos)
    request = LabelRequest(LabelDir('nowhere'), pool, frozenset())
    result = import_labels(
        LabelExport('x', [image(boxes=[('car', theirs)], size=size)], []),
        request, pool)
    (box, ) = result.content['annotations']
    assert box['bbox'] == pytest.approx(ours, rel=1e-6, abs=1e-4)
    assert result.rescaled == ([] if size == (width, height) else ['a.jpg'])


def test_another_shape_is_refused(tmp_path):
    square = image(size=(640, 640), boxes=[('car', (64, 64, 64, 64))])
    with pytest.raises(ValueError, match='640x640.*640x480.*--stretched'):
        imported(tmp_path, square)
    result = imported(tmp_path, square, stretched=True)
    assert result.content['annotations'][0]['bbox'] == [64, 48, 64, 48]


def test_half_done_jobs_do_not_pass(tmp_path):
    names = list(PHOTOS)
    result = imported(tmp_path, image(names[0]), image(names[1], boxes=()),
                      image(names[2], boxes=(), is_finished=False))
    assert result.labelled == names[:1]
    assert (result.may_be_empty, result.unfinished) == (
        names[1:2], names[2:])
    assert list(boxes_of(result.content)) == names[:1]
    text = '\n'.join(result.lines())
    assert '--confirm-empty' in text and 'night 1/b.c.jpg' in text

    result = imported(tmp_path, image(names[0]), image(names[1], boxes=()),
                      confirm_empty=True)
    assert (result.empty, result.missing) == (names[1:2], names[2:])
    assert result.content['confirm_empty'] is True
    result = imported(tmp_path, image(names[0]), image(names[1], boxes=()),
                      empty=['b.c.jpg', names[2]])
    assert result.empty == names[1:] and not result.waiting
    with pytest.raises(ValueError, match='none of the pool'):
        imported(tmp_path, image(), empty=['other.jpg'])
    with pytest.raises(ValueError, match='1 boxes on it'):
        imported(tmp_path, image(), empty=['a.jpg'])


def test_what_was_handed_in_without_boxes_is_empty(tmp_path):
    result = imported(tmp_path, image(boxes=(), is_finished=True))
    assert result.empty == ['a.jpg']


def test_pieces_are_joined(tmp_path):
    names = list(PHOTOS)
    request, pool = ask(tmp_path / 'labels')

    def read(*images):
        result = import_labels(LabelExport('x', list(images), []), request,
                               pool)
        save_labels(result, request)
        return result

    assert read(image(names[0])).missing == names[1:]
    assert read(image(names[1], boxes=[('car', (1, 1, 9, 9))])).missing == \
        names[2:]
    assert labelled_so_far(request, pool) == {names[0]: 1, names[1]: 1}
    # the newer one counts, and one that is not handed in changes nothing
    result = read(image(names[0], boxes=[('person', (2, 2, 8, 8))]),
                  image(names[1], boxes=(), is_finished=False),
                  image(names[2], boxes=(), is_finished=True))
    assert not result.waiting
    found = boxes_of(read_json(request.files.labels))
    assert found == {names[0]: [('person', [2, 2, 8, 8])],
                     names[1]: [('car', [1, 1, 9, 9])], names[2]: []}


def test_labels_saved_by_hand_stay(tmp_path):
    request, pool = ask(tmp_path / 'labels')
    own = exports.coco({'b.c.jpg': PHOTOS['night 1/b.c.jpg'],
                        'more/a2.jpg': ((50, 40), []),
                        'a.jpg': PHOTOS['a.jpg']})
    own['images'] = [
        {k: v for k, v in i.items() if k not in ('width', 'height')}
        for i in own['images']]
    write_json(request.files.labels, own)
    result = import_labels(
        LabelExport('x', [image(boxes=[('car', (1, 2, 3, 4))])], []), request,
        pool)
    found = boxes_of(result.content)
    # the empty one was never confirmed
    assert found == {'a.jpg': [('car', [1, 2, 3, 4])], 'b.c.jpg': [
        ('traffic light', [0, 0, 7, 21])]}


def test_photos_that_the_run_has_are_corrected(tmp_path):
    request, pool = ask(tmp_path / 'labels')
    oracle = ManualOracle(pool, folder=request.files.path)
    whole = read_export(exports.label_studio(str(tmp_path)))
    save_labels(import_labels(whole, request, pool), request)
    oracle.annotate(request.images.ids)

    # the next request, and an export of the project that has grown
    request, _ = ask(tmp_path / 'labels', {'empty.jpg': MORE['empty.jpg']},
                     {**PHOTOS, 'more/a2.jpg': MORE['more/a2.jpg']})
    pool = pool_of({**PHOTOS, **MORE})
    request = LabelRequest(
        request.files, pool_of({'empty.jpg': MORE['empty.jpg']}),
        request.accepted)
    export = LabelExport('x', [*whole.images, image('empty.jpg')], [])
    result = import_labels(export, request, pool)
    assert result.labelled == ['empty.jpg']
    assert sorted(result.corrected) == sorted(PHOTOS)
    save_labels(result, request)
    assert not oracle.take_corrections(1)  # for nothing differs
    export.images[0].boxes.pop()
    save_labels(import_labels(export, request, pool), request)
    assert oracle.take_corrections(1) == ['a.jpg']


def test_unknown_classes(tmp_path):
    odd = image(boxes=[('Car', (1, 1, 9, 9)), ('truck', (1, 1, 9, 9))])
    with pytest.raises(ValueError, match=r"'Car' \(1\).*'truck'.*'Car' for "
                       "'car'.*--rename.*--ignore-class"):
        imported(tmp_path, odd)
    with pytest.raises(ValueError, match='--rename: there are no classes'):
        imported(tmp_path, odd, renamed=dict(Car='cars'))
    result = imported(tmp_path, odd, renamed=dict(Car='car'),
                      ignored=['truck'])
    assert boxes_of(result.content)['a.jpg'] == [('car', [1, 1, 9, 9])]


def test_crowd_regions(tmp_path):
    crowd = LabelImage('a.jpg', boxes=[
        LabelBox('car', (1, 1, 9, 9), is_crowd=True)])
    result = imported(tmp_path, crowd)
    assert result.crowd == 1
    assert result.content['annotations'][0]['iscrowd'] == 1
    assert any('crowd' in line for line in result.lines())
    result = imported(tmp_path, crowd, crowd='boxes')
    assert result.content['annotations'][0]['iscrowd'] == 0


def test_boxes_outside(tmp_path):
    result = imported(tmp_path, image(boxes=[
        ('car', (-5, 470, 20, 20)), ('car', (700, 0, 9, 9))]), image(
            'b.c.jpg', boxes=[('car', (400, 0, 9, 9))]))
    assert boxes_of(result.content) == {'a.jpg': [('car', [0, 470, 15, 10])]}
    # it would pass for an empty one
    assert list(result.problems) == ['night 1/b.c.jpg']
    assert 'night 1/b.c.jpg' in result.waiting


def accept(request, pool, *names):
    """The request, some of whose photos the run has taken over with a box
    on each."""
    write_json(request.files.accepted, exports.coco({
        n: (PHOTOS[n][0], [('car', (1, 1, 9, 9))]) for n in names}))
    return LabelRequest.open(request.files)


def test_boxes_outside_leave_the_labels_of_before(tmp_path):
    names = list(PHOTOS)
    request, pool = ask(tmp_path / 'labels')
    outside = [('car', (5000, 0, 9, 9))]

    def read(request, *images):
        return import_labels(LabelExport('x', list(images), []), request,
                             pool)

    save_labels(read(request, image()), request)
    result = read(request, image(boxes=outside), image(names[1]))
    assert boxes_of(result.content)['a.jpg'] == [('car', [1, 2, 30, 40])]
    assert result.labelled == names[1:2] and result.missing == names[2:]
    assert any('stay' in line and 'a.jpg' in line for line in result.lines())

    # the same of a photo that the run has accepted: no correction
    request = accept(request, pool, 'a.jpg')
    result = read(request, image(boxes=outside), image(names[1]))
    assert not result.corrected and 'a.jpg' not in result.waiting
    assert boxes_of(result.content)['a.jpg'] == [('car', [1, 2, 30, 40])]


def test_accepted_photos_are_emptied_by_name_alone(tmp_path):
    names = list(PHOTOS)
    request, pool = ask(tmp_path / 'labels')
    request = accept(request, pool, 'a.jpg')

    def emptied(finished=None, **options):
        result = import_labels(LabelExport('x', [
            image(boxes=(), is_finished=finished), image(names[1], boxes=())
        ], []), request, pool, ImportOptions(**options))
        return result.corrected, result.empty

    assert emptied(confirm_empty=True) == ([], names[1:2])
    assert emptied(empty=['a.jpg']) == (['a.jpg'], [])
    assert emptied(finished=True) == (['a.jpg'], [])


def test_photos_with_an_ignored_class_alone_can_be_empty(tmp_path):
    odd = image(boxes=[('unclear', (1, 1, 9, 9))])
    ignored = dict(ignored=['unclear'])
    assert imported(tmp_path, odd, **ignored).may_be_empty == ['a.jpg']
    assert imported(tmp_path, odd, empty=['a.jpg'], **ignored).empty == [
        'a.jpg']


@pytest.mark.parametrize('scale', [1, .5])
def test_predictions_that_come_back_in_whole_pixels(scale, tmp_path):
    """As VOC of most tools has them, also of a photo that was resized."""
    request, pool = ask(tmp_path / 'labels')
    save_starting_boxes(request, request.to_label({request.open_ids[0]: [
        LabelBox('car', (10.7, 20.9, 100.6, 50.4)),
        LabelBox('person', (300.2, 200.5, 31.9, 77.1))]}))
    size = tuple(round(side * scale) for side in (640, 480))

    def result(*boxes):
        boxes = [(label, tuple(v * scale for v in b)) for label, b in boxes]
        path = exports.write(f'{tmp_path}/voc/a.xml', exports.voc_text(
            'a.jpg', size, boxes, int))
        return import_labels(read_export(path), request, pool)

    car = ('car', (10.7, 20.9, 100.6, 50.4))
    person = ('person', (300.2, 200.5, 31.9, 77.1))
    assert result(person, car).unchanged == ['a.jpg']
    assert result(car, ('person', (305.2, 200.5, 31.9, 77.1))).labelled == [
        'a.jpg']


def test_the_header_of_labels_saved_by_hand_stays(tmp_path):
    request, pool = ask(tmp_path / 'labels')
    mine = dict(info=dict(contributor='us'), licenses=[dict(id=1, name='x')])
    write_json(request.files.labels, dict(exports.coco(PHOTOS), **mine))
    result = import_labels(LabelExport('x', [image()], []), request, pool)
    assert {k: result.content[k] for k in mine} == mine
    assert result.content['confirm_empty'] is True


@pytest.mark.parametrize('data, found, unknown', [
    # another text of the task is the name of another photo
    (dict(image='s3://bucket/a.jpg', previous='b.jpg'), [],
     ["s3://bucket/a.jpg ('a.jpg', 'b.jpg' by its names)"]),
    (dict(previous='b.jpg', image='s3://bucket/a.jpg', file_name='a.jpg'),
     ['a.jpg'], []),
    # an answer is called like a photo
    (dict(image='s3://bucket/a.jpg', time='night'), ['a.jpg'], []),
    (dict(image='s3://bucket/other.jpg', time='night'), [],
     ['s3://bucket/other.jpg']),
    (dict(image='https://bucket/a.jpg?X-Signature=b.jpg', time='night'),
     ['a.jpg'], []),
    # ours, of a pool that has changed since
    (dict(image='/data/upload/1/0a1b2c3d-a.jpg', file_name='x/a.jpg'),
     ['a.jpg'], []),
])
@pytest.mark.parametrize('is_minimal', [True, False])
def test_which_texts_of_a_task_name_its_photo(data, found, unknown,
                                              is_minimal, tmp_path):
    tasks = [dict(data, annotation_id=1) if is_minimal else
             dict(data=data, annotations=[dict(result=[])])]
    matched, left = match_images(read_json_export(tmp_path, tasks).images, [
        'a.jpg', 'b.jpg', 'night.jpg'])
    assert (list(matched), left) == (found, unknown)


def test_augmented_copies(tmp_path):
    copies = [image(f'a_jpg.rf.{exports.digest(n)}.jpg', boxes=[
        ('car', (int(n), 2, 30, 40))]) for n in '12']
    with pytest.raises(ValueError, match='same image.*augmentation'):
        imported(tmp_path, *copies)


def test_an_export_of_something_else(tmp_path):
    with pytest.raises(ValueError, match="'dog.jpg'.*'a.jpg'.*right file"):
        imported(tmp_path, image('dog.jpg'))


# what a tool draws besides upright boxes


def task(value, kind='rectanglelabels', **region):
    return [exports.label_studio_task('a.jpg', [dict(
        dict(type=kind, value=value, id='x', original_width=200,
             original_height=100), **region)])]


def read_json_export(tmp_path, content):
    return read_export(exports.write(f'{tmp_path}/e.json', content))


@pytest.mark.parametrize('kind, value, shares', [
    ('polygonlabels', dict(points=[[10, 20], [30, 20], [20, 60]]),
     (.1, .2, .2, .4)),
    ('ellipselabels', dict(x=50, y=50, radiusX=10, radiusY=20, rotation=0),
     (.4, .3, .2, .4)),
    # a quarter turn clockwise around the upper left corner: 40 x 20 pixels
    # become 20 x 40, to the left of it
    ('rectanglelabels', dict(x=50, y=20, width=20, height=20, rotation=90),
     (.4, .2, .1, .4)),
])
def test_other_shapes_of_label_studio(kind, value, shares, tmp_path):
    export = read_json_export(
        tmp_path, task({**value, kind: ['car']}, kind))
    assert export.images[0].boxes[0].bbox == pytest.approx(shares)
    assert export.notes.counts or kind == 'rectanglelabels'


@pytest.mark.parametrize('tasks, problem', [
    (task(dict(format='rle', rle=[1, 2], brushlabels=['car']),
          'brushlabels'), 'brush'),
    (task(dict(x=1, y=1, width=9, height=9)), 'no class'),
    (task(dict(x=1, y=1, width=9, height=9, rectanglelabels=['car']),
          image_rotation=90), 'turned'),
    (task(dict(x=1, y=1, width=9, height=9, rotation=5,
               rectanglelabels=['car']), original_width=None), 'original_w'),
])
def test_photos_of_label_studio_that_cannot_be_taken(tasks, problem,
                                                     tmp_path):
    export = read_json_export(tmp_path, tasks)
    assert problem in export.images[0].problem
    result = imported(tmp_path, *export.images)
    assert list(result.problems) == ['a.jpg'] and 'a.jpg' in result.waiting
    assert not result.content['images']


def test_who_has_handed_in_what(tmp_path):
    old, new = (exports.label_studio_region('car', (n, 1, 9, 9), (640, 480))
                for n in (1, 2))
    base = exports.label_studio_task('a.jpg', [new])
    annotation = base['annotations'][0]
    export = read_json_export(tmp_path, [
        dict(base, annotations=[dict(annotation, result=[old],
                                     updated_at='2025-01-01T00:00:00Z'),
                                annotation]),
        dict(base, annotations=[dict(annotation, was_cancelled=True)]),
        dict(base, annotations=[], drafts=[dict(result=[new])]),
        dict(base, annotations=[dict(annotation, result=[])])])
    assert [i.is_finished for i in export.images] == [True, False, False,
                                                      True]
    assert export.images[0].boxes[0].bbox[0] == pytest.approx(2 / 640)
    assert not any(i.boxes for i in export.images[1:])


def test_a_class_in_a_region_of_its_own(tmp_path):
    box = dict(id='r1', type='rectangle', original_width=100,
               original_height=100,
               value=dict(x=10, y=10, width=50, height=50, rotation=0))
    label = dict(id='r1', type='labels', value=dict(labels=['person']))
    export = read_json_export(tmp_path, [
        exports.label_studio_task('a.jpg', [box, label])])
    assert export.images[0].boxes == [
        LabelBox('person', (.1, .1, .5, .5))]


CVAT = ('<annotations><image id="0" name="a.jpg" width="640" height="480">'
        '{}</image></annotations>')


@pytest.mark.parametrize('shape, bbox', [
    ('<box label="car" xtl="10" ytl="20" xbr="50" ybr="40" rotation="90.0"/>',
     (20, 10, 20, 40)),
    ('<polygon label="car" points="10.5,20;30,25;20,60"/>',
     (10.5, 20, 19.5, 40)),
    ('<ellipse label="car" cx="50" cy="40" rx="10" ry="20"/>',
     (40, 20, 20, 40)),
    # of a window of 5 x 4: two pixels in row 1, one in row 2
    ('<mask label="car" rle="6, 2, 4, 1, 7" left="100" top="50" width="5" '
     'height="4"/>', (101, 51, 2, 2)),
])
def test_other_shapes_of_cvat(shape, bbox, tmp_path):
    export = read_export(exports.write(f'{tmp_path}/e.xml',
                                       CVAT.format(shape)))
    assert export.images[0].boxes[0].bbox == pytest.approx(bbox)
    assert export.notes.counts


@settings(max_examples=50, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1,
                max_size=5).filter(lambda m: any(map(any, m))))
def test_masks_of_cvat(tmp_path, mask):
    flat = [on for row in mask for on in row]
    runs, current = [0], False
    for on in flat:
        if on != current:
            runs.append(0)
            current = on
        runs[-1] += 1
    text = CVAT.format(
        f'<mask label="car" rle="{", ".join(map(str, runs))}" left="7" '
        f'top="9" width="3" height="{len(mask)}"/>')
    (box, ) = read_export(
        exports.write(f'{tmp_path}/m.xml', text)).images[0].boxes
    xs = [x for row in mask for x, on in enumerate(row) if on]
    ys = [y for y, row in enumerate(mask) for on in row if on]
    assert box.bbox == (7 + min(xs), 9 + min(ys), max(xs) - min(xs) + 1,
                        max(ys) - min(ys) + 1)


def test_turned_boxes_of_cvats_coco(tmp_path):
    content = exports.coco({'a.jpg': ((640, 480), [('car', (10, 20, 40, 20))])
                            }, attributes=dict(rotation=90.))
    export = read_json_export(tmp_path, content)
    assert export.images[0].boxes[0].bbox == pytest.approx((20, 10, 20, 40))


@settings(max_examples=100, deadline=None)
@given(*[st.floats(1, 100)] * 4, st.floats(-720, 720))
def test_a_turned_box_holds_its_corners(x, y, w, h, degrees):
    """Against a matrix, and back again."""
    import numpy as np
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)],
                     [np.sin(angle), np.cos(angle)]])
    pivot = np.array([x + w / 2, y + h / 2])
    corners = np.array([[x, y], [x + w, y], [x, y + h], [x + w, y + h]])
    turned = (corners - pivot) @ turn.T + pivot
    low, high = turned.min(0), turned.max(0)
    assert turned_box((x, y, w, h), degrees, pivot) == pytest.approx(
        (*low, *(high - low)), abs=1e-6)


def test_shapes_of_via(tmp_path):
    shapes = [dict(name='circle', cx=50, cy=40, r=10),
              dict(name='ellipse', cx=50, cy=40, rx=10, ry=20, theta=0),
              dict(name='polygon', all_points_x=[1, 5, 3],
                   all_points_y=[2, 2, 9]), dict(name='point', cx=1, cy=1)]
    export = read_json_export(tmp_path, {'a.jpg1': dict(
        filename='a.jpg', size=1, regions=[
            dict(shape_attributes=s, region_attributes=dict(type='car'))
            for s in shapes])})
    assert [b.bbox for b in export.images[0].boxes] == [
        (40, 30, 20, 20), (40, 20, 20, 40), (1, 2, 4, 7)]


def test_which_attribute_of_via(tmp_path):
    content = {'a.jpg1': dict(filename='a.jpg', size=1, regions=[dict(
        shape_attributes=dict(name='rect', x=1, y=1, width=5, height=5),
        region_attributes=dict(colour='car', kind='car'))])}
    path = exports.write(f'{tmp_path}/e.json', content)
    with pytest.raises(ValueError, match="'colour', 'kind'.*--class-attr"):
        read_export(path, classes=CLASSES)
    export = read_export(path, classes=CLASSES, attribute='kind')
    assert export.images[0].boxes[0].label == 'car'


def test_voc_itself_counts_from_1(tmp_path):
    path = exports.write(f'{tmp_path}/voc/a.xml', exports.voc_text(
        'a.jpg', (640, 480), [('car', (11, 21, 30, 40))], int))
    export = read_export(path, first_pixel=1)
    assert export.images[0].boxes[0].bbox == (10, 20, 30, 40)


# files that are no exports


@pytest.mark.parametrize('content, message', [
    ('{', 'not valid JSON'), ('[]', 'no labels of a known form'),
    ('{"a": 1}', 'no labels of a known form'),
    ('[{"image_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}]',
     'without the names'),
    ('[{"data": {"image": "a.jpg"}}]', 'no "annotations"'),
    ('[{"data": {}, "annotations": []}]', 'names no photo'),
])
def test_json_that_is_no_export(content, message, tmp_path):
    path = exports.write(f'{tmp_path}/e.json', content)
    with pytest.raises(ValueError, match=message) as e:
        read_export(path)
    assert 'e.json' in str(e.value)


@pytest.mark.parametrize('text, message', [
    ('<!DOCTYPE a [<!ENTITY b "c">]><annotations>&b;</annotations>',
     'document type'),
    ('<!DOCTYPE a SYSTEM "file:///etc/passwd"><annotations/>',
     'document type'),
    ('<annotations>', 'not valid XML'),
    ('<annotations><track id="0" label="car"/></annotations>', 'CVAT for im'),
    (CVAT.format('<box label="car" xtl="x" ytl="1" xbr="2" ybr="3"/>'),
     'no numbers'),
    (CVAT.format('<box label="car" xtl="nan" ytl="1" xbr="2" ybr="3"/>'),
     'no numbers'),
    ('<html/>', 'no labels of a known form'),
])
def test_xml_that_is_no_export(text, message, tmp_path):
    path = exports.write(f'{tmp_path}/e.xml', text)
    with pytest.raises(ValueError, match=message):
        read_export(path)


def test_an_interface_may_have_text_of_any_signs():
    """CDATA and comments are no document type."""
    xml = LabelConfig(CLASSES).xml().replace('</View>', (
        '<Style><![CDATA[a > b {}]]></Style><!-- <!DOCTYPE --></View>'))
    assert LabelConfig.parse(xml) == LabelConfig(CLASSES)


def test_xml_is_parsed_once(tmp_path, monkeypatch):
    parsed = []
    whole = exchange.expat.ParserCreate

    def counted(*args):
        parsed.append(1)
        return whole(*args)

    monkeypatch.setattr(exchange.expat, 'ParserCreate', counted)
    read_export(exports.cvat(str(tmp_path)))
    assert len(parsed) == 1
    read_export(exports.voc(str(tmp_path)))
    assert len(parsed) == 1 + len(PHOTOS)


def test_a_zip_keeps_its_name_in_messages_and_its_files_in_place(tmp_path):
    path = exports.zipped(f'{tmp_path}/e.zip', {'../../evil.json': '{'})
    with pytest.raises(ValueError, match=r'e\.zip.*not valid JSON'):
        read_export(path)
    assert not (tmp_path.parent / 'evil.json').exists()


def test_two_forms_in_a_folder(tmp_path):
    exports.via(str(tmp_path))
    exports.label_studio(str(tmp_path))
    with pytest.raises(ValueError, match='several forms.*--format'):
        read_export(str(tmp_path))
    assert read_export(str(tmp_path), 'via', CLASSES).form == 'via'
    with pytest.raises(ValueError, match='no labels in the form of cvat'):
        read_export(str(tmp_path), 'cvat')
    with pytest.raises(FileNotFoundError, match='nowhere'):
        read_export(str(tmp_path / 'nowhere'))


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.just(1e999),
    st.floats(), st.text(max_size=3), st.just([]), st.just({}),
    st.just([None]), st.just({'a': 1}), st.lists(st.integers(), max_size=5))


def places(content):
    """All lists and dicts in a json, with their keys."""
    keys = content if isinstance(content, dict) else range(len(content))
    for key in keys:
        yield content, key
        if isinstance(content[key], (dict, list)):
            yield from places(content[key])


@settings(max_examples=150, deadline=None,
          suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_mistake_in_a_json_is_read_or_refused(tmp_path, data):
    """One value of an export replaced or removed: never another error."""
    dialect = data.draw(st.sampled_from([
        exports.label_studio, exports.label_studio_min, exports.fiftyone,
        exports.fiftyone_samples, exports.via, exports.via_project,
        exports.via_coco]))
    path = dialect(str(tmp_path))
    if not path.endswith('.json'):
        path += '/samples.json' if path.endswith('fods') else '/labels.json'
    content = read_json(path)
    inside, key = data.draw(st.sampled_from(list(places(content))))
    if data.draw(st.booleans()):
        inside[key] = data.draw(VALUES)
    else:
        del inside[key]
    try:
        export = read_export(exports.write(path, content), classes=CLASSES)
    except ValueError:
        return
    for i in export.images:
        assert isinstance(i.name, str)
        assert all(isinstance(b.label, str) and len(b.bbox) == 4
                   for b in i.boxes)
    try:
        import_labels(export, LabelRequest(LabelDir('nowhere'), pool_of(
            PHOTOS), frozenset()), pool_of(PHOTOS))
    except ValueError:
        pass


@pytest.mark.parametrize('size', ['0', '-5', '', '0.2'])
def test_a_size_that_the_tool_does_not_know(size, tmp_path):
    box = '<box label="car" xtl="1" ytl="2" xbr="31" ybr="42"/>'
    xml = CVAT.replace('640', size).format(box)
    export = read_export(exports.write(f'{tmp_path}/e.xml', xml))
    assert export.images[0].size is None
    result = imported(tmp_path, *export.images)
    assert boxes_of(result.content)['a.jpg'] == [('car', [1, 2, 30, 40])]


def test_a_size_that_is_text(tmp_path):
    path = exports.fiftyone_samples(str(tmp_path)) + '/samples.json'
    content = read_json(path)
    for sample in content['samples']:
        meta = sample['metadata']
        meta.update({k: str(meta[k]) for k in ('width', 'height')})
    export = read_export(exports.write(path, content))
    assert export.images[0].size == (640, 480)
    same(imported(tmp_path, *export.images).content)
    content['samples'][0]['metadata']['width'] = 'wide'
    with pytest.raises(ValueError, match="sample 'data/a.jpg'.*'wide'"):
        read_export(exports.write(path, content))


@pytest.mark.parametrize('name', ['obj.names', 'classes.txt', 'names.txt',
                                  'classes.names', 'data.yaml', 'data.yml'])
def test_where_yolo_names_its_classes(name, tmp_path):
    """Their order is not that of the pool."""
    theirs = CLASSES[::-1]
    exports.write(f'{tmp_path}/y/{name}', f'names: {json.dumps(theirs)}'
                  if '.y' in name else '\n'.join(theirs))
    exports.write(f'{tmp_path}/y/labels/a.txt', '0 0.5 0.5 0.5 0.5')
    export = read_export(f'{tmp_path}/y', classes=CLASSES)
    assert [i.name for i in export.images] == ['a']
    assert export.images[0].boxes[0].label == 'traffic light'


def test_damaged_zips(tmp_path):
    """Whatever byte is wrong, it is read, or said to be no export."""
    folder = str(tmp_path / 'whole')
    os.makedirs(folder)
    with zipfile.ZipFile(f'{folder}/e.zip', 'w', zipfile.ZIP_DEFLATED) as f:
        f.writestr('annotations.xml', CVAT.format('<tag/>' * 50))
    with open(f'{folder}/e.zip', 'rb') as f:
        content = f.read()
    path, messages = tmp_path / 'e.zip', set()
    for at in range(len(content)):
        for value in (0, 255, content[at] ^ 1):
            path.write_bytes(content[:at] + bytes([value]) + content[at + 1:])
            try:
                read_export(str(path))
            except ValueError as e:
                messages.add(str(e))
    assert any('cannot be unpacked' in m and 'Download' in m
               for m in messages)


def test_csv_of_via_with_many_points(tmp_path):
    points = list(range(40_000))
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow(['filename', 'region_shape_attributes',
                   'region_attributes'])
    rows.writerow(['a.jpg', json.dumps(dict(
        name='polygon', all_points_x=points, all_points_y=points)),
        '{"object": "car"}'])
    limit = csv.field_size_limit()
    export = read_export(exports.write(f'{tmp_path}/e.csv', text.getvalue()),
                         classes=CLASSES)
    assert export.images[0].boxes[0].bbox == (0, 0, 39_999, 39_999)
    assert csv.field_size_limit() == limit


@pytest.mark.parametrize('end', ['\n', '\r\n', '\r'])
def test_csv_of_via_with_any_ends_of_lines(end, tmp_path):
    path = exports.via_csv(str(tmp_path))
    with open(path, encoding='utf-8') as f:
        text = f.read()
    with open(path, 'w', encoding='utf-8', newline='') as f:
        f.write(text.replace('\n', end))
    same(imported(tmp_path, *read_export(
        path, classes=CLASSES).images).content)


def test_csv_that_is_none(tmp_path, monkeypatch):
    class Damaged(csv.DictReader):
        def __next__(self):
            self.line_num = 3
            raise csv.Error('line contains NUL')

    monkeypatch.setattr(csv, 'DictReader', Damaged)
    path = exports.via_csv(str(tmp_path))
    with pytest.raises(ValueError, match='csv, line 3: .*NUL.*again'):
        read_export(path, classes=CLASSES)


def test_a_request_that_nobody_made(tmp_path):
    with pytest.raises(FileNotFoundError, match='asks nobody for labels'):
        LabelRequest.open(LabelDir(str(tmp_path)))


def test_the_written_file_is_plain_coco(tmp_path):
    request, pool = ask(tmp_path / 'labels')
    export = read_export(exports.cvat(str(tmp_path)))
    path = save_labels(import_labels(export, request, pool), request)
    coco = load_coco(path)
    assert not coco.repairs and coco.num_boxes == 6
