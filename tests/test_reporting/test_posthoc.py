"""Tables and the picture of a calibration after training."""
import io
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from mmal.reporting.posthoc import box_table, draw_posthoc, score_table

NAN = float('nan')


def scores(laece):
    return SimpleNamespace(laece=laece, laace=0.3, d_ece=0.2, ap=0.5)


def boxes(coverage, measured=40, band=(0.8, 0.97)):
    return SimpleNamespace(fitted=50, measured=measured, coverage=coverage,
                           width=12.345, band=band)


def test_mean_and_deviation_over_splits():
    one = score_table([dict(none=scores(0.1))], 7)
    assert one.rows == (('none', '0.1000', '0.3000', '0.2000', '0.5000'), )
    assert '7 images' in one.title and 'splits' not in one.title
    two = score_table([dict(none=scores(x)) for x in (0.1, 0.2)], 7)
    assert two.rows[0][1] == '0.1500 ± 0.0707' and '2 splits' in two.title


def test_boxes_that_were_not_measured_have_no_numbers():
    splits = [dict(pixels=dict(all=boxes(0.9), cat=boxes(c, m, b)))
              for c, m, b in ((NAN, 0, (NAN, NAN)), (0.8, 2, (0.7, 1.0)))]
    rows = box_table(splits, 0.9).rows
    assert rows[0] == ('pixels', 'all', '50', '40', '0.900 ± 0.000',
                       '0.800–0.970', '12.3 ± 0.0')
    assert rows[1][3:6] == ('1', '0.800', '–')
    splits = [dict(pixels=dict(cat=boxes(NAN, 0, (NAN, NAN))))]
    assert box_table(splits, 0.9).rows[0][4:6] == ('–', '–')


@pytest.mark.parametrize('target', ['iou', 'found'])
def test_a_picture(target):
    rng = np.random.default_rng(0)
    values = rng.uniform(size=50)
    levels = [0.5, 0.9]
    png = draw_posthoc(dict(before=values, isotonic=values**2), values,
                       levels, dict(pixels=[0.4, 0.95], predicted=[0.3, 0.7]),
                       [(0.4, 0.6), (NAN, NAN)], target)
    assert Image.open(io.BytesIO(png)).size == (1350, 900)
    # too few detections for boxes of any level
    assert draw_posthoc(dict(before=values), values, [], {}, [], target)
