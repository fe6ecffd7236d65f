"""Which work folders are runs of one method."""
from __future__ import annotations

import os.path as osp
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from glob import glob
from typing import Optional

from mmal.engine.fingerprint import differences, digest
from mmal.fileio import read_json
from mmal.pool.layout import WorkDir
from mmal.reporting import Curve, Run

# What may differ between two runs of one method.
SEEDS = ('active_learning.seed', 'randomness.seed')


@dataclass(frozen=True)
class RunFolder:
    """A work folder and what a comparison needs of it.

    Args:
        path (str): The folder.
        run (Run): Its curve and seed, named like the folder.
        identity (dict, optional): Its config but for the seed, as
            :func:`mmal.engine.fingerprint.fingerprint` gives it; None if the
            folder does not say.
    """
    path: str
    run: Run
    identity: Optional[dict] = None

    @property
    def stem(self) -> str:
        """Its name without the seed: ``random`` of ``random_0``."""
        found = re.fullmatch(r'(.+?)[_-](?:seed[_-]?)?0*(\d+)', self.run.name)
        if not found or self.run.seed not in (None, int(found[2])):
            return self.run.name
        return found[1]

    @property
    def parent(self) -> str:
        """Name of the folder it is in."""
        return osp.basename(osp.dirname(osp.abspath(self.path)))

    @property
    def key(self) -> tuple:
        """Equal for the runs of one method."""
        if self.identity is None:
            return osp.dirname(osp.abspath(self.path)), self.stem
        return ('config', digest(self.identity))


def read_run(path: str) -> RunFolder:
    """Read a work folder.

    Args:
        path (str): The folder.

    Raises:
        FileNotFoundError: If there is none, or it has no learning curve.
        ValueError: If a file of it cannot be read.
    """
    work = _work_dir(path)
    if not osp.isfile(work.curve):
        raise FileNotFoundError(
            f'{path} has no {osp.basename(work.curve)}: it is no work folder '
            'of a run, or no round of it is finished. Leave it out.')
    known = read_json(work.identity) if osp.isfile(work.identity) else {}
    seed = known.get('active_learning.seed', _stored_seed(work))
    identity = {k: v for k, v in known.items() if k not in SEEDS}
    run = Run(osp.basename(osp.abspath(path)), Curve.load(path), seed)
    return RunFolder(path, run, identity or None)


def group_runs(paths: Sequence[str],
               groups: Optional[Mapping[str, Sequence[str]]] = None
               ) -> dict[str, list[Run]]:
    """Put runs that differ in nothing but the seed together.

    Args:
        paths (sequence[str]): Work folders. Where one has no
            ``identity.json``, the folders beside it of the same name but for
            a number at its end belong together.
        groups (mapping[str, sequence[str]], optional): Name -> work folders
            that belong together whatever their configs say.

    Returns:
        dict[str, list[Run]]: By name of the method, in the order given.

    Raises:
        FileNotFoundError: See :func:`read_run`.
        ValueError: If a folder is given twice, two runs of one method have
            the same seed, or two methods the same name.
    """
    groups = dict(groups or {})
    _check_once([*paths, *(p for g in groups.values() for p in g)])
    found = {}
    for folder in map(read_run, paths):
        found.setdefault(folder.key, []).append(folder)
    for members in found.values():
        _check_seeds(members)
    named = _named(list(found.values()))
    for name, members in groups.items():
        if name in named:
            raise ValueError(f'--group {name} has the name of other runs: '
                             'choose another one.')
        named[name] = [read_run(path) for path in members]
    return _tell_apart(named)


def finished(paths: Iterable[str]) -> list[str]:
    """The work folders of runs that have ended.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If a curve cannot be read.
    """
    return [p for p in paths if Curve.load(
        _work_dir(p).curve, missing_ok=True).stopped is not None]


def parse_group(text: str) -> tuple[str, list[str]]:
    """``NAME=RUN,RUN`` as name and folders; ``*`` and its like are expanded.

    Raises:
        ValueError: If it does not look like this, or nothing fits a pattern.

    Examples:
        >>> parse_group('isal=work_dirs/isal_0,work_dirs/isal_1')
        ('isal', ['work_dirs/isal_0', 'work_dirs/isal_1'])
    """
    name, _, rest = text.partition('=')
    parts = [part for part in rest.split(',') if part]
    if not name or not parts:
        raise ValueError(f'--group {text} is none: write NAME=RUN,RUN.')
    return name, [path for part in parts for path in _expand(part)]


def _expand(pattern: str) -> list[str]:
    if osp.exists(pattern) or not re.search(r'[*?[]', pattern):
        return [pattern]
    found = sorted(filter(osp.isdir, glob(pattern)))
    if not found:
        raise ValueError(f'no folder fits {pattern}.')
    return found


def _work_dir(path: str) -> WorkDir:
    if not osp.isdir(path):
        raise FileNotFoundError(
            f'there is no work folder {path}: give folders of runs.')
    return WorkDir(path)


def _stored_seed(work: WorkDir) -> Optional[int]:
    if not osp.isfile(work.state):
        return None
    return read_json(work.state).get('seed')


def _check_once(paths: Sequence[str]) -> None:
    counts = Counter(map(osp.realpath, paths))
    twice = [p for p in paths if counts[osp.realpath(p)] > 1]
    if twice:
        raise ValueError(f'{twice[0]} is given more than once: give each run '
                         'once.')


def _check_seeds(members: Sequence[RunFolder]) -> None:
    first = {}
    for folder in members:
        other = first.setdefault(folder.run.seed, folder)
        if other is not folder and folder.run.seed is not None:
            raise ValueError(
                f'{other.path} and {folder.path} have the same config and '
                f'the same seed {folder.run.seed}: they would count twice. '
                'Leave one out, or name two methods with --group.')


def _named(found: Sequence[Sequence[RunFolder]]) -> dict:
    """Groups by the first name that tells them apart."""
    for name in (lambda f: f.stem, lambda f: f'{f.parent}/{f.stem}'):
        named = {name(members[0]): members for members in found}
        if len(named) == len(found):
            return named
    raise ValueError(_same_name(found))


def _same_name(found: Sequence[Sequence[RunFolder]]) -> str:
    first = {}
    for folder, *_ in found:
        other = first.setdefault((folder.parent, folder.stem), folder)
        if other is not folder:
            break
    changed = differences(other.identity or {}, folder.identity or {})
    shown = '\n  '.join(changed[:5])
    more = f'\n  … {len(changed) - 5} more' if len(changed) > 5 else ''
    return (f'{other.path} and {folder.path} differ in more than the seed:\n'
            f'  {shown}{more}\nSay by --group {folder.stem}=RUN,RUN that they '
            'belong together, or by two of them what to call each.')


def _tell_apart(named: Mapping[str, Sequence[RunFolder]]) -> dict:
    """Runs whose folders have the same name are called by their paths."""
    counts = Counter(f.run.name for g in named.values() for f in g)
    return {
        name: [f.run if counts[f.run.name] == 1 else replace(
            f.run, name=f.path) for f in members]
        for name, members in named.items()
    }
