"""What requests are answered, with a detector that is made up."""
import os

import pytest
import torch
from helpers.served_runs import (
    CLASSES,
    labeling_config,
    pool_json,
    prediction_request,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.structures import InstanceData

from mmal.pool import load_coco
from mmal.serving.backend import LabelStudioBackend
from mmal.serving.refusal import Refusal

NAMES = ['a.jpg', 'b.jpg', 'c.jpg']
# x1, y1, x2, y2 of a 40 x 20 image, score, class
DETECTIONS = {
    'a.jpg': [((4., 2., 24., 12.), .9, 0), ((0., 0., 40., 20.), .5, 2),
              ((1., 1., 2., 2.), .29, 1), ((7., 3., 7., 9.), .8, 1)],
    'b.jpg': [],
}


class MadeUp:
    """Stands for :class:`RunDetector`; c.jpg is unreadable."""
    classes = CLASSES

    def __init__(self, folder):
        self.folder = str(folder)
        self.pool = load_coco(pool_json(f'{folder}.json', NAMES),
                              need_annotations=False)
        self.stds = False
        self.round = 4
        self.asked = []

    def newest(self):
        return self.round

    def detect(self, files):
        self.asked.append(files)
        results = []
        for path, size in files:
            assert size == (40, 20)
            rows = DETECTIONS.get(os.path.basename(path))
            if rows is None:
                results.append('it is cut off')
                continue
            boxes, scores, labels = zip(*rows) if rows else ((), (), ())
            found = InstanceData(
                bboxes=torch.tensor(boxes).reshape(-1, 4),
                scores=torch.tensor(scores),
                labels=torch.tensor(labels, dtype=torch.long))
            if self.stds:
                found.box_std = torch.arange(4.) + found.bboxes[:, :1]
            results.append(found)
        return self.round, results


def made_up(root):
    folder = root / 'photos'
    folder.mkdir()
    for name in NAMES:
        (folder / name).write_bytes(b'')
    return MadeUp(folder)


@pytest.fixture
def detector(tmp_path):
    return made_up(tmp_path)


@pytest.fixture(scope='module')
def detector_of_module(tmp_path_factory):
    return made_up(tmp_path_factory.mktemp('served'))


@pytest.fixture
def log():
    return []


@pytest.fixture
def backend(detector, log):
    return LabelStudioBackend(detector, say=log.append)


def predict(backend, *addresses, **others):
    return backend.answer('POST', '/predict',
                          prediction_request(*addresses, **others))['results']


@pytest.mark.parametrize('path', ['/', '/health'])
def test_it_is_up(backend, path):
    assert backend.answer('GET', path, {}) == dict(
        status='UP', model_class='mmal', model_version='round_04')
    assert backend.answer('GET', '/versions', {}) == dict(
        versions=['round_04'])


def test_boxes_are_percents_of_the_image(backend):
    first, second = predict(backend, 'a.jpg', '/data/upload/1/b.jpg')
    assert second == dict(model_version='round_04', result=[], score=0)
    assert first['model_version'] == 'round_04'
    # the third is below the threshold, the fourth has no width
    assert [(r['value'], round(r['score'], 6)) for r in first['result']] == [
        (dict(x=10, y=10, width=50, height=50, rotation=0,
              rectanglelabels=['class_0']), .9),
        (dict(x=0, y=0, width=100, height=100, rotation=0,
              rectanglelabels=['class_2']), .5)]
    for region in first['result']:
        assert region['from_name'] == 'boxes' and region['to_name'] == 'photo'
        assert (region['original_width'], region['original_height']) == (
            40, 20)
        assert region['type'] == 'rectanglelabels' and 'meta' not in region
    assert len({r['id'] for r in first['result']}) == 2


@pytest.mark.parametrize('score_thr, number', [(0, 3), (.51, 1), (1, 0)])
def test_the_threshold(detector, score_thr, number):
    backend = LabelStudioBackend(detector, score_thr, say=str)
    (answer, ) = predict(backend, 'a.jpg')
    assert len(answer['result']) == number


def test_deviations_are_notes(detector):
    detector.stds = True
    answers = predict(LabelStudioBackend(detector, say=str), 'a.jpg', 'b.jpg')
    assert answers[0]['result'][0]['meta'] == dict(text=[
        'standard deviation in pixels: left 4.0, top 5.0, right 6.0, '
        'bottom 7.0'])
    assert answers[1]['result'] == []


def test_classes_without_a_label_are_left_out_and_named(backend, log):
    config = labeling_config(['class_1', 'other', 'class_2'])
    answer = backend.answer('POST', '/setup', dict(
        project='1.17', schema=config, hostname='http://localhost:8080',
        access_token='secret', extra_params=None))
    assert answer == dict(model_version='round_04', left_out=['class_0'])
    assert 'class_0' in log.pop() and not log
    (answer, ) = predict(backend, 'a.jpg', label_config=config)
    assert [r['value']['rectanglelabels'] for r in answer['result']] == [
        ['class_2']]
    assert log == ['round_04: 1 boxes on 1 images; without a label, left '
                   'out: 1 of class_0']


def test_one_image_that_cannot_be_had_does_not_cost_the_others(backend, log):
    answers = predict(backend, '/etc/passwd', 'a.jpg', 'c.jpg', 'b.jpg')
    # Label Studio makes no prediction of what has no 'result'
    assert ['result' in a for a in answers] == [False, True, False, True]
    assert 'is refused' in answers[0]['error']
    assert answers[2]['error'] == 'The image is unreadable: it is cut off.'
    assert len([line for line in log if 'no prediction' in line]) == 2
    # all in one call of the detector
    assert [len(files) for files in backend.detector.asked] == [3]
    with pytest.raises(Refusal, match='passwd.*is refused'):
        predict(backend, '/etc/passwd', 'c.jpg')


def test_our_own_name_goes_before_the_address(backend):
    """It is in the requests that mmal labels export writes."""
    tasks = [dict(id=1, data=dict(image='data:image/png;base64,AA',
                                  file_name='a.jpg')),
             dict(id=2, data=dict(image='b.jpg', file_name='../../x.jpg'))]
    answers = predict(backend, tasks=tasks)
    assert [len(a['result']) for a in answers] == [2, 0]


@pytest.mark.parametrize('path', [
    '/webhook', '/train', '/delete', '/duplicate_model', '/job_status'])
def test_events_are_accepted(backend, path):
    body = dict(action='ANNOTATION_CREATED', project=dict(id=1))
    assert backend.answer('POST', path, body)['status'] == 'accepted'
    assert backend.detector.asked == []


@pytest.mark.parametrize('method, path, status, message', [
    ('GET', '/predict', 405, 'is asked with POST'),
    ('POST', '/health', 405, 'is asked with GET'),
    ('POST', '/x', 404, 'There is no /x, but /, '),
    ('GET', '/data/upload/1/a.jpg', 404, 'There is no'),
    ('GET', '/../photos/a.jpg', 404, 'There is no'),
])
def test_nothing_else_is_served(backend, method, path, status, message):
    with pytest.raises(Refusal, match=message) as refusal:
        backend.answer(method, path, {})
    assert refusal.value.status == status


@pytest.mark.parametrize('config, message', [
    (None, 'has no labeling config'), (3, 'has no labeling config'),
    ('', 'not valid XML'), ('<View>', 'not valid XML'),
    ('<View/>', 'no <RectangleLabels>'),
    ('<!DOCTYPE x [<!ENTITY a "b">]><View>&a;</View>', 'document type'),
    (labeling_config().replace('toName="photo"', 'toName="text"'),
     'no <RectangleLabels>'),
    (labeling_config(['cat', 'dog']),
     'none of the labels .* is a class of the detector: class_0, class_1'),
])
@pytest.mark.parametrize('path, key', [
    ('/setup', 'schema'), ('/predict', 'label_config')])
def test_labeling_configs_that_do_not_fit(backend, path, key, config,
                                          message):
    with pytest.raises(Refusal, match=message):
        backend.answer('POST', path,
                       prediction_request('a.jpg', **{key: config}))


@pytest.mark.parametrize('tasks', [
    None, [], {}, 'a.jpg', [None], [3], [{}], [dict(data=None)],
    [dict(data=['a.jpg'])], [dict(data=dict(text='a.jpg'))],
    [dict(data=dict(image=None))], [dict(data=dict(image=['a.jpg']))]])
def test_tasks_of_another_form(backend, tasks):
    with pytest.raises(Refusal):
        predict(backend, tasks=tasks)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=20) |
    st.sampled_from(['a.jpg', labeling_config(), '../a.jpg']),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(['tasks', 'data', 'image', 'label_config', 'schema',
                         'file_name', 'id']), inner, max_size=4),
    max_leaves=12)


@settings(max_examples=100, deadline=None)
@given(path=st.sampled_from(['/setup', '/predict', '/webhook']),
       body=st.dictionaries(
           st.sampled_from(['tasks', 'label_config', 'schema', 'project']),
           JSON),
       valid=st.booleans())
def test_any_json_is_answered_or_refused(detector_of_module, path, body,
                                         valid):
    detector, folder = detector_of_module, detector_of_module.folder
    detector.asked.clear()
    backend = LabelStudioBackend(detector, say=str)
    if valid:
        body = dict(body, label_config=labeling_config())
    try:
        assert isinstance(backend.answer('POST', path, body), dict)
    except Refusal as e:
        assert 400 <= e.status < 500
    for path, _ in (file for files in detector.asked for file in files):
        assert os.path.dirname(path) == os.path.realpath(folder)
