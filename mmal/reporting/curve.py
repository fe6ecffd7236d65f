"""The learning curve of one run: ``curve.json`` in its work folder."""
from __future__ import annotations

import math
import numbers
import os.path as osp
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Optional

from mmal.evaluation import area_under_curve, cost_needed
from mmal.fileio import read_json, write_json
from mmal.pool.layout import WorkDir

# The first key found in a round's metrics is shown under the short name.
METRIC_KEYS = {
    'AP': ('coco/bbox_mAP', 'pascal_voc/mAP'),
    'AP50': ('coco/bbox_mAP_50', 'pascal_voc/AP50'),
    'AP75': ('coco/bbox_mAP_75', 'pascal_voc/AP75'),
    'accuracy': ('accuracy/top1', ),
}
# What a report shows of a run: the first of these that has a value.
SHOWN = (('AP', 'AP50', 'AP75'), ('accuracy', ))
COSTS = ('images', 'boxes')
AXES = (*COSTS, 'hours')
STOPPED = (None, 'rounds', 'target', 'exhausted', 'rule')


@dataclass
class Record:
    """What one round cost and brought.

    Args:
        round (int): The round, counted from 0.
        images (int): Labelled images the model was trained on.
        boxes (int): Their boxes.
        metrics (dict): Name -> value of the validation; values that are no
            finite number become None.
        train_seconds (float, optional): Wall time of training, that of an
            ensemble's other members included.
        query_seconds (float, optional): Wall time of scoring and selecting
            at the end of the round; None if the round had no query.
        reselected (int, optional): How often labelled images were
            reselected up to this round: training shows so many images more,
            while ``images`` and ``boxes`` count each image once. None where
            no image can be reselected.
        by_score (float, optional): The share of the images chosen at the end
            of the round, in [0, 1], that were chosen by their score; the
            others were drawn at random, since nothing was detected in them.
            None without a query, or where scores do not count.
        hours (float, optional): How long people take to label these images
            by the cost model, see :class:`~mmal.pool.CostModel`; None of
            rounds that are older than it.
    """
    round: int
    images: int
    boxes: int
    metrics: dict[str, Optional[float]] = field(default_factory=dict)
    train_seconds: Optional[float] = None
    query_seconds: Optional[float] = None
    reselected: Optional[int] = None
    by_score: Optional[float] = None
    hours: Optional[float] = None

    def __post_init__(self) -> None:
        metrics = {}
        for key, value in self.metrics.items():
            # numpy's scalars and tensors of one element are numbers too
            is_number = isinstance(value, numbers.Real) or hasattr(
                value, 'item')
            value = float(value) if is_number else math.nan
            # JSON has no NaN, which is the AP of a class without objects
            metrics[key] = value if math.isfinite(value) else None
        self.metrics = metrics

    def value(self, name: str) -> Optional[float]:
        """A metric by its key, or by its short name, e.g. AP or accuracy."""
        for key in (name, *METRIC_KEYS.get(name, ())):
            if key in self.metrics:
                return self.metrics[key]
        return None

    @property
    def efficiency(self) -> Optional[float]:
        """``10k·AP / boxes``, as in ISAL, tables 8 to 11; AP in [0, 1].

        None without an AP or without boxes.
        """
        ap = self.value('AP')
        return None if ap is None or not self.boxes else 1e4 * ap / self.boxes

    def to_dict(self) -> dict[str, Any]:
        """The record as it stands in ``curve.json``."""
        entry = dict(asdict(self), efficiency=self.efficiency)
        for key in ('reselected', 'by_score', 'hours'):
            if entry[key] is None:
                del entry[key]
        return entry

    @classmethod
    def from_dict(cls, entry: Mapping[str, Any]) -> Record:
        """Inverse of :meth:`to_dict`; the efficiency is computed anew.

        Raises:
            TypeError, AttributeError: If it is no record.
        """
        # what is computed, and keys of other versions, are passed over
        names = cls.__dataclass_fields__
        record = cls(**{k: v for k, v in entry.items() if k in names})
        for name in ('round', 'images', 'boxes'):
            if type(getattr(record, name)) is not int:
                raise TypeError(f'{name} is {getattr(record, name)!r}')
        for name in ('train_seconds', 'query_seconds', 'reselected',
                     'by_score', 'hours'):
            if type(getattr(record, name)) not in (int, float, type(None)):
                raise TypeError(f'{name} is {getattr(record, name)!r}')
        return record


@dataclass
class Curve:
    """The rounds of one run, ordered.

    Args:
        records (list[Record]): One a round.
        stopped (str, optional): Why the run ended: 'rounds', 'target',
            'exhausted' or 'rule' (of ``active_learning.stop``, which the
            note says); None while it goes on.
        note (str): A remark for the reader of the report.
        img_prefix (str, optional): Folder of the pool's images.
    """
    records: list[Record] = field(default_factory=list)
    stopped: Optional[str] = None
    note: str = ''
    img_prefix: Optional[str] = None

    def __post_init__(self) -> None:
        if self.stopped not in STOPPED:
            raise ValueError(
                f'stopped must be one of {STOPPED}, got {self.stopped!r}')
        self.records = sorted(self.records, key=lambda r: r.round)

    def __len__(self) -> int:
        return len(self.records)

    def add(self, record: Record) -> None:
        """Append a round; one that is there already is replaced."""
        # a round that was killed after its record is done and added again
        others = [r for r in self.records if r.round != record.round]
        self.records = sorted([*others, record], key=lambda r: r.round)

    def series(self,
               by: str = 'boxes',
               metric: str = 'AP') -> tuple[list[float], list[float]]:
        """Costs and values of the rounds that have this metric.

        Args:
            by (str): 'images', 'boxes' or 'hours'; rounds without hours are
                left out where these are asked for.
            metric (str): 'AP', 'AP50', 'AP75', 'accuracy' or a key of the
                metrics.

        Returns:
            tuple[list[float], list[float]]: As many costs as values.
        """
        if by not in AXES:
            raise ValueError(f'by must be one of {AXES}, got {by!r}')
        pairs = [(getattr(r, by), r.value(metric)) for r in self.records]
        pairs = [(cost, value) for cost, value in pairs
                 if cost is not None and value is not None]
        return [p[0] for p in pairs], [p[1] for p in pairs]

    @property
    def shown(self) -> tuple[str, ...]:
        """Short names of the metrics to show: those of a detector unless
        the rounds have others only."""
        for names in SHOWN:
            if any(self.series('images', name)[0] for name in names):
                return names
        return SHOWN[0]

    def area(self, by: str = 'boxes', metric: str = 'AP',
             **interval) -> Optional[float]:
        """See :func:`mmal.evaluation.area_under_curve`; None if empty."""
        costs, values = self.series(by, metric)
        return area_under_curve(costs, values, **interval) if costs else None

    def boxes_needed(self, ap: float, metric: str = 'AP') -> Optional[float]:
        """Boxes at which AP is reached, interpolated; None if never."""
        return self.cost_to_reach(ap, 'boxes', metric)

    def cost_to_reach(self, value: float, by: str = 'boxes',
                      metric: str = 'AP') -> Optional[float]:
        """The cost, interpolated, at which a value is reached.

        Args:
            value (float): Of the metric.
            by (str): 'images', 'boxes' or 'hours'.
            metric (str): 'AP', 'AP50', 'AP75', 'accuracy' or a key of the
                metrics.

        Returns:
            float | None: None if it is never reached, or no round has both
            the cost and the metric.

        Raises:
            ValueError: If ``by`` is something else.
        """
        costs, values = self.series(by, metric)
        return cost_needed(costs, values, value) if costs else None

    def to_dict(self) -> dict[str, Any]:
        """The content of ``curve.json``."""
        out = {
            'rounds': [r.to_dict() for r in self.records],
            'stopped': self.stopped,
            'note': self.note
        }
        if self.img_prefix is not None:
            out['img_prefix'] = self.img_prefix
        return out

    def save(self, path: str) -> str:
        """Write the curve atomically.

        Args:
            path (str): A json file, or the work folder it goes into.

        Returns:
            str: The file written.
        """
        path = _file(path)
        write_json(path, self.to_dict(), indent=1)
        return path

    @classmethod
    def load(cls, path: str, missing_ok: bool = False) -> Curve:
        """Read a curve.

        Args:
            path (str): A json file, or the work folder it is in.
            missing_ok (bool): Give an empty curve where there is no file.

        Raises:
            FileNotFoundError: If there is no file.
            ValueError: If it is no JSON or not a curve.
        """
        path = _file(path)
        if missing_ok and not osp.exists(path):
            return cls()
        try:
            content = read_json(path)
            return cls(
                records=[Record.from_dict(r) for r in content['rounds']],
                stopped=content.get('stopped'),
                note=content.get('note') or '',
                img_prefix=content.get('img_prefix'))
        except (KeyError, TypeError, AttributeError, ValueError) as e:
            raise ValueError(
                f'{path} is no learning curve ({type(e).__name__}: '
                f'{e.__cause__ or e}). The run makes it again when it is '
                'started with --resume.') from e


def _file(path: str) -> str:
    return path if path.endswith('.json') else WorkDir(path).curve
