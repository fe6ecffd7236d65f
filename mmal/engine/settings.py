"""The ``active_learning`` block of a config, checked."""
from __future__ import annotations

import os.path as osp
from typing import Annotated, Any, Literal, Optional

from mmengine.config import Config
from pydantic import (
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from mmal.pool.budget import BUDGETS
from mmal.selection import Spacing
from .components import checked_component, checked_function
from .dataset_config import innermost_dataset
from .schema import (
    Block,
    Problems,
    clip,
    nearest,
    plain,
    problems_of,
    short,
)

KEY = 'active_learning'
# Files of _base_/al_methods set this key for the active_learning block, and
# al_method_model etc. for others: two bases may not set the same key.
METHOD = 'al_method'

# a million images in a thousand rounds are possible; 10**30 is a slip
_LARGEST = 10**9
Text = Annotated[str, Field(strict=True, min_length=1)]
Count = Annotated[int, Field(strict=True, ge=1, le=_LARGEST)]
Number = Annotated[float, Field(strict=True)]
Cost = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]


def _field(expected: str, *default: Any) -> Any:
    """A field and what to give for it; one without default must be set."""
    return Field(default[0] if default else ..., description=expected)


class DataSettings(Block):
    """The pool. Paths are relative to the training data set's ``data_root``,
    and what is not given is that data set's."""
    ann_file: Text = _field('the COCO json of the full pool')
    data_root: Optional[Annotated[str, Field(strict=True)]] = _field(
        'the folder of the pool, as text', None)
    data_prefix: Optional[dict[str, Optional[Annotated[
        str, Field(strict=True)]]]] = _field(
        "a dict of folders under data_root, e.g. dict(img='images/')", None)
    source: Optional[Text] = _field(
        'a text that says where to get the data', None)
    ignore_other_classes: Annotated[bool, Field(strict=True)] = _field(
        'True or False', False)
    crowd: Literal['ignore', 'boxes'] = _field(
        "'ignore', or 'boxes' to train on crowd regions as boxes", 'ignore')


class InitialSettings(Block):
    """The first labelled images: so many, drawn at random or chosen by a
    selector, or those of a COCO file."""
    size: Optional[Count] = _field('a whole number of images, at least 1',
                                   None)
    ann_file: Optional[Text] = _field(
        'the path of a COCO json of labelled images', None)
    selector: Optional[dict] = _field(
        "a dict, e.g. dict(type='mmal.TypiClust')", None)
    embedder: Optional[dict] = _field(
        "a dict, e.g. dict(type='mmal.EmbeddingModel', backbone=dict(…))",
        None)

    @field_validator('selector', 'embedder', mode='before')
    @classmethod
    def _component(cls, cfg: Any, info: ValidationInfo) -> Optional[dict]:
        return None if cfg is None else checked_component(
            cfg, info.field_name)

    @model_validator(mode='after')
    def _either(self) -> InitialSettings:
        if (self.size is None) == (self.ann_file is None):
            raise ValueError(
                f'is {short(self.to_dict())}: it needs either size (a number '
                'of images) or ann_file (a COCO json), and nothing else. (A '
                'config that inherits the other one writes '
                'initial=dict(_delete_=True, …).)')
        if (self.selector is None) != (self.embedder is None):
            raise ValueError(
                f'is {short(self.to_dict())}: selector and embedder belong '
                'together, as no detector is trained yet whose embeddings a '
                "selector could look at. Give both, e.g. selector=dict(type="
                "'mmal.TypiClust'), embedder=dict(type='mmal.EmbeddingModel', "
                'backbone=dict(…)), or neither.')
        if self.selector is not None and self.size is None:
            raise ValueError('has a selector, which chooses size images, but '
                             'no size: give it in place of ann_file.')
        return self


class BudgetSettings(Block):
    """What a query may label."""
    size: Count = _field('a whole number of at least 1')
    unit: Annotated[str, Field(strict=True)] = _field(
        "'images', 'boxes' or 'seconds'", 'images')
    repeats: Optional[Annotated[
        str, Field(strict=True, pattern='^(free|counted)$')]] = _field(
        "'free' or 'counted'", None)
    per_image: Optional[Cost] = _field('a number of at least 0', None)
    per_box: Optional[Cost] = _field('seconds, a number of at least 0', None)
    per_class: Optional[dict[str, Cost]] = _field(
        'a dict of seconds by class, e.g. dict(person=12.)', None)
    targets: Optional[dict[str, Annotated[
        float, Field(strict=True, gt=0, allow_inf_nan=False)]]] = _field(
            'a dict of numbers of boxes above 0 by class, e.g. '
            'dict(person=200)', None)

    @field_validator('unit')
    @classmethod
    def _registered(cls, unit: str) -> str:
        known = sorted(BUDGETS.module_dict)
        if unit not in known:
            raise ValueError(f'is {short(unit)}: it must be one of {known}. '
                             f'{nearest(unit, known)}')
        return unit


class SpacingSettings(Block):
    """How far the images of a round keep from others."""
    min_distance: Optional[Number] = _field('a number above 0 and up to 2',
                                            None)
    max_per_group: Optional[dict] = _field(
        "a dict with k and by, e.g. dict(k=2, by='folder')", None)

    @model_validator(mode='after')
    def _makes_sense(self) -> SpacingSettings:
        try:
            Spacing(**self.to_dict())
        except ValueError as e:
            raise ValueError(f'makes no sense: {e}') from e
        return self


class TargetSettings(Block):
    """A validation metric, and the value that ends a run."""
    metric: Text = _field("the name of a metric, e.g. 'coco/bbox_mAP'")
    value: Number = _field('a number')


class LoaderSettings(Block):
    """How images are loaded for scoring."""
    batch_size: Annotated[int, Field(strict=True, ge=1, le=10**6)] = _field(
        'a whole number of at least 1', 8)
    num_workers: Annotated[int, Field(strict=True, ge=0, le=1000)] = _field(
        'a whole number from 0 to 1000', 2)


class Settings(Block):
    """What to learn actively, and from what.

    Making one checks all of it, nested keys and the arguments of scorer,
    selector and the like, too.

    Args:
        data (dict): The pool: ``ann_file``, relative to the ``data_root`` of
            the training data set, and optionally other ``data_root`` and
            ``data_prefix``, and ``source``, where to get the data if it is
            missing.
        budget (dict): What a query may label: ``size`` and ``unit``,
            'images', 'boxes' or 'seconds'; ``per_image``, ``per_box`` and
            ``per_class``, what labelling costs; ``targets``, boxes that a
            round should have of some classes; and ``repeats``, 'free' or
            'counted', where ``candidates`` is 'all'.
        initial (dict, optional): The first labelled images: ``size`` images
            drawn at random, or chosen by ``selector`` among the embeddings of
            ``embedder``, or those of a COCO file ``ann_file``. A single query
            needs none.
        scorer (dict): Config of a scorer. Default: ``mmal.RandomScorer``.
        selector (dict): Config of a selector. Default: ``mmal.CoreSet``;
            ``mmal.TopN`` where a scorer is named or ``candidates`` is 'all'.
        spacing (dict, optional): ``min_distance`` and ``max_per_group``,
            whatever the selector, see :class:`~mmal.selection.Spacing`.
        oracle (dict): Config of an oracle.
        committee (dict, optional): Config of a committee, for scorers that
            compare several opinions.
        embedder (dict, optional): Config of a source of embeddings, for
            selectors that need them; the detector's own backbone when None.
        candidates (str): 'unlabelled', or 'all': labelled images compete too,
            and a reselected one is repeated in training.
        rounds (int): How often to train; the last round makes no query.
        target (dict, optional): ``metric`` and ``value``: stop when a
            validation metric reaches it.
        stop (dict | list[dict], optional): Configs of rules that end the run,
            see :mod:`mmal.engine.stopping`; the first that holds counts.
        seed (int): Seed of the initial images, scores and training.
        on_bad_image (str): 'raise' or 'skip' for unreadable pool images.
        on_new_environment (str): 'note' or 'refuse' where a run goes on with
            other processes, threads, workers, versions or device.
        score_dataloader (dict): ``batch_size`` and ``num_workers``.
        score_precision (str): What the forward passes of scoring are computed
            in: 'fp32', 'tf32' or 'bf16'.
        prepare_data (dict, optional): A registered function that makes the
            data, called before anything else.

    Raises:
        ValueError: Naming every key that is wrong, and what to give.
    """
    data: DataSettings = _field("a dict, e.g. dict(ann_file='pool.json')")
    budget: BudgetSettings = _field("a dict, e.g. dict(size=500)")
    initial: Optional[InitialSettings] = _field(
        'a dict, e.g. dict(size=500)', None)
    scorer: dict = _field('a dict', dict(type='mmal.RandomScorer'))
    selector: dict = _field('a dict', dict(type='mmal.TopN'))
    spacing: Optional[SpacingSettings] = _field(
        'a dict, e.g. dict(min_distance=0.2)', None)
    oracle: dict = _field('a dict', dict(type='mmal.CocoOracle'))
    rounds: Count = _field(
        'the number of trainings, a whole number of at least 1', 10)
    target: Optional[TargetSettings] = _field(
        "a dict, e.g. dict(metric='coco/bbox_mAP', value=0.3)", None)
    stop: list[dict] = _field(
        "a dict, e.g. dict(type='mmal.Plateau'), or a list of them", [])
    seed: Annotated[int, Field(strict=True, ge=-2**63, lt=2**63)] = _field(
        'a whole number below 2**63', 0)
    on_bad_image: Annotated[
        str, Field(strict=True, pattern='^(raise|skip)$')] = _field(
        "'raise' or 'skip'", 'raise')
    on_new_environment: Literal['note', 'refuse'] = _field(
        "'note' or 'refuse'", 'note')
    score_dataloader: LoaderSettings = _field(
        'a dict, e.g. dict(batch_size=8, num_workers=2)', LoaderSettings())
    score_precision: Literal['fp32', 'tf32', 'bf16'] = _field(
        "'fp32', 'tf32' or 'bf16'", 'fp32')
    prepare_data: Optional[dict] = _field('a dict', None)
    committee: Optional[dict] = _field('a dict', None)
    embedder: Optional[dict] = _field('a dict', None)
    candidates: Annotated[
        str, Field(strict=True, pattern='^(unlabelled|all)$')] = _field(
        "'unlabelled' or 'all'", 'unlabelled')

    def __init__(self, /, **block) -> None:
        try:
            block = plain(block)
            # what docs/choosing.md bears out; but who names a scorer wants
            # its best images, and core-set never takes an image again
            if 'scorer' not in block and block.get('candidates') != 'all':
                block.setdefault('selector', dict(type='mmal.CoreSet'))
            super().__init__(**block)
        except Problems as e:
            raise ValueError(e.message(KEY)) from None
        except ValidationError as e:
            message = problems_of(e, Settings).message(KEY)
            raise ValueError(message) from None

    @field_validator(
        'scorer', 'selector', 'oracle', 'committee', 'embedder',
        mode='before')
    @classmethod
    def _component(cls, cfg: Any, info: ValidationInfo) -> Optional[dict]:
        if cfg is None and info.field_name in ('committee', 'embedder'):
            return None
        return checked_component(cfg, info.field_name)

    @field_validator('stop', mode='before')
    @classmethod
    def _stop_rules(cls, cfg: Any) -> list[dict]:
        rules = [] if cfg is None else cfg if isinstance(cfg, list) else [cfg]
        return [checked_component(rule, 'stop') for rule in rules]

    @field_validator('prepare_data', mode='before')
    @classmethod
    def _function(cls, cfg: Any) -> Optional[dict]:
        return None if cfg is None else checked_function(cfg)

    @model_validator(mode='after')
    def _consistent(self) -> Settings:
        if self.budget.repeats is not None and not self.reselects:
            raise Problems([(
                'budget.repeats', 'is set, but no labelled image is taken '
                "again: set candidates='all', or leave it out.")])
        return self

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
            if isinstance(key, str) and key.startswith(METHOD):
                raise ValueError(_not_taken(cfg, key))
        try:
            block = plain(cfg.get(KEY))
        except Problems as e:
            raise ValueError(e.message(KEY)) from None
        except Exception as e:  # mmengine imports what is a whole import
            raise ValueError(
                f'{KEY} cannot be imported: {clip(str(e), 300)}.') from e
        if block is None or isinstance(block, dict) and not block:
            raise ValueError(
                f'{cfg.filename or "the config"} has no active_learning '
                "block: add '…/_base_/active_learning.py' to its _base_ and "
                'set active_learning.data, initial and budget.')
        if not isinstance(block, dict):
            raise ValueError(
                f'{KEY} is {short(block)}: it must be a dict, e.g. '
                "active_learning=dict(data=dict(ann_file='pool.json'), "
                'initial=dict(size=500), budget=dict(size=500)).')
        return cls(**block)


def pool_dataset(cfg: Config, settings: Settings) -> dict:
    """Config of the data set of all pool images.

    It is the training data set, with ``active_learning.data`` on top. Its
    ``ann_file`` is joined with its ``data_root``.
    """
    dataset = dict(innermost_dataset(cfg.train_dataloader.dataset))
    dataset.update(settings.data.model_dump(
        exclude={'source', 'crowd', 'ignore_other_classes'},
        exclude_unset=True))
    dataset['ann_file'] = absolute(dataset, dataset['ann_file'])
    return dataset


def absolute(dataset: dict, path: str) -> str:
    """A path of a data set config as mmdet reads it: under data_root."""
    return osp.join(dataset.get('data_root') or '', path)


def image_prefix(dataset: dict) -> str:
    """The folder of the images of a data set config."""
    prefix = dict(dataset.get('data_prefix') or {})
    return absolute(dataset, prefix.get('img', prefix.get('img_path', '')))


def method_target(key: str) -> str:
    """Which key of a config a part of ``_base_/al_methods`` is for.

    Args:
        key (str): That of the part: ``al_method`` is for ``active_learning``,
            ``al_method_model`` for ``model``.
    """
    return key.removeprefix(METHOD).removeprefix('_') or KEY


def _not_taken(cfg: Config, key: str) -> str:
    return (f'{cfg.filename or "the config"} inherits a method of '
            f"_base_/al_methods but does not use its {key}: add the line "
            f"{method_target(key)} = _base_.pop('{key}') below _base_.")
