"""The controller: one fresh Runner per round."""
from __future__ import annotations

import os.path as osp
import time
from typing import Optional

from mmengine.config import Config
from mmengine.dist import get_world_size, is_main_process
from mmengine.logging import MMLogger
from mmengine.registry import FUNCTIONS, init_default_scope

from mmal.fileio import discard_leftovers, read_json
from mmal.pool import (
    BadImage,
    BadImagesError,
    BaseOracle,
    CocoData,
    Initial,
    Pool,
    check_images,
    count_boxes,
    initial_ids,
    load_coco,
    write_candidates,
    write_repeats,
    write_round_splits,
)
from mmal.reporting import Curve, Record, round_table, write_report
from .checks import (
    check_committee,
    check_config,
    check_first_round,
    check_model,
    check_pool,
    check_scorer,
    check_val,
)
from .dist import on_main, setup_dist
from .hooks import ActiveLearningHook
from .identity import digest, identity
from .members import train, train_members
from .plan import plan_rounds, plan_table
from .query import Query, build_part
from .round_config import round_config, run_name, scoring_splits
from .run_state import RunState, claim
from .settings import Settings, image_prefix, pool_dataset
from .workdir import RoundDir, WorkDir


class ActiveLearner:
    """Cycles train, test, score and select until it is time to stop.

    Each round is a pure function of the config, the pool's state and the
    seed. ``state.json`` is written when a round is committed, so that a run
    killed anywhere goes on with ``resume=True`` and ends with the same images
    in every round.

    Args:
        cfg (Config): An mmdet config with an ``active_learning`` block and a
            ``work_dir``.
        resume (bool): Go on with the run in ``work_dir``, if there is one.
        accept_changes (bool): Even if the config was changed since; rounds
            that are done stay as they are.

    Raises:
        ValueError: If a setting makes no sense, or ``work_dir`` holds another
            run; see :class:`Settings`.
    """

    def __init__(self,
                 cfg: Config,
                 resume: bool = False,
                 accept_changes: bool = False) -> None:
        self.cfg = cfg
        self.settings = Settings.from_config(cfg)
        self.work = WorkDir(osp.abspath(cfg.work_dir))
        self.resume = resume
        self.accept_changes = accept_changes

    def run(self) -> str:
        """Run to the end.

        Returns:
            str: The path of ``report.html``.

        Raises:
            LabelsPending: If people must label images first.
        """
        self.prepare()
        self._open()
        if self.state.stopped is not None:
            on_main(self._show_curve)
        while self.state.stopped is None:
            self._run_round(self.state.round)
        return self._report()

    def plan(self) -> str:
        """Check config and data and say what the rounds will be.

        Nothing is trained, and nothing written but by ``prepare_data``.

        Returns:
            str: A table of rounds, images, boxes and training iterations,
            which is printed as well.
        """
        self.prepare()
        table = on_main(self._plan)
        if is_main_process():
            print(table)
        return table

    def _plan(self) -> str:
        oracle = self.query.oracle
        total, first = None, None
        if oracle.knows_counts:
            total = int(oracle.count_boxes(self.coco.ids).sum())
            first = int(oracle.count_boxes(self.initial_ids).sum())
        rows = plan_rounds(self.cfg, self.settings.rounds,
                           self.settings.budget, len(self.coco.ids),
                           len(self.initial_ids), first, total,
                           get_world_size(), self.query.trained_members,
                           self.settings.takes_again)
        return plan_table(rows)

    def prepare(self) -> None:
        """Read and check config and data; only ``prepare_data`` writes.

        Raises:
            FileNotFoundError, ValueError: Naming the file or the key.
        """
        setup_dist(self.cfg.get('launcher', 'none'))
        init_default_scope(self.cfg.get('default_scope', 'mmdet'))
        settings = self.settings
        check_config(self.cfg, settings)
        if settings.prepare_data:
            on_main(lambda: _call(settings.prepare_data))
        self.dataset = pool_dataset(self.cfg, settings)
        self.coco = on_main(self._read_pool)
        self._labels: Optional[BaseOracle] = None
        on_main(self._build_oracle)
        self.query = Query(settings, self.coco, image_prefix(self.dataset),
                           self._labels)
        self.initial_ids: list = on_main(self._check)

    def _read_pool(self) -> CocoData:
        """Only process 0 keeps annotations, for the oracle."""
        path = self.dataset['ann_file']
        source = self.settings.data.get('source')
        try:
            self._full = load_coco(path, need_annotations=False)
        except FileNotFoundError as e:
            where = f' Get the data from {source}.' if source else ''
            raise FileNotFoundError(f'{e}{where}') from e
        check_pool(self._full, self.dataset)
        return self._full.without_annotations()

    def _build_oracle(self) -> None:
        """Process 0 asks for labels; the others never see any."""
        self._labels = build_part(
            self.settings,
            'oracle',
            pool=self._full,
            work_dir=self.work.path)

    def _check(self) -> list:
        """Draw the first images and look for everything else wrong."""
        check_val(self.cfg)
        initial = self._draw_initial()
        self.query.oracle = oracle = initial.before(self.query.oracle)
        rest = set(self.coco.ids).difference(initial.ids)
        total = int(oracle.count_boxes(rest).sum()) if \
            oracle.knows_counts and rest else None
        self.query.budget.check(len(self.coco.ids), len(initial.ids), total)
        model = check_model(self.cfg, self.dataset)
        check_committee(self.query.scorer, self.query.committee, model)
        check_scorer(self.query, model, self.cfg, self.settings,
                     self.work.round(0))
        return initial.ids

    def _draw_initial(self) -> Initial:
        """Draw again while there are unreadable images among the first."""
        self._bad: list[BadImage] = check_images(
            self.coco, image_prefix(self.dataset))
        while True:
            self._refuse_bad()
            initial = initial_ids(
                self.settings.initial,
                self.coco,
                self.settings.seed,
                data_root=self.dataset.get('data_root') or '',
                exclude=[b.id for b in self._bad])
            bad = self._broken(initial.ids)
            if not bad:
                return initial
            self._bad += bad

    def _broken(self, ids: list) -> list[BadImage]:
        if osp.exists(self.work.state):  # they were looked at before
            return []
        return check_images(
            self.coco, image_prefix(self.dataset), ids, decode=True)

    def _refuse_bad(self) -> None:
        if self._bad and self.settings.on_bad_image != 'skip':
            raise BadImagesError(self._bad)

    def _open(self) -> None:
        """Go on with the run in the work folder, or start one."""
        content = identity(self.cfg)
        text = self.cfg.pretty_text
        found = on_main(
            lambda: claim(self.work, content, self.resume, text, self.
                          accept_changes))
        if found:
            self.state = RunState.load(self.work, self.coco.ids)
            self._note_changes(digest(content))
            self._reconsider_stop()
        else:
            self.state = RunState(self.work, Pool(self.coco.ids),
                                  digest(content), self.settings.seed)
            bad = on_main(lambda: self._bad)
            self.state.commit(self.initial_ids, bad, '')
            on_main(self.state.save)
        on_main(self._tidy)
        self.logger = MMLogger.get_instance(
            run_name(self.work.path),
            logger_name='mmal',
            log_file=self.work.log,
            file_mode='a')

    def _note_changes(self, config_hash: str) -> None:
        if self.state.config_hash != config_hash:
            self.state.config_hash = config_hash
            self.state.notes.append(
                f'round {self.state.round}: the config was changed')
            on_main(self.state.save)

    def _tidy(self) -> None:
        """Remove what a killed process had half written."""
        discard_leftovers(self.work.path)
        members = range(1, self.query.trained_members + 1)
        for number in range(self.state.pool.num_rounds):
            folder = self.work.round(number)
            discard_leftovers(folder.path)
            for member in members:
                discard_leftovers(folder.member(member).path)

    def _reconsider_stop(self) -> None:
        """A finished run goes on if it was given more rounds."""
        if self.state.stopped is None:
            return
        metrics = on_main(lambda: self._metrics(self.state.round))
        self.state.stopped = self._stop_reason(metrics)

    def _metrics(self, round: int) -> dict:
        path = self.work.round(round).metrics
        return read_json(path) if osp.exists(path) else {}

    def _run_round(self, round: int) -> None:
        folder = self.work.round(round)
        boxes = on_main(lambda: self._write_splits(folder))
        others = self._train_members(round, folder)
        checkpoint = on_main(folder.latest_checkpoint)
        cfg = round_config(self.cfg, self.settings, round, folder, checkpoint)
        repeats = sum(self.state.pool.repeats().values())
        self.logger.info(
            f'Round {round}: training on {len(self.state.pool.labelled()):,} '
            f'images with {boxes:,} boxes' +
            (f', repeated {repeats:,} times,' if repeats else '') +
            f' in {folder.path}' +
            (f', resumed from {checkpoint}' if checkpoint else ''))

        def finish(runner, model, metrics):
            seconds = None
            if checkpoint is None and others is not None:
                seconds = others + hook.train_seconds
            self._finish_round(round, model, metrics, boxes, seconds)

        hook = ActiveLearningHook(on_round_end=finish)
        train(cfg, hook)

    def _train_members(self, round: int, folder: RoundDir) -> Optional[float]:
        """The rest of an ensemble, in rounds that have a query."""
        count = self.query.trained_members
        if not count or self._stop_reason({}) is not None:
            return 0.0
        return train_members(self.cfg, self.settings, round, folder, count,
                             self.logger)

    def _write_splits(self, folder: RoundDir) -> int:
        ids = self.state.pool.labelled()
        annotations = self.query.oracle.annotate(ids)
        boxes = int(count_boxes(annotations, ids).sum())
        check_first_round(boxes, len(ids))
        pool = self.state.pool
        write_round_splits(folder.path, self.coco, pool, annotations)
        write_repeats(folder.path, pool)
        if self.settings.takes_again:
            write_candidates(folder.path, self.coco, pool)
        return boxes

    def _finish_round(self, round: int, model, metrics: dict, boxes: int,
                      seconds: Optional[float]) -> None:
        record = Record(round, len(self.state.pool.labelled()), boxes,
                        metrics, seconds, repeated=self._repeated())
        self.state.stopped = self._stop_reason(metrics)
        if self.state.stopped is None:
            start = time.perf_counter()
            self._make_query(model, round)
            record.query_seconds = time.perf_counter() - start
        on_main(lambda: self._write_curve(record))
        # the state comes last: a kill before it repeats the end of the round
        on_main(self.state.save)

    def _repeated(self) -> Optional[int]:
        """Repetitions in training; None where there cannot be any."""
        times = sum(self.state.pool.repeats().values())
        return times if times or self.settings.takes_again else None

    def _make_query(self, model, round: int) -> None:
        folder = self.work.round(round)
        splits = scoring_splits(self.cfg, self.settings, folder,
                                self.state.pool.labelled(0))
        chosen = self.query.run(model, splits, round, folder)
        self.state.commit(chosen.new, chosen.set_aside, chosen.note,
                          chosen.repeated)
        self.logger.info(f'Round {round}: selected {chosen}.')
        if chosen.note:
            self.logger.warning(f'Round {round}: {chosen.note}.')
        last = chosen.scores.count(float('-inf'))
        if last:
            self.logger.warning(
                f'Round {round}: {last:,} of them come last by their score '
                '(no detection, for most scorers) and were drawn at random '
                'among such images.')
        for bad in chosen.set_aside:
            self.logger.warning(f'Set aside: {bad}')

    def _stop_reason(self, metrics: dict) -> Optional[str]:
        target = self.settings.target
        if target and self._reached(metrics):
            return 'target'
        if not self.state.pool.unlabelled():
            return 'exhausted'
        if self.state.pool.num_rounds >= self.settings.rounds:
            return 'rounds'
        return None

    def _reached(self, metrics: dict) -> bool:
        name, value = (self.settings.target[k] for k in ('metric', 'value'))
        if metrics and name not in metrics:
            raise ValueError(
                f'active_learning.target.metric is {name!r}, but validation '
                f'gives {", ".join(metrics)}: choose one of them and run '
                'again with --resume.')
        found = metrics.get(name)
        return found is not None and found >= value

    def _write_curve(self, record: Record) -> None:
        curve = Curve.load(self.work.curve, missing_ok=True)
        before = {r.round: r for r in curve.records}.get(record.round)
        if before and record.train_seconds is None:
            record.train_seconds = before.train_seconds
        curve.add(record)
        curve.stopped = self.state.stopped
        curve.note = '; '.join(self.state.notes)
        curve.img_prefix = image_prefix(self.dataset)
        curve.save(self.work.curve)
        self._show_curve()

    def _show_curve(self) -> None:
        self.logger.info('\n' + round_table(Curve.load(self.work.curve)))

    def _report(self) -> str:
        path = on_main(lambda: write_report(self.work.path))
        self.logger.info(
            f'Stopped: {_STOPPED[self.state.stopped]}. Report: {path}')
        return path


_STOPPED = dict(
    rounds='all rounds are done',
    target='the target metric is reached',
    exhausted='every image of the pool is labelled')


def _call(cfg: dict) -> None:
    cfg = dict(cfg)
    FUNCTIONS.get(cfg.pop('type'))(**cfg)
