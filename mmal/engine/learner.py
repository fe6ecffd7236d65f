"""The controller: one fresh Runner per round."""
from __future__ import annotations

import os
import os.path as osp
import time
from contextlib import suppress
from typing import Optional

from mmengine.config import Config
from mmengine.logging import MMLogger

from mmal.compat.quiet import log_in_utf8
from mmal.dist import on_main
from mmal.fileio import discard_leftovers
from mmal.pool import (
    DataRecord,
    ImageFiles,
    LabelsPending,
    Pool,
    UnreadableImagesError,
    write_labelled,
    write_repeats,
    write_split,
)
from mmal.pool.coco import some
from mmal.pool.layout import RoundDir, WorkDir
from mmal.reporting import (
    Curve,
    Record,
    drawn_at_random,
    round_table,
    write_report,
)
from mmal.types import ImageId
from .build import build_from
from .curve_recovery import load_curve, recount_hours
from .drawn_boxes import compare_expected
from .environment import environment, environment_changes
from .fingerprint import digest, fingerprint
from .inputs import RunInputs, read_inputs, trained_counts
from .lease import release_lease
from .lock import lock_data, lock_run_dir
from .members import train_members
from .metrics_file import read_metrics
from .query_result import QueryResult
from .rehearsal import rehearse
from .round_config import round_config, run_name, scoring_splits
from .round_tracking import track_round
from .run_state import RunState
from .shared_trainings import SharedTrainings
from .training import trained

_STOPPED = dict(
    rounds='all rounds are done',
    target='the target metric is reached',
    exhausted='every image of the pool is labelled',
    rule='a rule of active_learning.stop holds')


class ActiveLearner:
    """Cycles train, test, score and select until it is time to stop.

    Each round is a pure function of the config, the pool's state and the
    seed. ``state.json`` is written when a round is committed, so that a run
    killed anywhere goes on with ``resume=True`` and ends with the same images
    in every round.

    Making one reads and checks config and data and takes the work folder.

    Args:
        cfg (Config): An mmdet config with an ``active_learning`` block and a
            ``work_dir``.
        resume (bool): Go on with the run in ``work_dir``, if there is one.
        accept_changes (bool): Even if the config was changed since; rounds
            that are done stay as they are.
        rehearsal (bool): Try all that a round builds before a new run takes
            the work folder, see :func:`~mmal.engine.rehearsal.rehearse`.
        shared_trainings (str, optional): A folder from which the training of
            the first round is taken, if another run has left an equal one
            there, and in which it is left; see
            :class:`~mmal.engine.shared_trainings.SharedTrainings`.

    Raises:
        FileNotFoundError, ValueError: If a file or a setting is wrong, or
            ``work_dir`` holds another run; the message names the file or key.
    """

    def __init__(self,
                 cfg: Config,
                 resume: bool = False,
                 accept_changes: bool = False,
                 rehearsal: bool = False,
                 shared_trainings: Optional[str] = None) -> None:
        self.inputs = read_inputs(cfg)
        self.cfg = self.inputs.cfg
        self.settings = self.inputs.settings
        self.query = self.inputs.query
        self.rules = [build_from('stop', c) for c in self.settings.stop]
        self.work = WorkDir(osp.abspath(cfg.work_dir))
        self.shared = SharedTrainings(
            shared_trainings) if shared_trainings else None
        if rehearsal and not on_main(lambda: osp.exists(self.work.state)):
            rehearse(self.inputs)
        self.files = ImageFiles(
            self.inputs.coco, self.inputs.img_prefix, self.inputs.loader,
            on_main(lambda: _loaded_before(self.work, self.inputs)))
        self.state = _open_state(self.work, self.inputs, resume,
                                 accept_changes, self.files)
        on_main(self._discard_leftovers)
        self.logger = MMLogger.get_instance(
            run_name(self.work.path),
            logger_name='mmal',
            log_file=self.work.log,
            file_mode='a')
        log_in_utf8(self.logger)
        for note in [*self.inputs.notes, *self.state.news]:
            self.logger.warning(note)
        on_main(self._write_val)
        on_main(self._restore_curve)

    def run(self) -> str:
        """Run to the end.

        Returns:
            str: The path of ``report.html``.

        Raises:
            LabelsPending: If people must label images first.
        """
        try:
            if self.state.stopped is not None:
                # a finished run goes on if it was given more rounds, and its
                # last round is validated again where nothing tells its value
                folder = self.work.round(self.state.round)
                metrics, checkpoint = on_main(
                    lambda: (read_metrics(folder), folder.latest_checkpoint()))
                self.state.stopped = self._stop_reason(metrics or {})
                if metrics is None and checkpoint and \
                        self.cfg.get('val_dataloader'):
                    self.state.stopped = None
            if self.state.stopped is not None:
                on_main(self._show_curve)
            while self.state.stopped is None:
                self._run_round()
            path = on_main(lambda: write_report(self.work.path))
            warning = on_main(lambda: drawn_at_random(
                Curve.load(self.work.curve, missing_ok=True)))
            if warning:
                self.logger.warning(warning)
            self.logger.info(
                f'Stopped: {_STOPPED[self.state.stopped]}. Report: {path}')
            return path
        except LabelsPending:
            on_main(self._report_request)
            raise
        finally:
            release_lease(self.work)

    def _report_request(self) -> None:
        """Show who labels what was chosen, and why."""
        try:
            path = write_report(self.work.path)
        except Exception as e:  # the request is written, and comes first
            self.logger.warning(f'There is no report: {type(e).__name__}: {e}')
        else:
            self.logger.info(f'Report: {path}')

    def _run_round(self) -> None:
        """Train, test, score, select and commit one round."""
        number, pool = self.state.round, self.state.pool
        folder = self.work.round(number)
        self._quarantine(number)
        images, boxes, hours = on_main(lambda: self._write_labelled(folder))
        repeats = sum(pool.repeat_counts().values())

        # The other members of an ensemble come before the round's own model:
        # the query follows at once when that one is trained. The last round
        # has no query, so nobody would ask them.
        member_seconds = 0.0
        if self.query.trained_members and self._stop_reason({}) is None:
            member_seconds = train_members(
                self.cfg, self.settings, number, folder,
                self.query.trained_members, self.logger)

        key, seconds_elsewhere = None, None
        if self.shared and number == 0:
            key, seconds_elsewhere = on_main(
                lambda: self._take_shared(folder))
        checkpoint = on_main(folder.latest_checkpoint)
        self.logger.info(
            f'Round {number}: training on {images:,} images with {boxes:,} '
            'boxes' + (f', repeated {repeats:,} times,' if repeats else '') +
            f' in {folder.path}' +
            ('' if checkpoint is None else
             f', resumed from {checkpoint}' if seconds_elsewhere is None else
             f', as another run has done ({self.shared.path})'))
        cfg = round_config(self.cfg, self.settings, number, folder, checkpoint)
        with trained(cfg, f'round {number}') as training:
            record = Record(number, images, boxes, training.metrics,
                            hours=hours)
            if repeats or self.settings.reselects:
                record.reselected = repeats
            # how long a training took that was killed nobody knows
            seconds = seconds_elsewhere if checkpoint else training.seconds
            if seconds is not None and member_seconds is not None:
                record.train_seconds = member_seconds + seconds
            if key and checkpoint is None:
                on_main(lambda: self.shared.leave(key, folder, seconds))
            self.state.stopped = self._stop_reason(training.metrics, record)
            if self.state.stopped is None:
                start = time.perf_counter()
                splits = scoring_splits(self.cfg, self.settings, folder,
                                        self.inputs.coco, pool)
                result = self.query.run(training.model, splits, number, folder,
                                        self.inputs.oracle, self.work)
                self.state.commit(result.new, result.unreadable, result.note,
                                  result.reselected)
                self._report_query(number, result)
                record.by_score = result.by_score
                record.query_seconds = time.perf_counter() - start
        on_main(lambda: self._write_curve(record))
        # The state comes last: a kill before it repeats the end of the round,
        # which finds its checkpoint, metrics and scores and ends the same.
        on_main(self.state.save)
        if self.state.stopped is None:
            on_main(lambda: self._discard_embeddings(number))

    def _take_shared(self, folder: RoundDir) -> tuple[str, Optional[float]]:
        """The name of the first training, and the seconds that it took
        another run whose result is in the folder now."""
        key = self.shared.key(self.cfg, folder, self.inputs.data)
        return key, self.shared.take(key, folder)

    def _discard_embeddings(self, number: int) -> None:
        """Remove embeddings of the rounds before one whose query is done:
        nothing reads them, and they are as large as those of all images."""
        for before in range(number):
            folder = self.work.round(before)
            for path in (folder.embeddings, folder.embeddings_labelled):
                with suppress(OSError):
                    os.unlink(path)

    def _quarantine(self, number: int) -> None:
        """Take labelled images out that broke since they were looked at.

        One that is gone would stop the training, and one that is cut off
        would be learned half grey.

        Raises:
            UnreadableImagesError: If there are any and they may not be
                skipped.
            ValueError: If no labelled image is left.
        """
        pool = self.state.pool
        broken = on_main(lambda: self.files.find_broken(pool.labelled()))
        if not broken:
            return
        if self.settings.on_bad_image != 'skip':
            raise UnreadableImagesError(broken)
        if len(broken) == len(pool.labelled()):
            raise ValueError(
                f'round {number} has nothing to train on: none of its '
                f'{len(broken):,} labelled images can be read, e.g. '
                f'{broken[0]}. Restore them and run again with --resume.')
        pool.quarantine(broken)
        self.state.add_notes([
            f'{len(broken):,} labelled images can no longer be read and are '
            'left out from this round on: ids '
            f'{some(image.id for image in broken)}'])
        # at once: a run that is killed and resumed leaves them out as well,
        # even if they are back by then
        on_main(self.state.save)
        for image in broken:
            self.logger.warning(f'Round {number}: left out is {image}')

    def _write_labelled(self, folder: RoundDir) -> tuple[int, int, float]:
        """Write what the round trains on.

        Returns:
            tuple[int, int, float]: The images and boxes that are trained on,
            and the hours that labelling takes by the cost model.

        Raises:
            ValueError: If there are none; the message says why.
        """
        pool, coco, rule = self.state.pool, self.inputs.coco, self.inputs.rule
        ids = pool.labelled()
        if not osp.exists(folder.labelled):  # a round in progress stays as is
            corrected = self.inputs.oracle.take_corrections(self.state.round)
            if corrected:
                note = (f'labels of {len(corrected):,} images were corrected '
                        f'and count from this round on: {some(corrected)}')
                self.state.add_notes([note])
                self.state.save()
                self.logger.warning(f'Round {self.state.round}: {note}')
        annotations = self.inputs.oracle.annotate(ids)
        images, boxes, reasons = trained_counts(
            coco, annotations, ids, rule, self.settings.data.crowd)
        hours = self.query.budget.cost_model.hours(
            len(ids), annotations, coco.categories)
        comparison = compare_expected(self.work, self.state.round, pool,
                                      annotations, coco.categories)
        if comparison and f'round {self.state.round}: {comparison}' \
                not in self.state.notes:
            self.state.add_notes([comparison])
            self.logger.info(f'Round {self.state.round}: {comparison}.')
        if reasons:
            left_out = ', '.join(f'{n:,} {why}' for why, n in reasons.items())
            crowd = " (active_learning.data.crowd='boxes' takes crowd " \
                'regions as boxes)' if 'crowd regions' in reasons else ''
            self.logger.warning(
                f'Round {self.state.round}: not trained on as boxes are '
                f'{left_out} of {len(annotations):,} annotations{crowd}.')
        if images < len(ids):
            self.logger.warning(
                f'Round {self.state.round}: mmdet leaves out '
                f'{len(ids) - images:,} of {len(ids):,} labelled images '
                '(filter_cfg of the training set: empty, or smaller than '
                'min_size).')
        if self.inputs.data.add_files(coco, self.inputs.img_prefix, ids):
            self.inputs.data.save(self.work.data)
        write_labelled(folder, coco, pool, annotations)
        write_repeats(folder, pool)
        return images, boxes, hours

    def _write_val(self) -> None:
        """The validation file as mmdet and pycocotools need it, if the user's
        own is not."""
        val = self.inputs.val
        if val is not None and val.repairs:
            write_split(self.work.val, val, val.ids,
                        val.annotations_of(val.ids))

    def _stop_reason(self, metrics: dict,
                     record: Optional[Record] = None) -> Optional[str]:
        """Why no round comes after this one; None if one does.

        Args:
            metrics (dict): Of its validation; empty before that.
            record (Record, optional): The round, where the curve does not
                have it yet.
        """
        target = self.settings.target
        if target and metrics:
            if target.metric not in metrics:
                raise ValueError(
                    f'active_learning.target.metric is {target.metric!r}, '
                    f'but validation gives {", ".join(metrics)}: choose one '
                    'of them and run again with --resume.')
            reached = metrics[target.metric]
            if reached is not None and reached >= target.value:
                return 'target'
        if not self.state.pool.unlabelled():
            return 'exhausted'
        if self.state.pool.num_rounds >= self.settings.rounds:
            return 'rounds'
        if self.rules and metrics:
            reason = on_main(lambda: self._reason_of_rules(record))
            if reason:
                self.state.add_notes([reason])
                self.logger.warning(
                    f'Round {self.state.round}: {reason}. To go on, change '
                    'active_learning.stop or leave it out, and run again with '
                    '--resume.')
                return 'rule'
        return None

    def _reason_of_rules(self, record: Optional[Record]) -> Optional[str]:
        """What the first rule of active_learning.stop says that holds."""
        done = self.state.round + (record is None)
        curve = load_curve(self.work, done, self.state.pool, self.inputs)
        if record is not None:
            curve.add(record)
        return next(filter(None, (r.reason(curve) for r in self.rules)), None)

    def _report_query(self, number: int, result: QueryResult) -> None:
        self.logger.info(f'Round {number}: selected {result}.')
        if result.note:
            self.logger.warning(f'Round {number}: {result.note}.')
        if result.by_score and result.at_random:  # of none the note tells
            self.logger.warning(
                f'Round {number}: {result.at_random:,} of them come last by '
                'their score (no detection, for most scorers) and were drawn '
                'at random among such images.')
        for image in result.unreadable:
            self.logger.warning(f'Unreadable: {image}')

    def _write_curve(self, record: Record) -> None:
        curve = load_curve(self.work, record.round, self.state.pool,
                           self.inputs)
        before = {r.round: r for r in curve.records}.get(record.round)
        if before and record.train_seconds is None:
            record.train_seconds = before.train_seconds
        curve.add(record)
        curve.stopped = self.state.stopped
        curve.note = '; '.join(self.state.notes)
        curve.img_prefix = self.inputs.img_prefix
        curve.save(self.work.curve)
        track_round(self.cfg, self.work, curve, record.round, self.logger)
        self._show_curve()

    def _restore_curve(self) -> None:
        """Make again what is lost of the rounds that are done."""
        done = self.state.round + (self.state.stopped is not None)
        if not done:
            return
        curve = load_curve(self.work, done, self.state.pool, self.inputs)
        recount_hours(curve, self.work, self.state.pool, self.inputs)
        curve.stopped = self.state.stopped
        curve.note = '; '.join(self.state.notes)
        curve.img_prefix = self.inputs.img_prefix
        curve.save(self.work.curve)

    def _show_curve(self) -> None:
        self.logger.info('\n' + round_table(Curve.load(self.work.curve)))

    def _discard_leftovers(self) -> None:
        """Remove what a killed process had half written."""
        discard_leftovers(self.work.path)
        if osp.isdir(self.work.embeddings):
            for name in os.listdir(self.work.embeddings):
                discard_leftovers(osp.join(self.work.embeddings, name))
        for number in range(self.state.pool.num_rounds):
            folder = self.work.round(number)
            discard_leftovers(folder.path)
            for member in range(1, self.query.trained_members + 1):
                discard_leftovers(folder.member(member).path)


def _loaded_before(work: WorkDir, inputs: RunInputs) -> list[ImageId]:
    """Images that were loaded, and have not changed since: those of a new run
    when its inputs were read, those of another in its rounds."""
    if not osp.exists(work.state):
        return inputs.initial_ids
    try:
        return DataRecord.load(work.data).unchanged_files(
            inputs.coco, inputs.img_prefix, inputs.coco.ids)
    except ValueError:
        return []


def _open_state(work: WorkDir, inputs: RunInputs, resume: bool,
                accept_changes: bool, files: ImageFiles) -> RunState:
    """Go on with the run in the work folder, or start one."""
    content, here = fingerprint(inputs.cfg), environment(inputs.cfg)
    config_hash = digest(content)
    is_resumed = on_main(lambda: lock_run_dir(
        work, content, resume, inputs.cfg.pretty_text, accept_changes))
    if is_resumed:
        state = RunState.load(work, inputs.coco.ids)
        pool = state.pool
        elsewhere = '; '.join(environment_changes(state.environment, here))
        if elsewhere and not accept_changes and \
                inputs.settings.on_new_environment == 'refuse':
            on_main(lambda: _refuse_environment(work, elsewhere))

        def check_data() -> list[str]:
            # Those that broke were not replaced: the round says what becomes
            # of them.
            broken = {i.id for i in files.find_broken(pool.labelled())}
            whole = [i for i in pool.labelled() if i not in broken]
            return lock_data(work, inputs.data, inputs.coco,
                             inputs.img_prefix, whole, accept_changes)

        news = on_main(check_data)
        left = set(pool.unlabelled())
        gone = [image for image in inputs.unreadable if image.id in left]
        if gone:
            pool.set_unreadable(gone)
            news.append(f'{len(gone):,} unlabelled images can no longer be '
                        f'read: ids {some(image.id for image in gone)}')
        if state.config_hash != config_hash:
            state.config_hash = config_hash
            news.append('the config was changed')
        if elsewhere:
            news.append('it goes on in another environment, which may change '
                        f'its numbers: {elsewhere}')
        state.add_notes(news)
    else:
        state = RunState(work, Pool(inputs.coco.ids), config_hash,
                         inputs.settings.seed)
        state.commit(inputs.initial_ids, inputs.unreadable, '')
        # before the state: no run without its record is gone on with
        on_main(lambda: inputs.data.save(work.data))
    state.environment = here
    on_main(state.save)
    if is_resumed:
        # after the state: a kill between the two finds the same news again,
        # and notes them once
        on_main(lambda: inputs.data.save(work.data))
    return state


def _refuse_environment(work: WorkDir, changes: str) -> None:
    raise ValueError(
        f'{work.path} was computed in another environment, and '
        "active_learning.on_new_environment is 'refuse': "
        f'{changes}. Resume it in that one, or go on in this one with '
        "--resume force or on_new_environment='note'.")
