"""The whole loop with a real Label Studio in the place of people's hands.

Runs where MMAL_LABEL_STUDIO names an environment that it is installed in:

    bash tools/dev/label_studio.sh install VENV
    bash tools/dev/label_studio.sh test VENV
"""
import contextlib
import copy
import glob
import json
import os
import shutil
import signal
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
from helpers.forks import ROOT
from helpers.label_studio import label_studio
from helpers.waiting_run import (
    SCORE_THR,
    labelled,
    predicted,
    run_mmal,
    table,
    waiting_run,
)

from mmal.fileio import read_json
from mmal.pool.layout import WorkDir

VENV = os.environ.get('MMAL_LABEL_STUDIO')
pytestmark = [
    pytest.mark.label_studio,
    pytest.mark.run,
    pytest.mark.skipif(
        not VENV, reason='MMAL_LABEL_STUDIO names no environment with Label '
        'Studio: bash tools/dev/label_studio.sh'),
]


@pytest.fixture(scope='module')
def waiting(tmp_path_factory):
    """A run that has trained on six images and waits for five more."""
    return waiting_run(tmp_path_factory.mktemp('waiting'))


@pytest.fixture
def run(waiting, tmp_path):
    """A copy of that run, to go on with."""
    return shutil.copytree(waiting / 'work', tmp_path / 'work')


@pytest.fixture(scope='module')
def studio(waiting, tmp_path_factory):
    folder = str(tmp_path_factory.mktemp('studio'))
    with label_studio(VENV, folder, str(waiting / 'data')) as server:
        yield server


@pytest.fixture
def mmal(studio, capsys):
    """Runs a command, and notes in the server's log what it printed."""
    return partial(run_mmal, capsys, note=studio.note)


def drawn(regions):
    """Boxes of regions of Label Studio as table has them, computed by hand."""
    return table([
        r['value']['x'] / 100 * r['original_width'],
        r['value']['y'] / 100 * r['original_height'],
        r['value']['width'] / 100 * r['original_width'],
        r['value']['height'] / 100 * r['original_height'], r.get('score', 0),
        int(r['value']['rectanglelabels'][0].removeprefix('class_'))]
        for r in regions)


def region(n, width, height, *box):
    """A box that somebody draws anew, in percents."""
    keys = ('x', 'y', 'width', 'height')
    return dict(id=f'own-{n}', type='rectanglelabels', from_name='label',
                to_name='image', original_width=width, original_height=height,
                image_rotation=0, origin='manual',
                value=dict(zip(keys, box), rotation=0,
                           rectanglelabels=[f'class_{n % 3}']))


def annotated(tasks, sizes):
    """What people make of predictions: the first photo's are accepted, one
    of the second is moved, of the third one is removed and one drawn, the
    fourth is empty, and the fifth is drawn anew.

    Returns:
        dict[int, list[dict]]: Task -> the regions of its annotation.
    """
    # those with most boxes are accepted, moved and removed from
    tasks = sorted(tasks, key=lambda t: -len(t['predictions'][0]['result']))
    results = {t['id']: copy.deepcopy(t['predictions'][0]['result'])
               for t in tasks}
    first, second, third, fourth, fifth = results
    assert results[first] and results[second] and results[third]
    results[second][0]['value'].update(x=1.5, width=33.3333333333)
    for n, task in ((1, third), (2, fifth)):
        size = sizes[task]
        results[task] = [*results[task][1:], region(n, *size, 10, 20.5, 30,
                                                    40.25)]
    results[fourth] = []
    for regions in results.values():
        for r in regions:
            r.pop('score', None)  # people have none
    return results


@pytest.mark.parametrize('images, kind', [
    ('upload', 'JSON'), ('local-files', 'COCO'), ('local-files', 'JSON_MIN')])
def test_the_whole_loop(studio, mmal, waiting, run, images, kind):
    """Export, import, predictions, annotations, export, import, resume."""
    out = run / 'request.json'
    mmal('labels', 'export', run, '--to', 'label-studio',
         '--images', images, '--score-thr', SCORE_THR, '--out', out)
    (config, ) = glob.glob(str(run / 'request*.xml'))
    with open(config) as f:
        project = studio.project(f'{images} and {kind}', f.read())
    if images == 'local-files':
        studio.post('/api/storages/localfiles', dict(
            project=project, path=str(waiting / 'data' / 'images'),
            use_blob_urls=True))
    answer = studio.post(f'/api/projects/{project}/import', read_json(out))
    assert (answer['task_count'], answer['prediction_count']) == (5, 5)
    # whoever opens a task sees them
    about = studio.get(f'/api/projects/{project}')
    assert about['show_collab_predictions']
    assert about['model_version'] == 'mmal'

    tasks = studio.tasks(project)
    expected = predicted(run)
    names = {t['id']: t['data']['file_name'] for t in tasks}
    pool = {i['file_name']: i
            for i in read_json(str(waiting / 'full.json'))['images']}
    assert sorted(names.values()) == sorted(expected)
    for task in tasks:
        (prediction, ) = task['predictions']
        np.testing.assert_allclose(drawn(prediction['result']),
                                   expected[names[task['id']]], atol=1e-6)
        if images == 'local-files':  # the page can show the photo
            path = waiting / 'data' / 'images' / names[task['id']]
            assert studio.ask('GET', task['data']['image']) == \
                path.read_bytes()
    assert sum(map(len, expected.values())) >= 5

    sizes = {t: (pool[n]['width'], pool[n]['height'])
             for t, n in names.items()}
    results = annotated(tasks, sizes)
    export = run / f'export.{"zip" if kind == "COCO" else "json"}'
    empty = [names[t] for t, regions in results.items() if not regions]
    # COCO does not tell whether somebody has looked at an empty photo, or at
    # one whose boxes are as predicted
    extra = ['--confirm-unchanged', '--confirm-empty', *empty] \
        if kind == 'COCO' else []
    *tasks, last = results
    for task in tasks:
        studio.post(f'/api/tasks/{task}/annotations',
                    dict(result=results[task]))
    # a task that was skipped is not labelled
    skipped = studio.post(f'/api/tasks/{last}/annotations', dict(
        result=[], was_cancelled=True))
    export.write_bytes(studio.export(project, kind))
    text = mmal('labels', 'import', run, export, *extra, ends=3)
    assert names[last] in text
    studio.ask('PATCH', f'/api/annotations/{skipped["id"]}', json.dumps(dict(
        result=results[last], was_cancelled=False)).encode())
    export.write_bytes(studio.export(project, kind))
    mmal('labels', 'import', run, export, *extra)

    found = labelled(WorkDir(str(run)).labels.labels)
    for task, regions in results.items():
        np.testing.assert_allclose(found[names[task]], drawn(regions),
                                   atol=1e-6)

    mmal('train', waiting / 'tiny.py', '--work-dir', run, '--resume')
    found = labelled(WorkDir(str(run)).round(1).labelled)
    assert len(found) == 11
    for task, regions in results.items():
        np.testing.assert_allclose(found[names[task]], drawn(regions),
                                   atol=1e-6)


@contextlib.contextmanager
def served(studio, run, *options):
    """The address of ``mmal serve``."""
    process = subprocess.Popen(
        [sys.executable, '-m', 'mmal', 'serve', str(run), '--port', '0',
         '--score-thr', str(SCORE_THR), *options],
        text=True, cwd=ROOT, stdout=subprocess.PIPE,
        # a shell starts what runs in its background deaf to Ctrl-C
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL))
    try:
        line = process.stdout.readline()
        assert ' is served at ' in line
        studio.note(f'$ mmal serve: {line.strip()}')
        yield line.split(' is served at ')[1].split()[0]
    finally:
        process.send_signal(signal.SIGINT)
        for line in process.communicate(timeout=60)[0].splitlines():
            studio.note(f'    {line}')


def test_the_backend(studio, waiting, run):
    """Photos uploaded through the page, boxes of ``mmal serve``."""
    request = read_json(WorkDir(str(run)).labels.request)
    names = [i['file_name'] for i in request['images']]
    classes = ['class_0', 'class_1', 'class_2']
    config = '<View><Image name="image" value="$image"/><RectangleLabels ' \
        'name="label" toName="image">{}</RectangleLabels></View>'
    labels = [f'<Label value="{c}"/>' for c in classes]
    project = studio.project('a backend', config.format(''.join(labels)))
    studio.upload(f'/api/projects/{project}/import', {
        name: (waiting / 'data' / 'images' / name).read_bytes()
        for name in names})
    others = studio.project('other classes', config.format(
        '<Label value="cat"/>'))
    with served(studio, run) as address:
        # the reason is shown to whoever connects a backend that cannot do it
        with pytest.raises(AssertionError, match='none of the labels of'):
            studio.post('/api/ml', dict(
                url=address, project=others, title='mmal'))
        backend = studio.post('/api/ml', dict(
            url=address, project=project, title='mmal'))
        assert backend['readable_state'] == 'Connected'
        assert backend['model_version'] == 'round_00'
        assert studio.get(f'/api/ml/{backend["id"]}/versions') == dict(
            versions=['round_00'])
        studio.post(
            f'/api/dm/actions?id=retrieve_tasks_predictions&project={project}',
            dict(selectedItems=dict(all=True, excluded=[])))
    expected = predicted(run)
    tasks = studio.tasks(project)
    assert len(tasks) == len(names)
    for task in tasks:
        # 0a1b2c3d-pool_003.png
        address = task['data']['image']
        assert address.startswith(f'/data/upload/{project}/')
        name = address.rpartition('-')[2]
        (prediction, ) = task['predictions']
        assert prediction['model_version'] == 'round_00'
        np.testing.assert_allclose(drawn(prediction['result']),
                                   expected[name], atol=1e-6)
