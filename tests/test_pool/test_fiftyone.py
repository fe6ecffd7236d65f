"""The whole loop with a real FiftyOne in the place of people's hands.

Runs where MMAL_FIFTYONE names an environment that it is installed in:

    bash tools/dev/fiftyone.sh install VENV
    bash tools/dev/fiftyone.sh test VENV
"""
import os
import shutil

import numpy as np
import pytest
from helpers import exports
from helpers.label_files import write_photo
from helpers.run_fiftyone import fiftyone_session
from helpers.waiting_run import (
    SCORE_THR,
    labelled,
    predicted,
    run_mmal,
    table,
    waiting_run,
)

from mmal.pool import CocoData
from mmal.pool.formats.exchange import LabelBox, LabelImage
from mmal.pool.formats.exports import read_export
from mmal.pool.label_export import export_request
from mmal.pool.label_import import match_images
from mmal.pool.layout import WorkDir

VENV = os.environ.get('MMAL_FIFTYONE')
pytestmark = [
    pytest.mark.fiftyone,
    pytest.mark.run,
    pytest.mark.skipif(
        not VENV, reason='MMAL_FIFTYONE names no environment with FiftyOne: '
        'bash tools/dev/fiftyone.sh'),
]
#: For each tool of ``mmal labels export``: how FiftyOne opens its request
#: (None: as printed), the field, and pixels by which boxes may be off.
REQUESTS = {
    'fiftyone': (None, 'ground_truth', 1e-6),
    'coco': ('dataset = fo.Dataset.from_dir(data_path={photos!r}, '
             'labels_path={request!r}, '
             'dataset_type=fo.types.COCODetectionDataset)', 'detections',
             1e-6),
    'yolo': ('dataset = fo.Dataset.from_dir({request!r}, '
             'yaml_path="data.yaml", split="train", '
             'dataset_type=fo.types.YOLOv5Dataset)', 'ground_truth', 1e-5),
}
EXPORT = 'dataset.export({out!r}, dataset_type=fo.types.{kind}, ' \
    'export_media={media}, rel_dir={photos!r})'
#: Type of FiftyOne -> what its own exporter writes is off by, in pixels; its
#: YOLO has six digits of a share.
KINDS = {'FiftyOneImageDetectionDataset': 1e-6, 'FiftyOneDataset': 1e-6,
         'COCODetectionDataset': 1e-6, 'YOLOv5Dataset': 1e-3}
#: Names with dots, blanks, accents, and one name in two folders.
PHOTOS = {
    'day/a.jpg': ((500, 400), [('person', (7, 9, 41, 43))]),
    'a.jpg': ((640, 480), [('car', (10.25, 20.5, 100, 50.75)),
                           ('person', (300, 200, 31, 77))]),
    'night 1/b.c.jpg': ((320, 200), [('traffic light', (0, 0, 7.5, 21))]),
    'day/straße.png': ((1000, 501), [('person', (899, 400, 101, 101))]),
    'day/nothing.png': ((64, 64), []),
}


@pytest.fixture(scope='module')
def waiting(tmp_path_factory):
    """A run that waits for five photos."""
    return waiting_run(tmp_path_factory.mktemp('waiting'))


def as_table(boxes, with_scores):
    """Boxes of a session as :func:`helpers.waiting_run.table` has them."""
    return table([*box, with_scores and (score or 0),
                  int(label.removeprefix('class_'))]
                 for label, *box, score, _ in boxes)


@pytest.mark.parametrize('tool, kind', [
    ('fiftyone', 'FiftyOneDataset'),
    ('fiftyone', 'FiftyOneImageDetectionDataset'),
    ('coco', 'COCODetectionDataset'), ('yolo', 'YOLOv5Dataset')])
def test_the_whole_loop(waiting, tmp_path, capsys, tool, kind):
    """Export, open, look, edit, export, import, resume."""
    run = shutil.copytree(waiting / 'work', tmp_path / 'work')
    photos, request = str(waiting / 'data' / 'images'), str(
        tmp_path / ('request.json' if tool == 'coco' else 'request'))
    text = run_mmal(capsys, 'labels', 'export', run, '--to', tool,
                    '--score-thr', SCORE_THR, '--out', request)
    load, field, exact = REQUESTS[tool]
    export = EXPORT.format(out='exported', kind=kind,
                           media=kind == 'YOLOv5Dataset',
                           photos=f'{request}/images' if tool == 'yolo'
                           else photos)
    is_tagged = kind == 'FiftyOneDataset'
    if load is None:
        first, *_, last, _ = [line.split('. ', 1)[1]
                              for line in text.splitlines()[1:]]
        load = first
        if is_tagged:  # it is what people are told to write
            export = last
    seen = fiftyone_session(
        VENV, tmp_path, load.format(photos=photos, request=request), export,
        field)

    # every predicted box is there: place, class and confidence
    expected = predicted(run)
    shown, left = ({os.path.basename(path): boxes
                    for path, boxes in seen[when].items()}
                   for when in ('shown', 'left'))
    assert seen['classes'] == ['class_0', 'class_1', 'class_2']
    assert set(seen['shown']) <= {
        os.path.join(folder, name) for name in expected
        for folder in (photos, f'{request}/images')}
    # by the folder of YOLO's label files, a photo without boxes is there too
    assert set(shown) == set(expected)
    for name, boxes in expected.items():
        if tool == 'yolo':  # which knows no scores
            boxes = table([*b[:4], 0, b[5]] for b in boxes)
        np.testing.assert_allclose(as_table(shown[name], True), boxes,
                                   atol=exact)
    assert shown != left and sum(map(len, expected.values())) >= 5

    # a photo that is as it was, or empty, is not taken unless somebody says
    # that it was looked at: by a tag, or here
    exported = tmp_path / 'exported'
    (empty, ) = (name for name, boxes in left.items() if not boxes)
    (same, ) = (name for name in left if left[name] == shown[name])
    if not is_tagged:
        text = run_mmal(capsys, 'labels', 'import', run, exported, ends=3)
        assert empty in text and same in text
        found = labelled(WorkDir(str(run)).labels.labels)
        assert set(left) - set(found) == {empty, same}
    run_mmal(capsys, 'labels', 'import', run, exported, *(
        () if is_tagged else ('--confirm-unchanged', '--confirm-empty',
                              empty)))
    found = labelled(WorkDir(str(run)).labels.labels)
    for name, boxes in left.items():
        np.testing.assert_allclose(found[name], as_table(boxes, False),
                                   atol=KINDS[kind])

    if not is_tagged:
        return
    run_mmal(capsys, 'train', waiting / 'tiny.py', '--work-dir', run,
             '--resume')
    found = labelled(WorkDir(str(run)).round(1).labelled)
    assert len(found) == 11
    for name, boxes in left.items():
        np.testing.assert_allclose(found[name], as_table(boxes, False),
                                   atol=1e-6)


def test_names_and_standard_deviations(tmp_path):
    """Whatever photos are called, each keeps its boxes."""
    photos = str(tmp_path / 'photos')
    for name, (size, _) in PHOTOS.items():
        write_photo(f'{photos}/{name}', size)
    content = exports.coco(PHOTOS)
    pool = CocoData('', {i['id']: i for i in content['images']}, {},
                    content['categories'])
    images = [LabelImage(name, size, [
        LabelBox(label, box, .5, (1.5, 1, 2, 1)) for label, box in boxes])
        for name, (size, boxes) in PHOTOS.items()]
    request = export_request('fiftyone', images, pool, photos,
                             str(tmp_path / 'request'))
    seen = fiftyone_session(VENV, tmp_path, request.steps[0], '\n'.join(
        EXPORT.format(out=kind, kind=kind, media=kind == 'YOLOv5Dataset',
                      photos=photos) for kind in KINDS), edits=False)
    for name, (_, boxes) in PHOTOS.items():
        shown = seen['shown'][f'{photos}/{name}']
        assert [box[5:] for box in shown] == [[.5, [1.5, 1, 2, 1]]] * len(
            boxes)
        for ours, theirs in zip(boxes, shown, strict=True):
            assert theirs[0] == ours[0]
            assert theirs[1:5] == pytest.approx(ours[1], abs=1e-6)

    for kind, exact in KINDS.items():
        export = read_export(str(tmp_path / kind), classes=exports.CLASSES)
        matched, unknown = match_images(export.images, list(PHOTOS))
        assert set(matched) == set(PHOTOS) and not unknown
        for name, image in matched.items():
            size, boxes = PHOTOS[name]
            found = sorted(
                (b.label, *(v * side if image.is_share else v
                            for v, side in zip(b.bbox, size * 2)))
                for b in image.boxes)
            for ours, theirs in zip(
                    sorted((label, *box) for label, box in boxes), found,
                    strict=True):
                assert theirs[0] == ours[0]
                assert theirs[1:] == pytest.approx(ours[1:], abs=exact)
