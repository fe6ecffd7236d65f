"""Calibrated detectors against the plain ones they are made of."""
import copy

import numpy as np
import pytest
import torch
from helpers.detectors import DETECTORS
from helpers.tiny import build_detector, tiny_fcos, tiny_fcos_config
from mmdet.models.detectors import SingleStageDetector, TwoStageDetector
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData

from mmal.calibration import Calibration, ConformalBoxes, ScoreCalibrator
from mmal.models.detectors import Calibrated
from mmal.models.detectors.calibrated_detector import _calibrated, calibrate
from mmal.scoring.detections.predict import detect
from mmal.scoring.detector import dummy_batch
from mmal.scoring.isal.adapters import adapter_of

CLASSES = ('a', 'b', 'c')
SCORES = ScoreCalibrator(
    'isotonic', dict(scores=[0.1, 0.2, 0.9], values=[0.1, 0.5, 0.5]),
    [None, dict(scores=[0, 1], values=[0, 0.4]), None])
PIXELS = ConformalBoxes(0.9, 'coordinate', False, [1, 2, 3, 4],
                        [None, [5, 6, 7, 8], None])
SCALED = ConformalBoxes(0.9, 'box', True, [2] * 4, [None] * 3)


@pytest.fixture
def file(tmp_path):
    path = str(tmp_path / 'calibration.json')
    Calibration(CLASSES, SCORES, PIXELS).save(path)
    return path


def sample(scale=(0.5, 2.0)):
    return DetDataSample(metainfo=dict(
        img_shape=(64, 96), ori_shape=(32, 192), scale_factor=scale,
        batch_input_shape=(64, 96), pad_shape=(64, 96)))


def predictions(model, rescale=True):
    torch.manual_seed(0)
    with torch.no_grad():
        samples = model.predict(torch.rand(2, 3, 64, 96),
                                [sample(), sample()], rescale=rescale)
    return [s.pred_instances for s in samples]


def check(plain, calibrated, boxes):
    """The fields of n detections, one by one."""
    assert len(plain) == len(calibrated)
    plain_rows, rows = (
        [(label, *box) for label, box in zip(d.labels.tolist(),
                                             d.bboxes.tolist())]
        for d in (plain, calibrated))
    assert len(set(rows)) == len(rows)
    plain = plain[np.array([plain_rows.index(row) for row in rows], int)]
    assert torch.equal(calibrated.raw_scores, plain.scores)
    assert torch.equal(calibrated.labels, plain.labels)
    for raw, label, score in zip(plain.scores, plain.labels,
                                 calibrated.scores):
        own = SCORES.by_class[label] or SCORES.pooled
        value = np.interp(raw.item(), own['scores'], own['values'])
        assert score.item() == pytest.approx(
            0.999 * value + 0.001 * raw.item(), abs=1e-6)
    assert (calibrated.scores.diff() <= 0).all()
    ties = calibrated.scores.diff() == 0
    assert (calibrated.raw_scores.diff()[ties] <= 0).all()
    for box, label, outer, inner in zip(
            plain.bboxes, plain.labels, calibrated.box_outer,
            calibrated.box_inner):
        margins = torch.tensor(boxes(label.item()))
        sign = torch.tensor([-1, -1, 1, 1])
        torch.testing.assert_close(outer, box + sign * margins)
        torch.testing.assert_close(inner, box - sign * margins)


@pytest.mark.parametrize('kind', [
    'fcos', 'retina', 'atss', 'faster_rcnn', 'mdn_ssd', 'mdn_faster_rcnn',
    'gaussian_fcos'])
def test_predictions_are_the_plain_ones_calibrated(kind):
    plain = DETECTORS[kind]().eval()
    model = copy.deepcopy(plain)
    model.calibration = Calibration(CLASSES, SCORES, PIXELS)
    model.__class__ = _calibrated(type(model))
    assert isinstance(model, (SingleStageDetector, TwoStageDetector))
    for rescale, scale in ((True, (1, 1)), (False, (0.5, 2))):
        def margins(label, scale=scale):
            by_class = PIXELS.by_class[label] or PIXELS.pooled
            return [float(m * s) for m, s in zip(by_class, scale * 2)]
        pairs = list(zip(predictions(plain, rescale),
                         predictions(model, rescale)))
        assert sum(len(p) for p, _ in pairs)
        for a, b in pairs:
            check(a, b, margins)


def test_margins_follow_the_predicted_deviation():
    plain = DETECTORS['gaussian_fcos']().eval()
    found = predictions(plain)[0]
    calibrated = calibrate(found, Calibration(CLASSES, SCORES, SCALED))
    torch.testing.assert_close(
        calibrated.bboxes[:, :2] - calibrated.box_outer[:, :2],
        2 * calibrated.box_std[:, :2], rtol=1e-4, atol=1e-4)
    found = predictions(tiny_fcos())[0]
    with pytest.raises(ValueError, match='box_std'):
        calibrate(found, Calibration(CLASSES, SCORES, SCALED))


def test_an_image_without_detections_has_the_fields():
    none = InstanceData(bboxes=torch.zeros(0, 4), scores=torch.zeros(0),
                        labels=torch.zeros(0, dtype=torch.long))
    for boxes in (PIXELS, SCALED):
        found = calibrate(none, Calibration(CLASSES, SCORES, boxes))
        assert found.box_outer.shape == found.box_inner.shape == (0, 4)
        assert found.raw_scores.shape == (0, )
    found = calibrate(none, Calibration(CLASSES, SCORES))
    assert 'box_outer' not in found


def config(file, by_name=False):
    detector = tiny_fcos_config()
    if by_name:
        return dict(detector, type='mmal.CalibratedDetector',
                    detector=detector['type'], calibration=file)
    return dict(type='mmal.CalibratedDetector', detector=detector,
                calibration=file)


@pytest.mark.parametrize('by_name', [False, True])
def test_a_config_is_extended(file, by_name):
    """Weights of the plain detector, its parts, and copies."""
    plain = tiny_fcos()
    model = build_detector(config(file, by_name)).eval()
    assert type(model).__mro__[1:3] == (Calibrated, type(plain))
    model.load_state_dict(plain.state_dict())  # strict
    assert list(model.state_dict()) == list(plain.state_dict())
    for a, b in zip(predictions(plain), predictions(copy.deepcopy(model))):
        check(a, b, lambda label: [
            float(m) for m in PIXELS.by_class[label] or PIXELS.pooled])


def test_training_and_scorers_see_the_plain_detector(file):
    plain = tiny_fcos()
    model = build_detector(config(file)).eval()
    model.load_state_dict(plain.state_dict())
    batch = dummy_batch(plain)
    losses = [m.loss(batch.inputs, batch.samples) for m in (plain, model)]
    assert losses[0] and losses[0].keys() == losses[1].keys()
    for name, value in losses[0].items():
        assert torch.equal(value, losses[1][name])
    assert isinstance(adapter_of(model), type(adapter_of(plain)))
    # but detections are calibrated for scorers, too
    a, b = (detect(m, batch)[0] for m in (plain, model))
    assert torch.equal(a.scores.sort()[0], b.raw_scores.sort()[0])
    assert not torch.equal(b.scores, b.raw_scores)


def test_mistakes_are_named(file, tmp_path):
    with pytest.raises(FileNotFoundError):
        build_detector(config(str(tmp_path / 'gone.json')))
    wrong = config(file)
    wrong['detector']['bbox_head']['num_classes'] = 4
    with pytest.raises(ValueError, match='of 3 classes, the detector has 4'):
        build_detector(wrong)
    with pytest.raises(TypeError, match='model.neck stands beside'):
        build_detector(dict(config(file), neck=dict()))
    with pytest.raises(TypeError, match='is a FPN, no detector'):
        build_detector(dict(config(file), detector=tiny_fcos_config()['neck']))
