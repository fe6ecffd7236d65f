import cv2
import numpy as np
import pytest

from mmal.reporting import Curve, Record, draw_curves, plot_curves


def curve(slope=0.1):
    return Curve([
        Record(r, 40 * r, 100 * r, {
            'coco/bbox_mAP': slope * r,
            'coco/bbox_mAP_50': 2 * slope * r
        }) for r in (1, 2, 3)
    ])


def pixels(png):
    return cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)


def share(image, bgr):
    """Share of the pixels near a colour."""
    return (np.abs(image.astype(int) - bgr).max(-1) < 30).mean()


BLUE, ORANGE = (0xB2, 0x72, 0x00), (0x00, 0x5E, 0xD5)


def test_one_run_is_drawn_in_both_panels():
    image = pixels(draw_curves(curve()))
    assert image.shape == (540, 1350, 3)
    left, right = np.split(image, 2, axis=1)
    assert share(left, BLUE) > 1e-3 and share(right, BLUE) > 1e-3
    assert share(image, ORANGE) < 1e-4


def test_two_runs_have_two_colours():
    image = pixels(draw_curves({'isal': curve(), 'random': curve(0.05)}))
    assert share(image, BLUE) > 1e-3 and share(image, ORANGE) > 1e-3


@pytest.mark.parametrize('empty', [
    Curve(), Curve([Record(0, 1, 1)]),
    Curve([Record(0, 1, 1, {'coco/bbox_mAP': 0.0})])
])
def test_nothing_to_draw_is_no_error(empty):
    assert pixels(draw_curves(empty)) is not None


def test_same_curve_same_bytes(tmp_path):
    path = plot_curves(curve(), str(tmp_path / 'new' / 'curve.png'))
    with open(path, 'rb') as f:
        assert f.read() == draw_curves(curve())
