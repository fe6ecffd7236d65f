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
        match = re.fullmatch(r'(.+?)[_-](?:seed[_-]?)?0*(\d+)', self.run.name)
        # a number that is not the seed is part of the name: retinanet-50
        if not match or self.run.seed not in (None, int(match[2])):
            return self.run.name
        return match[1]

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
    seed = known.get('active_learning.seed')
    # what is at its default may be missing in identity.json
    if seed is None and osp.isfile(work.state):
        seed = read_json(work.state).get('seed')
    identity = {k: v for k, v in known.items() if k not in SEEDS}
    run = Run(osp.basename(osp.abspath(path)), Curve.load(path), seed)
    return RunFolder(path, run, identity or None)


def group_runs(paths: Sequence[str],
               groups: Optional[Mapping[str, Sequence[str]]] = None
               ) -> dict[str, list[Run]]:
    """The runs of :func:`group_folders`."""
    return {name: [folder.run for folder in folders]
            for name, folders in group_folders(paths, groups).items()}


def group_folders(paths: Sequence[str],
                  groups: Optional[Mapping[str, Sequence[str]]] = None
                  ) -> dict[str, list[RunFolder]]:
    """Put work folders that differ in nothing but the seed together.

    Args:
        paths (sequence[str]): Work folders. Where one has no
            ``identity.json``, the folders beside it of the same name but for
            a number at its end belong together.
        groups (mapping[str, sequence[str]], optional): Name -> work folders
            that belong together whatever their configs say.

    Returns:
        dict[str, list[RunFolder]]: By name of the method, in the order given.

    Raises:
        FileNotFoundError: See :func:`read_run`.
        ValueError: If a folder is given twice, two runs of one method have
            the same seed, or two methods the same name.
    """
    groups = dict(groups or {})
    given = [*paths, *(p for group in groups.values() for p in group)]
    counts = Counter(map(osp.realpath, given))
    for path in given:
        if counts[osp.realpath(path)] > 1:
            raise ValueError(f'{path} is given more than once: give each run '
                             'once.')

    by_key: dict[tuple, list[RunFolder]] = {}
    for folder in map(read_run, paths):
        by_key.setdefault(folder.key, []).append(folder)
    for folders in by_key.values():
        first: dict[Optional[int], RunFolder] = {}
        for folder in folders:
            other = first.setdefault(folder.run.seed, folder)
            if other is not folder and folder.run.seed is not None:
                raise ValueError(
                    f'{other.path} and {folder.path} have the same config '
                    f'and the same seed {folder.run.seed}: they would count '
                    'twice. Leave one out, or name two methods with --group.')

    methods = _name_methods(list(by_key.values()))
    for name, members in groups.items():
        if name in methods:
            raise ValueError(f'--group {name} has the name of other runs: '
                             'choose another one.')
        methods[name] = [read_run(path) for path in members]

    # runs whose folders have the same name are called by their paths
    names = Counter(f.run.name for fs in methods.values() for f in fs)
    return {
        name: [f if names[f.run.name] == 1 else replace(
            f, run=replace(f.run, name=f.path)) for f in folders]
        for name, folders in methods.items()
    }


def _name_methods(
        methods: Sequence[Sequence[RunFolder]]) -> dict[str, list[RunFolder]]:
    """Methods by the first kind of name that tells them all apart."""
    for name_of in (lambda f: f.stem, lambda f: f'{f.parent}/{f.stem}'):
        named = {name_of(folders[0]): list(folders) for folders in methods}
        if len(named) == len(methods):
            return named
    first: dict[tuple, RunFolder] = {}
    for folder, *_ in methods:
        other = first.setdefault((folder.parent, folder.stem), folder)
        if other is not folder:
            break
    changed = differences(other.identity or {}, folder.identity or {})
    shown = '\n  '.join(changed[:5])
    more = f'\n  … {len(changed) - 5} more' if len(changed) > 5 else ''
    raise ValueError(
        f'{other.path} and {folder.path} differ in more than the seed:\n'
        f'  {shown}{more}\nSay by --group {folder.stem}=RUN,RUN that they '
        'belong together, or by two of them what to call each.')


def finished(paths: Iterable[str]) -> list[str]:
    """The work folders of runs that have ended.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If a curve cannot be read.
    """
    return [p for p in paths if Curve.load(
        _work_dir(p).curve, missing_ok=True).stopped is not None]


def parse_groups(texts: Sequence[str]) -> dict[str, list[str]]:
    """Several ``NAME=RUN,RUN`` as folders by name.

    Raises:
        ValueError: See :func:`parse_group`; or two have one name.
    """
    groups = dict(map(parse_group, texts))
    if len(groups) < len(texts):
        raise ValueError('two --group have the same name: list the folders '
                         'of a method in one, NAME=RUN,RUN.')
    return groups


def parse_group(text: str) -> tuple[str, list[str]]:
    """``NAME=RUN,RUN`` as name and folders; ``*`` and its like are expanded.

    Raises:
        ValueError: If it does not look like this, or nothing fits a pattern.

    Examples:
        >>> parse_group('isal=work_dirs/isal_0,work_dirs/isal_1')
        ('isal', ['work_dirs/isal_0', 'work_dirs/isal_1'])
    """
    name, _, listed = text.partition('=')
    patterns = [pattern for pattern in listed.split(',') if pattern]
    if not name or not patterns:
        raise ValueError(f'--group {text} is none: write NAME=RUN,RUN.')
    paths = []
    for pattern in patterns:
        # a folder may have a bracket in its name
        if osp.exists(pattern) or not re.search(r'[*?[]', pattern):
            paths.append(pattern)
            continue
        folders = sorted(filter(osp.isdir, glob(pattern)))
        if not folders:
            raise ValueError(f'no folder fits {pattern}.')
        paths += folders
    return name, paths


def _work_dir(path: str) -> WorkDir:
    if not osp.isdir(path):
        raise FileNotFoundError(
            f'there is no work folder {path}: give folders of runs.')
    return WorkDir(path)
