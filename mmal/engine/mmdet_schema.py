"""What a run reads of an mmdet config outside of ``active_learning``."""
from __future__ import annotations

from typing import Annotated, Any, Optional

from mmengine.config import Config
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from .schema import Problems, clip, plain, problems_of

Text = Annotated[str, Field(strict=True)]
Name = Annotated[str, Field(strict=True, min_length=1)]
Count = Annotated[int, Field(strict=True, ge=1, le=10**9)]
Flag = Annotated[bool, Field(strict=True)]


def _field(expected: str, *default: Any) -> Any:
    return Field(default[0] if default else ..., description=expected)


class _Part(BaseModel):
    """A dict of mmdet's: keys that no run reads are mmdet's business."""
    model_config = ConfigDict(extra='allow')


class _Typed(_Part):
    type: Name = _field('the registered name of a class, as text')


class DatasetPart(_Typed):
    """A data set, or a wrapper of one."""
    dataset: Optional[DatasetPart] = _field("a dict with a type", None)
    times: Optional[Count] = _field('a whole number of at least 1', None)
    ann_file: Optional[Text] = _field('the path of a COCO json, as text', None)
    data_root: Optional[Text] = _field('the path of a folder, as text', None)
    data_prefix: Optional[dict[str, Optional[Text]]] = _field(
        "a dict of folders under data_root, e.g. dict(img='images/')", None)
    metainfo: Optional[dict] = _field(
        "a dict, e.g. dict(classes=('cat', 'dog'))", None)
    pipeline: Optional[list[_Typed]] = _field(
        'a list of dicts with a type', None)
    filter_cfg: Optional[dict] = _field('a dict', None)

    def innermost(self) -> DatasetPart:
        """The data set inside the wrappers."""
        return self.dataset.innermost() if self.dataset else self


class LoaderPart(_Part):
    """A data loader."""
    dataset: DatasetPart = _field('a dict with the type of a data set')
    batch_size: Optional[Count] = _field('a whole number of at least 1', 1)
    num_workers: Optional[Annotated[
        int, Field(strict=True, ge=0, le=1000)]] = _field(
        'a whole number of at least 0', 0)
    sampler: Optional[dict] = _field('a dict with a type', None)


class SchedulePart(_Part):
    """``train_cfg``: the training of one round."""
    type: Optional[Name] = _field('the name of a training loop', None)
    by_epoch: Optional[Flag] = _field('True or False', None)
    max_epochs: Optional[Count] = _field('a whole number of at least 1', None)
    max_iters: Optional[Count] = _field('a whole number of at least 1', None)
    val_interval: Optional[Count] = _field('a whole number of at least 1',
                                           None)

    @model_validator(mode='after')
    def _ends(self) -> SchedulePart:
        if not (self.max_epochs or self.max_iters):
            raise ValueError('must set max_epochs or max_iters, whole numbers '
                             'of at least 1: how long a round trains.')
        return self


class EvaluatorPart(_Typed):
    """A metric."""
    ann_file: Optional[Text] = _field('the path of a COCO json, as text', None)


class DetectorConfig(_Part):
    """The keys at the top of a detector's config."""
    model: _Typed = _field("the detector, a dict with a type")
    train_dataloader: LoaderPart = _field('a dict with a dataset')
    val_dataloader: Optional[LoaderPart] = _field('a dict with a dataset',
                                                  None)
    test_dataloader: Optional[LoaderPart] = _field('a dict with a dataset',
                                                   None)
    val_evaluator: Optional[list[EvaluatorPart]] = _field(
        'a dict with the type of a metric, or a list of such dicts', None)
    val_cfg: Optional[dict] = _field("a dict, e.g. dict(type='ValLoop')", None)
    default_scope: Optional[Name] = _field("a text, in general 'mmdet'", None)
    load_from: Optional[Text] = _field('the path of a checkpoint, as text',
                                       None)
    default_hooks: dict[str, Optional[dict]] = _field(
        'a dict of hooks', {})
    custom_hooks: Optional[list[_Typed]] = _field(
        'a list of dicts with a type', None)
    randomness: dict = _field('a dict, e.g. dict(seed=0)', {})
    visualizer: Optional[dict] = _field('a dict with a type', None)
    launcher: Optional[Name] = _field("a text, e.g. 'none' or 'pytorch'", None)

    @field_validator('val_evaluator', mode='before')
    @classmethod
    def _as_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, dict) else value

    @model_validator(mode='after')
    def _whole(self) -> DetectorConfig:
        problems = []
        if self.val_dataloader is not None:
            for key in ('val_evaluator', 'val_cfg'):
                if getattr(self, key) is None:
                    problems.append(
                        (key, 'must be set, since val_dataloader is.'))
            inner = self.val_dataloader.dataset.innermost()
            if 'datasets' not in inner.model_extra and not inner.ann_file:
                problems.append(('val_dataloader.dataset.ann_file',
                                 'must be set: a COCO json.'))
        # scorers read the pool by the first of these
        for key in ('test_dataloader', 'val_dataloader'):
            loader = getattr(self, key)
            if loader is not None:
                inner = loader.dataset.innermost()
                if 'datasets' not in inner.model_extra and not inner.pipeline:
                    problems.append(
                        (f'{key}.dataset.pipeline', 'must be set: scorers '
                         "read the pool's images by it."))
                break
        if 'checkpoint' in self.default_hooks and \
                self.default_hooks['checkpoint'] is None:
            problems.append(('default_hooks.checkpoint', 'is None, but a '
                             'round needs its checkpoint: leave it out.'))
        if problems:
            raise Problems(problems)
        return self


class MmdetConfig(DetectorConfig):
    """The keys at the top of an mmdet config that trains."""
    train_cfg: SchedulePart = _field(
        'the training schedule of one round, e.g. '
        "dict(type='EpochBasedTrainLoop', max_epochs=12)")
    optim_wrapper: dict = _field(
        "a dict, e.g. dict(optimizer=dict(type='SGD', lr=0.01))")


def check_mmdet_config(cfg: Config, trains: bool = True) -> None:
    """Check the types of what a run reads outside of ``active_learning``.

    Whether mmdet can build it, building shows.

    Args:
        cfg (Config): The config.
        trains (bool): Whether anything is trained; a single query reads
            neither schedule nor optimizer.

    Raises:
        ValueError: Listing every key that is missing or of another type.
    """
    tree, problems = {}, []
    schema = MmdetConfig if trains else DetectorConfig
    for key in schema.model_fields:
        try:
            if key in cfg:
                tree[key] = plain(cfg.get(key), key, ours=False)
        except Problems as e:
            problems += e.problems
        except Exception as e:  # mmengine imports what is a whole import
            problems.append((key, f'cannot be imported: {clip(str(e), 300)}.'))
    if problems:
        raise ValueError(Problems(problems).message(''))
    try:
        schema(**tree)
    except ValidationError as e:
        problems = problems_of(e, schema).problems
        if isinstance(tree.get('val_evaluator'), dict):
            # it was made a list of one
            problems = [(key.replace('val_evaluator.0', 'val_evaluator'), text)
                        for key, text in problems]
        raise ValueError(Problems(problems).message('')) from None
