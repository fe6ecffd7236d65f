import csv
import io

import cv2
import numpy as np
import pytest

from mmal.evaluation import SelectedBoxes
from mmal.reporting import (
    draw_selected_boxes,
    selected_boxes_table,
    shared_images_table,
)


def boxes(*sides, images=2):
    """Squares of these sides on images of 100 x 100 pixels."""
    return SelectedBoxes.of([(0, 0, s, s) for s in sides],
                            [0] * len(sides), [(100, 100)] * images)


METHODS = {'large': [boxes(100, 100), boxes(100, images=4)],
           'small': [boxes(10, 10, 10)], 'empty': [boxes()]}


def test_rows_are_means_over_the_runs():
    table = selected_boxes_table(METHODS, 'T')
    large, small, empty = csv.DictReader(io.StringIO(table.csv()))
    assert float(large['boxes per image']) == np.mean([1, .25])
    assert float(large['±']) == pytest.approx(np.std([1, .25], ddof=1))
    assert (large['images'], large['runs']) == ('3', '2')
    assert [large[f'{s} %'] for s in ('small', 'medium', 'large')] == [
        '0', '0', '100']
    # two equal boxes on one image, and one that is alone
    assert float(large['IoU']) == .5 and float(large['area %']) == 100
    assert (small['small %'], small['area %'], small['±']) == ('100', '1', '')
    assert empty['boxes per image'] == '0' and empty['area %'] == ''
    assert max(map(len, table.text().splitlines())) <= 100


def test_unknown_overlaps_are_dashes():
    table = shared_images_table(['a', 'b'], np.array([[100, np.nan]] * 2), '')
    assert table.rows == (('a', '100', '–'), ('b', '100', '–'))
    assert table.csv().splitlines() == [' ,a,b', 'a,100,', 'b,100,']


def test_picture():
    matrix = np.array([[100, np.nan], [20, 100]])
    png = draw_selected_boxes(METHODS, ['large', 'small'], matrix)
    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (600, 1950, 3)
    # the bars of both methods with boxes: blue, and orange
    for bgr in ((0xB2, 0x72, 0x00), (0x00, 0x5E, 0xD5)):
        assert (image[:, :700] == bgr).all(-1).mean() > .01
    assert draw_selected_boxes(METHODS, ['large', 'small'], matrix) == png
