"""The file of a calibration."""
import json

import numpy as np
import pytest
import torch

from mmal.calibration import Calibration, ConformalBoxes, ScoreCalibrator

SCORES = ScoreCalibrator('platt', dict(a=0.3, b=1 / 3), [None, dict(a=2, b=1)])
BOXES = ConformalBoxes(0.9, 'box', True, [1 / 3] * 4, [[0.1] * 4, None])


@pytest.mark.parametrize('boxes', [BOXES, None])
def test_what_is_saved_is_loaded(tmp_path, boxes):
    path = str(tmp_path / 'a.json')
    Calibration(('cat', 'dog'), SCORES, boxes, dict(images=7)).save(path)
    same = Calibration.load(path)
    assert same.classes == ['cat', 'dog'] and same.about == dict(images=7)
    assert same.scores.state() == SCORES.state()
    assert (same.boxes and same.boxes.state()) == (boxes and boxes.state())
    scores, labels = torch.rand(9), torch.arange(9) % 2
    np.testing.assert_array_equal(same.scores(scores, labels),
                                  SCORES(scores, labels))


def test_a_file_of_something_else_is_refused(tmp_path):
    path = str(tmp_path / 'a.json')
    Calibration(('cat', 'dog'), SCORES, BOXES).save(path)
    with open(path) as f:
        good = json.load(f)
    for change in (dict(format=2), dict(classes=['cat']), dict(scores=None),
                   dict(boxes=dict(level=0.9)), dict(classes=None)):
        with open(path, 'w') as f:
            json.dump({**good, **change}, f)
        with pytest.raises(ValueError, match='a.json holds no calibration'):
            Calibration.load(path)
    with open(path, 'w') as f:
        json.dump([1], f)
    with pytest.raises(ValueError, match='a.json holds no calibration'):
        Calibration.load(path)
    with pytest.raises(ValueError, match='3 names, but 2 classes'):
        Calibration('abc', SCORES)
