"""The table of ``mmal analysis forecast``."""
import pytest

from mmal.commands import main
from mmal.evaluation.forecast import forecast_curve
from mmal.reporting import Curve, Record

IMAGES = [50, 100, 200, 400]
VALUES = [0.21, 0.38, 0.49, 0.56]


@pytest.fixture
def runs(tmp_path):
    """Two seeds of one method."""
    paths = []
    for seed in (0, 1):
        work = tmp_path / f'random_{seed}'
        work.mkdir()
        Curve([Record(n, i, 3 * i, {'coco/bbox_mAP': v + 0.01 * seed})
               for n, (i, v) in enumerate(zip(IMAGES, VALUES))]
              ).save(str(work))
        paths.append(str(work))
    return paths


def test_the_table_has_the_numbers_of_the_forecast(runs, capsys):
    assert main(['analysis', 'forecast', runs[0], '--at', '800', '1600',
                 '--target', '0.5', '0.9']) == 0
    shown = capsys.readouterr().out
    band = forecast_curve(IMAGES, VALUES, [800, 1600])
    for n, cost in enumerate(('800', '1,600')):
        line = next(x for x in shown.splitlines() if x.startswith(cost + ' '))
        assert f'{band["median"][n]:.3f}' in line
        for level in (80, 95):
            assert (f'{band[f"low{level}"][n]:.3f} to '
                    f'{band[f"high{level}"][n]:.3f}') in line
    assert '4 rounds of 1 run, the last at 400 images with AP 0.560' in shown
    assert 'AP 0.9' in shown and 'never' in shown


def test_seeds_are_put_together_and_boxes_counted(runs, capsys):
    assert main(['analysis', 'forecast', *runs, '--by', 'boxes']) == 0
    shown = capsys.readouterr().out
    assert '8 rounds of 2 runs, the last at 1,200 boxes' in shown
    assert '4,800' in shown


@pytest.mark.parametrize('more, message', [
    (['--metric', 'AP50'], 'has the metric AP50. Give one of coco/bbox_mAP'),
    (['--by', 'hours'], 'does not record hours'),
    (['--at', '0'], 'above 0'),
    (['--target', '1'], 'between 0 and 1'),
])
def test_what_cannot_be_asked_is_named(runs, more, message, capsys):
    assert main(['analysis', 'forecast', runs[0], *more]) == 1
    assert message in capsys.readouterr().err


def test_too_few_rounds_are_named(tmp_path, capsys):
    Curve([Record(0, 10, 20, {'coco/bbox_mAP': .1})]).save(str(tmp_path))
    assert main(['analysis', 'forecast', str(tmp_path)]) == 1
    assert 'needs 3 rounds of different cost, got 1' in capsys.readouterr().err
    assert main(['analysis', 'forecast']) == 1
    assert 'there are no runs' in capsys.readouterr().err
