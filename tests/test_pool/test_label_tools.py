"""Requests and exports against the tools' own libraries."""
import json
import os

import pytest
from helpers import exports
from helpers.exports import CLASSES
from helpers.label_files import write_photo
from helpers.label_tools import ask

from mmal.fileio import read_json
from mmal.pool import CocoData
from mmal.pool.formats.exchange import LabelBox, LabelImage
from mmal.pool.formats.exports import read_export
from mmal.pool.formats.label_studio import LabelConfig
from mmal.pool.label_export import export_request
from mmal.pool.label_import import match_images

# names that all of these libraries can keep
PHOTOS = {
    'a.jpg': ((640, 480), [('car', (10.25, 20.5, 100, 50.75)),
                           ('person', (300, 200, 31, 77))]),
    'night/b c.jpg': ((320, 200), [('traffic light', (0, 0, 7.5, 21))]),
}
READ = '''
import json, sys
import datumaro as dm
data = dm.Dataset.import_from(sys.argv[1], sys.argv[2])
names = [c.name for c in data.categories()[dm.AnnotationType.label].items]
print(json.dumps({item.id: [[names[a.label], *a.get_bbox()]
    for a in item.annotations if a.type == dm.AnnotationType.bbox]
    for item in data}))
'''
WRITE = '''
import json, sys
import datumaro as dm
from datumaro.components.media import Image
folder, form, photos, out = sys.argv[1:]
photos, items = json.load(open(photos)), []
classes = ['car', 'person', 'traffic light']
for name, (size, boxes) in photos.items():
    items.append(dm.DatasetItem(
        id=name.rpartition('.')[0],
        # one of them must have both subsets
        subset='val' if items and 'ultralytics' in form else 'train',
        media=Image.from_file(f'{folder}/{name}'),
        annotations=[dm.Bbox(*box, label=classes.index(label))
                     for label, box in boxes]))
data = dm.Dataset.from_iterable(items, categories=classes)
data.export(out, form, save_media=False)
'''
CONVERT = '''
import sys
from label_studio_sdk.converter import Converter
config, tasks, out, form = sys.argv[1:]
converter = Converter(open(config).read(), out, download_resources=False)
getattr(converter, 'convert_to_' + form)(tasks, out, is_dir=False)
'''


@pytest.fixture
def folder(tmp_path):
    for name, (size, _) in PHOTOS.items():
        write_photo(f'{tmp_path}/photos/{name}', size)
    exports.write(f'{tmp_path}/photos.json', PHOTOS)
    return str(tmp_path)


def check(images, exact):
    found = {}
    matched, unknown = match_images(images, list(PHOTOS))
    assert not unknown
    for name, image in matched.items():
        width, height = PHOTOS[name][0] if image.is_share else (1, 1)
        found[name] = sorted((b.label, *(
            v * s for v, s in zip(b.bbox, (width, height) * 2)))
            for b in image.boxes)
    assert set(found) == set(PHOTOS)
    for name, (_, boxes) in PHOTOS.items():
        for ours, theirs in zip(found[name], sorted(
                (label, *box) for label, box in boxes), strict=True):
            assert ours[0] == theirs[0]
            assert ours[1:] == pytest.approx(theirs[1:], abs=exact)


@pytest.mark.parametrize('form, exact', [
    ('cvat', .005), ('coco_instances', .005), ('voc_detection', 1e-6),
    ('yolo', 1e-3), ('yolo_ultralytics', 1e-3)])
def test_what_datumaro_writes_is_read(form, exact, folder):
    ask(WRITE, f'{folder}/photos', form, f'{folder}/photos.json',
        f'{folder}/out')
    export = read_export(f'{folder}/out', classes=CLASSES)
    check(export.images, exact)


@pytest.mark.parametrize('tool, form, path', [
    ('cvat', 'cvat', 'request/cvat.xml'),
    ('coco', 'coco_instances', 'request/annotations/instances_default.json'),
    ('yolo', 'yolo', 'request')])
def test_what_we_write_is_read_by_datumaro(tool, form, path, folder):
    content = exports.coco(PHOTOS)
    pool = CocoData('', {i['id']: i for i in content['images']}, {},
                    content['categories'])
    images = [LabelImage(name, size, [
        LabelBox(label, box, .5, (1, 1, 1, 1)) for label, box in boxes])
        for name, (size, boxes) in PHOTOS.items()]
    out = f'{folder}/{path}'
    export_request(tool, images, pool, f'{folder}/photos', out)
    if tool != 'yolo':  # which has links of its own
        os.symlink(f'{folder}/photos', f'{folder}/request/images')
    found = json.loads(ask(
        READ, out if tool == 'cvat' else f'{folder}/request', form))
    check([LabelImage(name, boxes=[LabelBox(label, tuple(box))
                                   for label, *box in boxes])
           for name, boxes in found.items()], 1e-3)


@pytest.mark.parametrize('form, exact', [
    ('json_min', 1e-6), ('coco', 1e-6), ('yolo', 1e-6), ('voc', 1)])
def test_what_label_studio_converts_is_read(form, exact, folder):
    """Its own converter makes the other forms of its JSON."""
    tasks = exports.label_studio(folder, PHOTOS)
    assert len(read_json(tasks)) == 2
    config = exports.write(f'{folder}/config.xml', LabelConfig(CLASSES).xml())
    ask(CONVERT, config, tasks, f'{folder}/out', form)
    if form == 'json_min':
        assert 'rectanglelabels' in open(f'{folder}/out/result.json').read()
    check(read_export(f'{folder}/out', classes=CLASSES).images, exact)
    check(read_export(tasks).images, 1e-6)
