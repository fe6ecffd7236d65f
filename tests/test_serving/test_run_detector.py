"""The detector of a run, and the command that serves it."""
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from functools import partial

import numpy as np
import pytest
import torch
from helpers.forks import ROOT
from helpers.served_runs import (
    CLASSES,
    pool_names,
    prediction_request,
    served_run,
    train,
)
from helpers.tiny import tiny_fcos
from helpers.tiny_classifier import tiny_classification, tiny_classifier
from helpers.tiny_mdn_fcos import tiny_mdn_fcos, tiny_mdn_fcos_config
from mmdet.apis import inference_detector, init_detector

from mmal.pool.layout import WorkDir
from mmal.serving.backend import LabelStudioBackend
from mmal.serving.run_detector import RunDetector


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    return served_run(str(tmp_path_factory.mktemp('served')))


@pytest.fixture
def own_run(run, tmp_path):
    """A copy that may be changed; its photos are those of the other."""
    return shutil.copytree(run, tmp_path / 'work')


def answers(detector, names, **options):
    backend = LabelStudioBackend(detector, say=str, **options)
    return backend.answer('POST', '/predict',
                          prediction_request(*names))['results']


def corners(region):
    """x1, y1, x2, y2 in pixels, score and class of a region."""
    value = region['value']
    x, y, w, h = (value[k] for k in ('x', 'y', 'width', 'height'))
    sides = (region['original_width'], region['original_height']) * 2
    return [*(v * side / 100 for v, side in zip((x, y, x + w, y + h), sides)),
            region['score'], CLASSES.index(value['rectanglelabels'][0])]


@pytest.mark.parametrize('batch_size', [1, 5])
def test_boxes_are_those_of_mmdet(run, batch_size):
    """One image after the other by mmdet's own function."""
    images = pool_names(run)
    folder = os.path.join(os.path.dirname(run), 'data', 'images')
    found = answers(RunDetector(run, batch_size), images, score_thr=.1)
    model = init_detector(f'{run}/round_00/config.py',
                          f'{run}/round_00/epoch_1.pth', device='cpu')
    number = 0
    for name, answer in zip(images, found):
        truth = inference_detector(model, f'{folder}/{name}').pred_instances
        truth = truth[truth.scores >= .1]
        width, height = (images[name][k] for k in ('width', 'height'))
        limit = torch.tensor([width, height, width, height])
        boxes = truth.bboxes.clamp(min=0).minimum(limit)
        expected = torch.cat([boxes, truth.scores[:, None],
                              truth.labels[:, None]], 1).numpy()
        np.testing.assert_allclose(
            np.array([corners(r) for r in answer['result']]).reshape(-1, 6),
            expected, atol=0.011)  # hundredths of a pixel
        number += len(expected)
    assert number > 10


def test_a_later_round_takes_over(own_run):
    detector = RunDetector(str(own_run))
    name = detector.pool.file_names[0]
    (before, ) = answers(detector, [name], score_thr=0)
    train(str(own_run), 1, tiny_fcos(seed=3))
    backend = LabelStudioBackend(detector, 0, say=str)
    # Label Studio asks for the version first, and then for what lacks it
    assert backend.version() == 'round_01'
    (after, ) = answers(detector, [name], score_thr=0)
    assert (before['model_version'], after['model_version']) == (
        'round_00', 'round_01')
    assert before['result'] != after['result']
    (again, ) = answers(RunDetector(str(own_run)), [name], score_thr=0)
    assert again == after


def test_deviations_of_mixtures_are_notes(tmp_path):
    mixtures = dict(cls_components=2, box_components=2)
    run = served_run(str(tmp_path), tiny_mdn_fcos(),
                     tiny_mdn_fcos_config(**mixtures))
    detector = RunDetector(run)
    regions = [r for a in answers(detector, pool_names(run), score_thr=.1)
               for r in a['result']]
    assert regions
    for region in regions:
        (note, ) = region['meta']['text']
        assert note.startswith('standard deviation in pixels: left ')


def test_an_unreadable_photo_costs_itself_alone(tmp_path):
    run = served_run(str(tmp_path))
    first, second, third = list(pool_names(run))[:3]
    folder = tmp_path / 'data' / 'images'
    detector = RunDetector(run)
    (folder / first).write_bytes((folder / first).read_bytes()[:200])
    (folder / second).unlink()
    found = answers(detector, [first, second, third])
    assert 'unreadable' in found[0]['error']
    assert 'is not in' in found[1]['error']
    assert 'result' in found[2]


def test_a_run_without_a_trained_round(own_run):
    os.remove(WorkDir(str(own_run)).curve)
    with pytest.raises(FileNotFoundError, match='no round of .* is trained'):
        RunDetector(str(own_run))
    with pytest.raises(FileNotFoundError, match='is no work folder of a run'):
        RunDetector(str(own_run / 'nothing'))


def test_a_classifier_has_no_boxes(tmp_path):
    cfg = tiny_classification(str(tmp_path / 'data'))
    run = served_run(str(tmp_path), tiny_classifier(), cfg=cfg)
    with pytest.raises(ValueError, match='mmal serve gives boxes, but'):
        RunDetector(run)


def test_the_command(run):
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        port = s.getsockname()[1]
    address = f'http://127.0.0.1:{port}'
    content = json.dumps(prediction_request(*pool_names(run))).encode()
    # no fork: the client would be a thread of the process that forks
    server = subprocess.Popen(
        [sys.executable, '-u', '-m', 'mmal', 'serve', run, '--port',
         str(port), '--score-thr', '0.1'], cwd=ROOT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        # a shell starts what runs in its background deaf to Ctrl-C
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL))
    try:
        answer = when_it_is_up(server, urllib.request.Request(
            f'{address}/predict', content,
            {'Content-Type': 'application/json'}))
        server.send_signal(signal.SIGINT)
        printed, errors = server.communicate(timeout=300)
    finally:
        server.kill()
    assert server.returncode == 130, errors
    assert errors.endswith('mmal serve: stopped.\n')
    lines = printed.splitlines()
    assert f'round_00 of {run} is served at {address} (Ctrl-C ends it)' \
        in lines
    number = sum(len(r['result']) for r in answer['results'])
    assert number > 10
    assert f'round_00: {number} boxes on 12 images' in lines


def when_it_is_up(server, request):
    """The json of an answer, waited for as long as nobody listens."""
    deadline = time.monotonic() + 240
    while True:
        try:
            with urllib.request.urlopen(request) as answer:
                return json.load(answer)
        except urllib.error.URLError as e:
            if not isinstance(e.reason, ConnectionRefusedError) or \
                    server.poll() is not None or time.monotonic() > deadline:
                raise
        time.sleep(.05)
