import cv2
import numpy as np
import pytest

from mmal.evaluation import CalibrationData, MixtureScores
from mmal.reporting import (
    calibration_tables,
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


def with_mixtures():
    """The same boxes as of mixtures that are calibrated, unlike Gaussians."""
    found = data()
    rng = np.random.default_rng(1)
    found.mixtures = MixtureScores(
        rng.random((50, 4)), rng.random((50, 4)), rng.random((50, 4)))
    found.stds *= 3
    return found


def rows_of(table):
    return [dict(zip(table.header, row)) for row in table.rows]


def test_cells_are_those_of_the_summary():
    both = data()
    scores, quality, boxes = calibration_tables(
        {'full': both, 'plain': data(boxes=False)}, 10)
    found = both.summary(10)
    full, plain = rows_of(scores)
    assert full[''] == 'full' and full['detections'] == '400'
    assert full['ECE'] == f'{found["ece"]:.3f}'
    assert full['excess'][0] in '+-' and plain['ECE'] != '–'
    full, plain = rows_of(boxes)
    assert full['90%'] == f'{found["coverage_90"]:.3f}'
    assert full['CRPS'] == f'{found["box_crps"]:.3f}'
    assert full['RMSE'] == f'{found["box_rmse"]:.2f}'
    assert plain['NLL'] == plain['95%'] == '–'
    # of columns that no detector has there is nothing to show
    assert 'LaECE' not in scores.header and quality.header == ('', )
    assert len(calibration_tables({'plain': data(boxes=False)})) == 2


def test_mixtures_have_rows_and_curves_of_their_own():
    found = with_mixtures()
    summary = found.summary()
    boxes = calibration_tables({'ours': found, 'other': data()})[-1]
    gaussian, mixture, other = rows_of(boxes)
    assert [r[''] for r in (gaussian, mixture, other)] == [
        'ours', 'ours, mixture', 'other']
    assert gaussian['NLL'] == f'{summary["box_nll"]:.3f}'
    assert mixture['NLL'] == f'{summary["mixture_nll"]:.3f}'
    assert mixture['CRPS'] == f'{summary["mixture_crps"]:.3f}'
    assert mixture['50%'] == f'{summary["mixture_coverage_50"]:.3f}'
    assert mixture['std'] == '–' != gaussian['std']
    for table in calibration_tables({'ours': found, 'other': data()}):
        assert max(map(len, table.text().splitlines())) <= 100
    both = pixels(draw_reliability({'a': found}))
    found.mixtures = MixtureScores()
    alone = pixels(draw_reliability({'a': found}))
    right = np.split(both, 2, axis=1)[1], np.split(alone, 2, axis=1)[1]
    assert share(right[0], BLUE) > 1.1 * share(right[1], BLUE)
