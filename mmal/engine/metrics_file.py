"""``metrics.json`` of a training: what its last validation gave."""
from __future__ import annotations

import json
import logging
import math
import os.path as osp
from collections.abc import Mapping
from contextlib import suppress
from typing import Optional

from mmengine.logging import print_log

from mmal.fileio import read_json, write_json
from mmal.pool.layout import RoundDir


def write_metrics(folder: RoundDir, metrics: Mapping) -> None:
    """Write ``metrics.json`` of a round atomically.

    Args:
        folder (RoundDir): The round.
        metrics (dict[str, float | None]): What validation gave.
    """
    write_json(folder.metrics, dict(metrics), indent=1)


def read_metrics(folder: RoundDir) -> Optional[dict]:
    """What validation gave after the training of a round.

    Args:
        folder (RoundDir): The round.

    Returns:
        dict[str, float | None]: None where there is no file, or a damaged
        one, which a warning names: metrics can be made again.
    """
    if not osp.exists(folder.metrics):
        return None
    with suppress(ValueError):
        metrics = read_json(folder.metrics)
        if isinstance(metrics, dict) and all(
                v is None or type(v) in (int, float)
                for v in metrics.values()):
            return metrics
    print_log(f'{folder.metrics} is damaged: it is made again.', 'current',
              logging.WARNING)
    return None


def metrics_in_log(folder: RoundDir) -> dict:
    """What mmengine's log of a training says of its last validation.

    Args:
        folder (RoundDir): The round.

    Returns:
        dict[str, float | None]: Empty if no log tells.
    """
    for path in folder.scalar_logs():
        with open(path, encoding='utf-8', errors='replace') as f:
            lines = f.read().splitlines()
        for line in reversed(lines):
            try:
                entry = json.loads(line)
            except ValueError:  # the last line of a killed process
                continue
            # losses and times have plain names, metrics those of their kind
            metrics = {
                key: float(value) for key, value in entry.items()
                if '/' in key and isinstance(value, (int, float))
            } if isinstance(entry, dict) else {}
            if metrics:
                return finite_or_none(metrics)
    return {}


def finite_or_none(metrics: Optional[Mapping]) -> dict:
    """Metrics for JSON, which knows no NaN (a class without boxes)."""
    numbers = {k: float(v) for k, v in (metrics or {}).items()}
    return {k: v if math.isfinite(v) else None for k, v in numbers.items()}
