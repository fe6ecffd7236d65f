"""What a run will do, without doing it."""
from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import Optional

from mmengine.config import Config
from mmengine.dist import get_world_size
from rich import box
from rich.console import Console
from rich.table import Table

from mmal.dist import on_main
from mmal.pool import build_budget
from .dataset_config import innermost_dataset
from .inputs import read_inputs
from .rehearsal import rehearse

# after so many rounds of a run that has no end but a target, or a huge one
MAX_ROWS = 50


@dataclass(frozen=True)
class PlannedRound:
    """One row of a plan.

    Args:
        round (int): The round, from 0.
        images (int): Labelled images.
        boxes (int, optional): Their boxes; None where nobody knows.
        exact (bool): Whether images and boxes are known or expected.
        iterations (int): Training steps, of all models together.
        note (str): E.g. that the pool is used up.
    """
    round: int
    images: int
    boxes: Optional[int]
    exact: bool
    iterations: int
    note: str = ''


def plan_run(cfg: Config) -> str:
    """Check config and data, rehearse a round, and say what the rounds will
    be.

    Nothing is trained or written.

    Args:
        cfg (Config): See :class:`~mmal.engine.ActiveLearner`.

    Returns:
        str: A table of rounds, images, boxes and training iterations; the
        same in every process.

    Raises:
        FileNotFoundError, ValueError: Naming the file or the key.
    """
    inputs = read_inputs(cfg, prepare=False)
    rehearse(inputs)
    settings, ids = inputs.settings, inputs.coco.ids

    def table() -> str:
        total, first = None, None
        if inputs.oracle.knows_counts:
            total = int(inputs.oracle.count_boxes(ids).sum())
            first = int(inputs.oracle.count_boxes(inputs.initial_ids).sum())
        notes = list(inputs.notes)
        if settings.initial.selector is not None:
            notes.append(
                'The boxes of the first round are those of a random draw: '
                'active_learning.initial.selector looks at the whole pool '
                'when the run starts.')
        for note in notes:
            print(note)
        return plan_table(plan_rounds(
            inputs.cfg, settings.rounds, settings.budget.to_dict(), len(ids),
            len(inputs.initial_ids), first, total, get_world_size(),
            inputs.query.trained_members, settings.reselects))

    return on_main(table)


def plan_rounds(cfg: Config, rounds: int, budget: dict, pool: int,
                initial: int, initial_boxes: Optional[int],
                total_boxes: Optional[int],
                world_size: int = 1,
                members: int = 0,
                reselects: bool = False) -> list[PlannedRound]:
    """Expect what each round will label and train.

    Later rounds are expected to find as many boxes on an image as the rest
    of the pool has, and to reselect no labelled image; where they may, the
    note says what that would change.

    Args:
        cfg (Config): The run's config, for the training schedule.
        rounds (int): How many rounds.
        budget (dict): What a round may label, see
            :func:`~mmal.pool.build_budget`.
        pool (int): Images in the pool.
        initial (int): Images labelled first.
        initial_boxes (int, optional): Their boxes, if known.
        total_boxes (int, optional): Boxes in the pool, if known.
        world_size (int): Training processes.
        members (int): Models that each round with a query trains besides its
            own.
        reselects (bool): Whether labelled images may be reselected.

    Returns:
        list[PlannedRound]: At most as many as the pool lasts.
    """
    left = pool - initial
    density = None  # boxes an image
    if total_boxes is not None and left:
        density = (total_boxes - initial_boxes) / left
    spends = build_budget(budget)
    step = spends.size
    if spends.needs_counts:
        # nobody knows how many images have so many boxes: all of them
        of_box, of_image = spends.costs
        cost = None if density is None else density * of_box + of_image
        step = max(1, int(step / cost)) if cost else left
    rows, images = [], initial
    for number in range(rounds):
        boxes = initial_boxes
        if number and density is not None:
            boxes = round(initial_boxes + density * (images - initial))
        has_query = number < rounds - 1 and images < pool
        models = 1 + members if has_query else 1
        notes = []
        if images == pool:
            notes.append('the pool is used up')
        elif models > 1:
            notes.append(f'{models} models')
        if number and reselects:
            notes.append('fewer images if some are reselected'
                         if spends.repeats == 'counted' else
                         'longer if images are reselected')
        rows.append(
            PlannedRound(number, images, boxes, number == 0,
                         models * iterations(cfg, images, world_size),
                         '; '.join(notes)))
        if images == pool:
            break
        images = min(pool, images + step)
    return rows


def iterations(cfg: Config, images: int, world_size: int = 1) -> int:
    """Training steps of a round on so many images.

    Images that the data set leaves out (``filter_cfg``) are counted.
    """
    if cfg.train_cfg.get('max_iters'):
        return cfg.train_cfg.max_iters
    repeats, dataset = 1, cfg.train_dataloader.dataset
    while dataset is not innermost_dataset(dataset):
        repeats *= dataset.get('times', 1)
        dataset = dataset['dataset']
    # each process gets its share first, then makes batches of it
    share = math.ceil(images * repeats / world_size)
    batch = cfg.train_dataloader.get('batch_size', 1)
    return math.ceil(share / batch) * cfg.train_cfg.max_epochs


def plan_table(rows: list[PlannedRound]) -> str:
    """The plan as text; expected numbers begin with ``~``."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in ('round', 'images', 'boxes', 'training iterations'):
        table.add_column(name, justify='right')
    table.add_column('')
    for row in rows[:MAX_ROWS]:
        about = '' if row.exact else '~'
        boxes = '?' if row.boxes is None else f'{about}{row.boxes:,}'
        table.add_row(str(row.round), f'{row.images:,}', boxes,
                      f'{row.iterations:,}', row.note)
    if len(rows) > MAX_ROWS:
        table.add_row('…', f'up to {rows[-1].images:,}', '', '',
                      f'{len(rows)} rounds at most')
    console = Console(file=io.StringIO(), width=100, color_system=None)
    console.print(table)
    return '\n'.join(
        line.rstrip() for line in console.file.getvalue().splitlines())
