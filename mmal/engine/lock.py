"""Taking a work folder: for a run, or for something that is trained once."""
from __future__ import annotations

import os
import os.path as osp
from collections.abc import Sequence
from contextlib import suppress

from mmal.fileio import discard_leftovers, read_json, write_json, write_text
from mmal.pool import CocoData, DataRecord, State
from mmal.pool.coco import some
from mmal.pool.layout import RoundDir, WorkDir
from mmal.types import ImageId
from .fingerprint import differences, digest
from .lease import take_lease

# Keys of what comes after the scores; what a box and an image cost comes
# before those of PerCostScorer.
_AFTER_SCORES = ('active_learning.selector.', 'active_learning.spacing',
                 'active_learning.budget.size',
                 'active_learning.budget.repeats',
                 'active_learning.budget.targets', 'active_learning.oracle.')


def lock_run_dir(work: WorkDir,
                 fingerprint: dict,
                 resume: bool,
                 text: str,
                 accept_changes: bool = False) -> bool:
    """Make sure a work folder belongs to a config.

    Args:
        work (WorkDir): The folder.
        fingerprint (dict): See :func:`mmal.engine.fingerprint.fingerprint`.
        resume (bool): Whether ``--resume`` was given.
        text (str): The config as text, kept for the reader.
        accept_changes (bool): Go on with another config all the same; scores
            of an interrupted query are then made again if need be.

    Returns:
        bool: Whether there is a run to go on with.

    Raises:
        ValueError: If another process works in the folder, if it holds a run
            and ``resume`` is False, or a run of another config; the message
            lists the keys that differ.
    """
    take_lease(work)
    if not osp.exists(work.state):
        if osp.exists(work.round(0).path):
            raise ValueError(
                f'{work.path} has rounds but no state.json, so nobody can '
                'tell what made them. Remove the folder, or choose another '
                'one with --work-dir.')
    elif not resume:
        raise ValueError(
            f'{work.path} already holds a run. Go on with it by --resume, '
            'or choose another folder with --work-dir.')
    else:
        state = State.load(work.state)
        if state.config_hash != digest(fingerprint):
            if not accept_changes:
                _refuse_changes(work, fingerprint)
            _forget_scores(work, len(state.rounds) - 1, fingerprint)
        elif not accept_changes:
            return True  # with the config as it was written at first
    write_json(work.identity, fingerprint, indent=1)
    write_text(work.config, text)
    return osp.exists(work.state)


def _refuse_changes(work: WorkDir, fingerprint: dict) -> None:
    before = _read_identity(work)
    changed = differences(before, fingerprint) if before else [
        'its identity.json, which would tell what, is missing or damaged']
    shown = '\n  '.join(changed[:10])
    more = f'\n  … {len(changed) - 10} more' if len(changed) > 10 else ''
    raise ValueError(
        f'{work.path} was made by another config:\n  {shown}{more}\nUndo '
        'these changes to resume it, take them over for the rounds to come '
        'with --resume force, or choose another folder with --work-dir.')


def _forget_scores(work: WorkDir, round: int, fingerprint: dict) -> None:
    """Remove what an interrupted query has scored with other settings.

    Scores stay where only what comes after them was changed.
    """
    changed = differences(_read_identity(work), fingerprint)
    still_valid = changed and all(
        c.startswith(_AFTER_SCORES) for c in changed)
    scores = work.round(round).scores
    if osp.exists(scores) and not still_valid:
        os.unlink(scores)


def _read_identity(work: WorkDir) -> dict:
    """What the config hash was made of; empty where nobody can tell, since
    the file only names what differs."""
    try:
        content = read_json(work.identity)
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def lock_data(work: WorkDir, now: DataRecord, coco: CocoData, prefix: str,
              labelled: Sequence[ImageId], accept_changes: bool) -> list[str]:
    """Make sure a run goes on with the data that it began with.

    Args:
        work (WorkDir): The folder of a run that goes on.
        now (DataRecord): The data as they are; gets the files that are
            recorded.
        coco (CocoData): The pool.
        prefix (str): The folder of its images.
        labelled (sequence[int | str]): The labelled images.
        accept_changes (bool): Go on with other data all the same; scores of
            an interrupted query are then made again.

    Returns:
        list[str]: What is new, for the notes of the run.

    Raises:
        ValueError: If the data were changed; the message says which.
    """
    try:
        before = DataRecord.load(work.data)
    except ValueError:
        if not accept_changes:
            raise
        _forget_last_scores(work)
        return ['the data are those of now: data.npz was lost']
    changed = before.differences(now)
    replaced = before.changed_files(coco, prefix, labelled)
    if replaced:
        names = (coco.images[i]['file_name'] for i in replaced)
        changed.append(f'{len(replaced):,} of {len(labelled):,} labelled '
                       f'images have other content: {some(names)}')
    if changed and not accept_changes:
        shown = '\n  '.join(changed)
        raise ValueError(
            f'the data of {work.path} were changed since it began:\n  '
            f'{shown}\nRestore them to resume it, take them over for the '
            'rounds to come with --resume force, or choose another folder '
            'with --work-dir.')
    if changed:
        _forget_last_scores(work)
    now.files = before.files if not replaced else before.files_without(
        replaced)
    pool = before.tables['pool']
    notes = [f'the data were changed: {line}' for line in changed]
    added = now.tables['pool'].ids_missing_in(pool)
    if added:
        notes.append(f'{len(added):,} images are new in the pool: ids '
                     f'{some(added)}')
    gone = pool.number_missing_in(now.tables['pool'])
    if gone:
        notes.append(f'{gone:,} images are no longer listed by the pool')
    return notes


def _forget_last_scores(work: WorkDir) -> None:
    """Remove what an interrupted query has scored of other data."""
    for number in work.round_numbers()[-1:]:
        with suppress(FileNotFoundError):
            os.unlink(work.round(number).scores)


def lock_training_dir(work: WorkDir, fingerprint: dict, resume: bool) -> None:
    """Take a work folder, or make sure it is of the same training.

    What it was taken for is written to ``identity.json``.

    Args:
        work (WorkDir): The folder.
        fingerprint (dict): All that decides the result, see
            :func:`mmal.engine.fingerprint.fingerprint`.
        resume (bool): Whether to go on with what is there.

    Raises:
        ValueError: If it holds something else, or the same and ``resume`` is
            False.
    """
    take_lease(work)
    where = work.path
    if not osp.exists(work.identity):
        # Checkpoints of another training must not be taken for those of
        # this one.
        if osp.exists(work.state) or osp.exists(
                work.config) or RoundDir(where).checkpoints():
            raise ValueError(f'{where} holds another training: choose '
                             'another folder with --work-dir.')
    elif osp.exists(work.state):
        raise ValueError(f'{where} holds a run of active learning: choose '
                         'another folder with --work-dir.')
    elif not resume:
        raise ValueError(f'{where} already holds a training. Go on with it '
                         'by --resume, or choose another folder with '
                         '--work-dir.')
    else:
        changed = differences(read_json(work.identity), fingerprint)
        if changed:
            shown = '\n  '.join(changed[:10])
            raise ValueError(
                f'{where} was made with other settings:\n  {shown}\nUndo '
                'these changes to resume it, or choose another folder with '
                '--work-dir.')
    discard_leftovers(where)
    write_json(work.identity, fingerprint, indent=1)
