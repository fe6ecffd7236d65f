"""The ``active_learning`` block of a config, checked."""
from __future__ import annotations

import difflib
import os.path as osp
from dataclasses import dataclass, field, fields
from typing import Any, Optional

from mmengine.config import Config

from .dataset_config import innermost_dataset

_BAD_IMAGE = ('raise', 'skip')
_CANDIDATES = ('unlabelled', 'all')
# Files of _base_/al_methods set this key for the active_learning block, and
# al_method_model etc. for others: two bases may not set the same key.
METHOD = 'al_method'


@dataclass
class Settings:
    """What to learn actively, and from what.

    Args:
        data (dict): The pool: ``ann_file``, relative to the ``data_root`` of
            the training data set, and optionally other ``data_root`` and
            ``data_prefix``, and ``source``, where to get the data if it is
            missing.
        budget (dict): What a query may label: ``size`` and ``unit``, 'images'
            or 'boxes'; and ``repeats``, 'free' or 'counted', where
            ``candidates`` is 'all'.
        initial (dict, optional): The first labelled images: ``size`` images
            drawn at random, or those of a COCO file ``ann_file``. A single
            query needs none.
        scorer (dict): Config of a scorer.
        selector (dict): Config of a selector.
        oracle (dict): Config of an oracle.
        committee (dict, optional): Config of a committee, for scorers that
            compare several opinions.
        embedder (dict, optional): Config of a source of embeddings, for
            selectors that need them; the detector's own backbone when None.
        candidates (str): 'unlabelled', or 'all': labelled images compete too,
            and one taken again is repeated in training.
        rounds (int): How often to train; the last round makes no query.
        target (dict, optional): ``metric`` and ``value``: stop when a
            validation metric reaches it.
        seed (int): Seed of the initial images, scores and training.
        on_bad_image (str): 'raise' or 'skip' for unreadable pool images.
        score_dataloader (dict): ``batch_size`` and ``num_workers``.
        prepare_data (dict, optional): A registered function that makes the
            data, called before anything else.
    """
    data: dict
    budget: dict
    initial: Optional[dict] = None
    scorer: dict = field(default_factory=lambda: dict(
        type='mmal.RandomScorer'))
    selector: dict = field(default_factory=lambda: dict(type='mmal.TopN'))
    oracle: dict = field(default_factory=lambda: dict(type='mmal.CocoOracle'))
    rounds: int = 10
    target: Optional[dict] = None
    seed: int = 0
    on_bad_image: str = 'raise'
    score_dataloader: dict = field(
        default_factory=lambda: dict(batch_size=8, num_workers=2))
    prepare_data: Optional[dict] = None
    committee: Optional[dict] = None
    embedder: Optional[dict] = None
    candidates: str = 'unlabelled'

    def __post_init__(self) -> None:
        _require(
            isinstance(self.rounds, int) and self.rounds >= 1,
            f'rounds is {self.rounds!r}: give the number of trainings, at '
            'least 1.')
        _require(
            self.on_bad_image in _BAD_IMAGE,
            f"on_bad_image is {self.on_bad_image!r}: choose 'raise' or "
            "'skip'.")
        _require(
            self.candidates in _CANDIDATES,
            f"candidates is {self.candidates!r}: choose 'unlabelled' or "
            "'all'.")
        _require(
            self.reselects or 'repeats' not in self.budget,
            'budget.repeats is set, but no labelled image is taken again: '
            "set candidates='all', or leave it out.")
        _require('ann_file' in self.data,
                 'data has no ann_file: give the COCO json of the full pool.')
        if self.target is not None:
            _require(
                set(self.target) == {'metric', 'value'},
                f'target is {dict(self.target)}: give metric, e.g. '
                "'coco/bbox_mAP', and value.")

    @property
    def reselects(self) -> bool:
        """Whether labelled images compete with the unlabelled ones."""
        return self.candidates == 'all'

    @classmethod
    def from_config(cls, cfg: Config) -> Settings:
        """Read ``cfg.active_learning``.

        Raises:
            ValueError: If the block is missing, a method of its bases is not
                used, a key is unknown or missing, or a value makes no sense;
                the message names the key.
        """
        # a leaf takes the parts of its method out of its bases: one that is
        # still there would silently have no effect
        for key in cfg:
            if key.startswith(METHOD):
                raise ValueError(_not_taken(cfg, key))
        block = cfg.get('active_learning')
        if not block:
            raise ValueError(
                f'{cfg.filename or "the config"} has no active_learning '
                "block: add '…/_base_/active_learning.py' to its _base_ and "
                'set active_learning.data, initial and budget.')
        block = _without_scope(block)
        known = [f.name for f in fields(cls)]
        for key in block:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f'Did you mean {near[0]}?' if near else \
                f'Known keys: {", ".join(known)}.'
            _require(key in known, f'{key} is not known. {hint}')
        missing = [k for k in ('data', 'budget') if k not in block]
        _require(not missing, f'{", ".join(missing)} must be set.')
        return cls(**block)


def pool_dataset(cfg: Config, settings: Settings) -> dict:
    """Config of the data set of all pool images.

    It is the training data set, with ``active_learning.data`` on top. Its
    ``ann_file`` is joined with its ``data_root``.
    """
    dataset = dict(innermost_dataset(cfg.train_dataloader.dataset))
    dataset.update(
        {k: v
         for k, v in settings.data.items() if k != 'source'})
    dataset['ann_file'] = absolute(dataset, dataset['ann_file'])
    return dataset


def absolute(dataset: dict, path: str) -> str:
    """A path of a data set config as mmdet reads it: under data_root."""
    return osp.join(dataset.get('data_root') or '', path)


def image_prefix(dataset: dict) -> str:
    """The folder of the images of a data set config."""
    prefix = dict(dataset.get('data_prefix') or {})
    return absolute(dataset, prefix.get('img', prefix.get('img_path', '')))


def _without_scope(value: Any) -> Any:
    """Drop the scopes that mmengine puts into ``mmal::`` base configs."""
    if isinstance(value, dict):
        return {
            k: _without_scope(v)
            for k, v in value.items() if k != '_scope_'
        }
    return value


def _not_taken(cfg: Config, key: str) -> str:
    target = key.removeprefix(f'{METHOD}_')
    target = 'active_learning' if target == METHOD else target
    return (f'{cfg.filename or "the config"} inherits a method of '
            f"_base_/al_methods but does not use its {key}: add the line "
            f"{target} = _base_.pop('{key}') below _base_.")


def _require(ok: Any, message: str) -> None:
    if not ok:
        raise ValueError(f'active_learning.{message}')
