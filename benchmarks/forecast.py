"""How far forecasts of learning curves are from rounds that were held back.

Of each curve the first 3, 4, … rounds are known, and all later ones are
forecast, by the median of mmal.evaluation.forecast and by two rivals: the last
value carried forward, and a straight line against the logarithm of the images,
fitted by least squares. The table has the mean error over these rounds, and
how many of them lie in the intervals.

The curves of learning_curves.json are those of configs/isal/README.md, which
mmal report printed; work folders of runs are added to them.

    python benchmarks/forecast.py
    python tools/al_train.py configs/al/fcos_random_digits.py \\
        --work-dir work_dirs/digits_6 --seed 0 --cfg-options \\
        active_learning.rounds=6 active_learning.initial.size=30 \\
        active_learning.budget.size=30
    python benchmarks/forecast.py work_dirs/digits_6

Seconds for curves; the run takes about 10 minutes of one CPU core.
"""
import argparse
import json
import os.path as osp

import numpy as np
from rich.console import Console
from rich.table import Table

from mmal.evaluation.forecast import MIN_ROUNDS, forecast_curve
from mmal.reporting import Curve

CURVES = osp.join(osp.dirname(__file__), 'learning_curves.json')


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('runs', nargs='*', help='work folders')
    parser.add_argument('--curves', default=CURVES,
                        help='json of curves (default: the committed one)')
    return parser.parse_args()


def held_back(x: np.ndarray, y: np.ndarray, known: int) -> dict:
    """Forecasts of the rounds after the first ones.

    Args:
        x (np.ndarray): Images of N rounds.
        y (np.ndarray): Their metric.
        known (int): How many rounds are known.

    Returns:
        dict: Of each method the absolute errors, [N - known]; and of each
        interval whether it holds the round.
    """
    later, truth = x[known:], y[known:]
    band = forecast_curve(x[:known], y[:known], later)
    slope, offset = np.polyfit(np.log(x[:known]), y[:known], 1)
    return dict(
        power=abs(np.array(band['median']) - truth),
        last=abs(y[known - 1] - truth),
        line=abs(offset + slope * np.log(later) - truth),
        **{f'in{level}': (np.array(band[f'low{level}']) <= truth) &
           (truth <= band[f'high{level}']) for level in (80, 95)})


def main() -> None:
    args = parse_args()
    with open(args.curves, encoding='utf-8') as f:
        curves = [(c['name'], c['images'], c['AP']) for c in json.load(f)]
    for path in args.runs:
        curves.append((path, *Curve.load(path).series('images', 'AP')))
    table = Table(title='mean absolute error of AP in held-back rounds')
    for name in ('curve', 'known', 'held back', 'power law', 'last value',
                 'line in log n', 'in 80%', 'in 95%'):
        table.add_column(name, justify='left' if name == 'curve' else 'right')
    everything = []

    def row(name: str, known: str, parts: list) -> None:
        joined = {k: np.concatenate([p[k] for p in parts]) for k in parts[0]}
        number = len(joined['power'])
        table.add_row(name, known, str(number), *(
            f'{joined[k].mean():.3f}' for k in ('power', 'last', 'line')), *(
            f'{joined[k].sum()} of {number}' for k in ('in80', 'in95')))

    for name, x, y in curves:
        x, y = np.array(x, float), np.array(y, float)
        for known in range(MIN_ROUNDS, len(x)):
            errors = held_back(x, y, known)
            everything.append(errors)
            row(name, str(known), [errors])
    table.add_section()
    row('all', '', everything)
    Console(width=110).print(table)


if __name__ == '__main__':
    main()
