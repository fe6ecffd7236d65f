import cv2
import numpy as np
import pytest

from mmal.evaluation import CalibrationData
from mmal.reporting import (
    calibration_table,
    draw_reliability,
    plot_reliability,
)

BLUE, ORANGE = (0xB2, 0x72, 0x00), (0x00, 0x5E, 0xD5)


def data(n=400, boxes=True, seed=0):
    rng = np.random.default_rng(seed)
    scores = rng.random(n)
    m = 50 if boxes else 0
    stds = rng.uniform(1, 5, (m, 4))
    return CalibrationData(scores, rng.random(n) < scores,
                           stds * rng.standard_normal((m, 4)), stds)


def pixels(png):
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)


def share(image, bgr):
    return (np.abs(image.astype(int) - bgr).max(-1) < 30).mean()


def test_both_sides_of_two_detectors():
    image = pixels(draw_reliability({'a': data(), 'b': data(seed=1)}))
    assert image.shape == (900, 1350, 3)
    for half in np.split(image, 2, axis=1):
        assert share(half, BLUE) > 1e-3 and share(half, ORANGE) > 1e-3


def test_a_detector_without_intervals_keeps_its_colour():
    image = pixels(draw_reliability({'a': data(boxes=False), 'b': data()}))
    left, right = np.split(image, 2, axis=1)
    assert share(left, BLUE) > 1e-3
    assert share(right, BLUE) < 1e-5 and share(right, ORANGE) > 1e-3
    plain = pixels(draw_reliability({'a': data(boxes=False)}))
    assert plain.shape == (900, 690, 3)


@pytest.mark.parametrize('case', ['none', 'one', 'sure'])
def test_little_to_draw_is_no_error(case):
    found = {'none': CalibrationData.join([]),
             'one': data(1, boxes=False), 'sure': data(5)}[case]
    if case == 'sure':
        found.stds[:] = 0
    assert pixels(draw_reliability({'x': found})) is not None


def test_same_data_same_bytes(tmp_path):
    models = {'a': data()}
    path = plot_reliability(models, str(tmp_path / 'new' / 'a.png'))
    with open(path, 'rb') as f:
        assert f.read() == draw_reliability(models)


def test_cells_are_those_of_the_summary():
    both = data()
    table = calibration_table({'full': both, 'plain': data(boxes=False)}, 10)
    found = both.summary(10)
    cells = dict(zip(table.header, table.rows[0]))
    assert cells[''] == 'full' and cells['detections'] == '400'
    assert cells['ECE'] == f'{found["ece"]:.3f}'
    assert cells['90%'] == f'{found["coverage_90"]:.3f}'
    assert cells['RMSE'] == f'{found["box_rmse"]:.2f}'
    assert cells['excess'][0] in '+-'
    plain = dict(zip(table.header, table.rows[1]))
    assert plain['NLL'] == plain['95%'] == '–' != plain['ECE']
