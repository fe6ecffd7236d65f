"""Heat maps: what lies where, and the same bytes again."""
import io

import cv2
import numpy as np
import pytest

from mmal.visualization.heat_map import draw_heat_map


def decoded(content):
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)


def image(height=60, width=80):
    return np.full((height, width, 3), (200, 40, 40), np.uint8)


def test_the_largest_value_is_brightest_where_it_lies():
    values = np.zeros((6, 8))
    values[1, 6] = 3.0
    picture = decoded(draw_heat_map(image(), values, 'entropy')).astype(int)
    height, width = picture.shape[:2]
    panel = picture[:, width // 2:int(width * 0.9)].sum(-1)
    # white margins aside, the brightest is up and right of the middle
    panel[panel > 700] = 0
    y, x = np.unravel_index(panel.argmax(), panel.shape)
    assert y < height / 2 and x > panel.shape[1] / 2
    left = picture[height // 2, width // 5]
    assert abs(left - [40, 40, 200]).max() <= 2  # BGR, as it was given


def test_a_common_scale():
    low = np.full((4, 4), 0.1)
    dark = decoded(draw_heat_map(image(), low, 'x', vmax=1.0))
    bright = decoded(draw_heat_map(image(), low, 'x'))
    assert bright.astype(int).mean() > dark.astype(int).mean() + 5


@pytest.mark.parametrize('size', [(60, 80), (30, 300), (300, 30), (1, 1)])
def test_any_shape_and_no_information(size):
    values = np.zeros((3, 4))
    first = draw_heat_map(image(*size), values, 'x')
    assert first == draw_heat_map(image(*size), values, 'x')
    assert decoded(first).shape[0] >= 100
    assert io.BytesIO(first).read(4) == b'\x89PNG'
