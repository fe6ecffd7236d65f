"""What a run is made of: config and data, read and checked."""
from __future__ import annotations

import os.path as osp
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Optional

from mmengine.config import Config
from mmengine.registry import FUNCTIONS, init_default_scope

from mmal.dist import on_main, only_on_main, setup_dist
from mmal.pool import (
    BaseOracle,
    CocoData,
    Initial,
    UnreadableImage,
    UnreadableImagesError,
    check_images,
    initial_ids,
    load_coco,
)
from mmal.pool.layout import WorkDir
from mmal.types import ImageId
from .build import build
from .checks import check_config, check_model, check_pool, check_val
from .pure_python import with_named_types
from .query import Query
from .query_checks import check_committee
from .round_config import scoring_splits
from .settings import Settings, image_prefix, pool_dataset


@dataclass(frozen=True)
class RunInputs:
    """Config and data of a run, and the query made of them.

    Args:
        cfg (Config): The config of the run.
        settings (Settings): Its ``active_learning`` block.
        dataset (dict): Config of the data set of all pool images.
        coco (CocoData): The pool without annotations, which only the oracle
            in process 0 has.
        oracle (BaseOracle, optional): Gives labels; in process 0 alone.
        query (Query): Scores and selects.
        initial_ids (list[int | str]): The images of the first round.
        unreadable (list[UnreadableImage]): Images found to be unreadable.
    """
    cfg: Config
    settings: Settings
    dataset: dict
    coco: CocoData
    oracle: Optional[BaseOracle]
    query: Query
    initial_ids: list[ImageId]
    unreadable: list[UnreadableImage]

    @property
    def img_prefix(self) -> str:
        """The folder of the images."""
        return image_prefix(self.dataset)


def read_inputs(cfg: Config) -> RunInputs:
    """Read and check config and data, before the first training.

    Nothing is written but by ``prepare_data``.

    Args:
        cfg (Config): An mmdet config with an ``active_learning`` block and a
            ``work_dir``.

    Raises:
        FileNotFoundError, ValueError: Naming the file or the key.
    """
    cfg = with_named_types(cfg)
    settings = Settings.from_config(cfg)
    setup_dist(cfg.get('launcher', 'none'))
    check_config(cfg, settings)
    init_default_scope(cfg.get('default_scope') or 'mmdet')
    if settings.prepare_data:
        maker = dict(settings.prepare_data)
        on_main(lambda: FUNCTIONS.get(maker.pop('type'))(**maker))
    dataset = pool_dataset(cfg, settings)
    work = WorkDir(osp.abspath(cfg.work_dir))


    def read_pool() -> CocoData:
        try:
            full = load_coco(dataset['ann_file'], need_annotations=False)
        except FileNotFoundError as e:
            source = settings.data.source
            where = f' Get the data from {source}.' if source else ''
            raise FileNotFoundError(f'{e}{where}') from e
        except IsADirectoryError as e:
            raise ValueError(f'active_learning.data.ann_file: {e}') from e
        check_pool(full, dataset)
        return full

    # The other processes never see an annotation of the pool.
    full = only_on_main(read_pool)
    coco = on_main(lambda: full.without_annotations())
    oracle = only_on_main(
        lambda: build(settings, 'oracle', pool=full, work_dir=work.path))
    query = Query(settings, coco, image_prefix(dataset))
    on_main(lambda: check_val(cfg))
    # a run that goes on has looked at its first images before
    initial, unreadable = on_main(lambda: _draw_initial(
        settings, coco, dataset, decode=not osp.exists(work.state)))
    oracle = only_on_main(lambda: initial.before(oracle))

    def check() -> None:
        left = set(coco.ids).difference(initial.ids)
        boxes = None
        if oracle.knows_counts and left:
            boxes = int(oracle.count_boxes(left).sum())
        query.budget.check(len(coco.ids), len(initial.ids), boxes)
        model = check_model(cfg, dataset)
        check_committee(query.scorer, query.committee, model)
        query.check(model, scoring_splits(cfg, settings, work.round(0), []))

    on_main(check)
    return RunInputs(cfg, settings, dataset, coco, oracle, query, initial.ids,
                     unreadable)


def _draw_initial(settings: Settings, coco: CocoData, dataset: dict,
                  decode: bool) -> tuple[Initial, list[UnreadableImage]]:
    """Draw again while there are unreadable images among the first."""
    prefix = image_prefix(dataset)
    unreadable = check_images(coco, prefix)
    while True:
        if unreadable and settings.on_bad_image != 'skip':
            raise UnreadableImagesError(unreadable)
        initial = initial_ids(
            settings.initial.to_dict(),
            coco,
            settings.seed,
            data_root=dataset.get('data_root') or '',
            unreadable=[image.id for image in unreadable])
        more: Iterable[UnreadableImage] = ()
        if decode:
            more = check_images(coco, prefix, initial.ids, decode=True)
        if not more:
            return initial, unreadable
        unreadable += more
