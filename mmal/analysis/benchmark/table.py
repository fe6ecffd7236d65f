"""The file of a benchmark: which tasks, methods and seeds."""
from __future__ import annotations

import copy
import os.path as osp
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Any, Optional

from mmengine.config import Config
from mmengine.utils import import_modules_from_strings
from pydantic import Field, ValidationError, field_validator, model_validator

from mmal.compat.configs import path_of_config
from mmal.engine.cli import merge_options
from mmal.engine.schema import Block, Problems, clip, plain, problems_of
from mmal.engine.settings import KEY, METHOD, method_target
from .cell import Cell

BLOCK = 'benchmark'

# names of folders and of columns, also in patterns
Name = Annotated[str, Field(strict=True, pattern=r'^[A-Za-z0-9][\w.+-]*$')]
Seed = Annotated[int, Field(strict=True, ge=0)]
Options = Annotated[dict[str, Any], Field(
    description="a dict of dotted keys, e.g. {'active_learning.rounds': 3}")]


class Part(Block):
    """A task or a method: its config, and options on top."""
    config: Annotated[str, Field(
        strict=True, min_length=1, description='the path of a config, from '
        "the table's folder, or a name such as mmal::_base_/…")]
    options: Options = {}

    @model_validator(mode='before')
    @classmethod
    def _path_alone(cls, value: Any) -> Any:
        return dict(config=value) if isinstance(value, str) else value


Parts = Annotated[dict[Name, Part], Field(
    min_length=1, description='a dict of at least one config by name, e.g. '
    "dict(random='../_base_/al_methods/random.py')")]


class TableSettings(Block):
    """The block ``benchmark`` of a table."""
    tasks: Parts
    methods: Parts
    seeds: Annotated[list[Seed], Field(
        min_length=1, description='a list of whole numbers from 0 on')]
    against: Optional[Annotated[str, Field(
        strict=True, description='the name of a method')]] = None
    metric: Annotated[str, Field(
        strict=True, min_length=1,
        description="'AP', 'AP50', 'AP75' or a key of the metrics")] = 'AP'
    options: Options = {}

    @field_validator('seeds')
    @classmethod
    def _different(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) < len(seeds):
            raise ValueError(f'is {seeds}: give each seed once.')
        return seeds

    @model_validator(mode='after')
    def _known(self) -> TableSettings:
        if self.against not in (None, *self.methods):
            raise Problems([('against', f'is {self.against!r}: it must be '
                             f'one of {", ".join(self.methods)}.')])
        return self


class BenchmarkTable:
    """Tasks, methods and seeds; each combination is a cell.

    Args:
        path (str): A config (py, yaml or json) with a block ``benchmark``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read, or a key of it is wrong.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._configs: dict[str, Config] = {}
        if not osp.isfile(path):
            raise FileNotFoundError(f'there is no table {path}.')
        cfg = _read(path)
        try:
            block = plain(cfg.get(BLOCK))
            if not isinstance(block, dict):
                raise ValueError(
                    f'{path} has no {BLOCK}=dict(tasks=dict(…), methods='
                    'dict(…), seeds=[…]).')
            self.settings = TableSettings(**block)
        except ValidationError as e:
            message = problems_of(e, TableSettings).message(BLOCK)
            raise ValueError(f'{path}: {message}') from None
        except Problems as e:
            raise ValueError(f'{path}: {e.message(BLOCK)}') from None

    @property
    def name(self) -> str:
        """The name of the file, without its ending."""
        return osp.splitext(osp.basename(self.path))[0]

    @property
    def against(self) -> str:
        """The method that the others are compared with; the first one unless
        the table says so."""
        return self.settings.against or next(iter(self.settings.methods))

    def cells(self, only: Sequence[str] = ()) -> list[Cell]:
        """The cells by task, seed and method.

        Args:
            only (sequence[str]): Patterns ``task/method/seed``, of which the
                last parts may be left out; ``*`` stands for anything. All
                cells by default.

        Raises:
            ValueError: If no cell fits one of the patterns.
        """
        cells = [
            Cell(task, method, seed) for task in self.settings.tasks
            for seed in self.settings.seeds for method in self.settings.methods
        ]
        for pattern in only:
            if not any(_fits(cell, pattern) for cell in cells):
                raise ValueError(
                    f'--only {pattern} fits no cell of {self.path}: its tasks '
                    f'are {", ".join(self.settings.tasks)}, its methods '
                    f'{", ".join(self.settings.methods)}, its seeds '
                    f'{", ".join(map(str, self.settings.seeds))}.')
        return [cell for cell in cells
                if not only or any(_fits(cell, p) for p in only)]

    def config(self, task: str, method: str) -> Config:
        """The config of a run: a task, a method on top, and options.

        The options of the table come first, then those of the task and of
        the method.

        Raises:
            FileNotFoundError: If the file of one is missing.
            ValueError: If one cannot be read or does not set what it is for.
        """
        settings = self.settings
        cfg = self._part(settings.tasks[task])
        if KEY not in cfg:
            raise ValueError(
                f'{self.path}: task {task} ({settings.tasks[task].config}) '
                f'has no {KEY} block: take one of _base_/al_tasks.')
        added = self._part(settings.methods[method])
        if METHOD not in added:
            raise ValueError(
                f'{self.path}: method {method} '
                f'({settings.methods[method].config}) sets no {METHOD}: take '
                'one of _base_/al_methods.')
        for key in list(added):
            if key.startswith(METHOD):
                cfg.merge_from_dict({method_target(key): added[key]})
        for options in (settings.options, settings.tasks[task].options,
                        settings.methods[method].options):
            merge_options(cfg, options)
        return cfg

    def _part(self, part: Part) -> Config:
        path = part.config
        path = path_of_config(path) if '::' in path else osp.join(
            osp.dirname(self.path), path)
        if not osp.isfile(path):
            raise FileNotFoundError(
                f'there is no config {path}, which {self.path} names.')
        if path not in self._configs:  # of many cells
            cfg = self._configs[path] = _read(path)
            if cfg.get('custom_imports'):
                import_modules_from_strings(**cfg.custom_imports)
        return copy.deepcopy(self._configs[path])


def _read(path: str) -> Config:
    try:
        return Config.fromfile(path)
    except Exception as e:  # a config is a program
        raise ValueError(f'{path} cannot be read: {type(e).__name__}: '
                         f'{clip(str(e), 800)}') from e


def _fits(cell: Cell, pattern: str) -> bool:
    given = pattern.split('/')
    names = (cell.task, cell.method, str(cell.seed))
    return len(given) <= len(names) and all(
        fnmatchcase(name, part) for name, part in zip(names, given))
