"""What a run is made of: config and data, read and checked."""
from __future__ import annotations

import copy
import os
import os.path as osp
from dataclasses import dataclass, replace
from typing import Optional

from mmengine.config import Config
from mmengine.registry import FUNCTIONS, init_default_scope

from mmal.dist import on_main, only_on_main, setup_dist
from mmal.pool import (
    BaseOracle,
    CocoData,
    DataRecord,
    ImageLoader,
    ImageTable,
    Initial,
    Pool,
    TrainingRule,
    UnreadableImage,
    UnreadableImagesError,
    check_boxes,
    check_images,
    count_boxes,
    duplicates_note,
    ignore_untrained,
    initial_ids,
    load_images,
    load_with_images,
)
from mmal.pool.coco import group_by_image
from mmal.pool.layout import WorkDir
from mmal.types import ImageId
from .build import build
from .checks import check_config, check_model, check_pool, check_val
from .dataset_config import image_loader
from .initial_selection import InitialSelection
from .pure_python import with_named_types
from .query import Query
from .query_checks import check_committee
from .round_config import classes_of, scoring_splits, test_pipeline
from .run_state import RunState
from .settings import KEY, Settings, image_prefix, pool_dataset


@dataclass(frozen=True)
class RunInputs:
    """Config and data of a run, and the query made of them.

    Args:
        cfg (Config): The config of the run.
        settings (Settings): Its ``active_learning`` block.
        dataset (dict): Config of the data set of all pool images.
        coco (CocoData): The pool without annotations, which only the oracle
            in process 0 has.
        loader (ImageLoader): What the training pipeline loads images with.
        val (CocoData, optional): The validation file; in process 0 alone.
        oracle (BaseOracle, optional): Gives labels; in process 0 alone.
        query (Query): Scores and selects.
        rule (TrainingRule): Which boxes and images mmdet trains on.
        initial_ids (list[int | str]): The images of the first round.
        is_labelled (bool): Whether their labels are there before anybody is
            asked.
        unreadable (list[UnreadableImage]): Images found to be unreadable.
        notes (list[str]): What was repaired or is not trained on.
        data (DataRecord, optional): What the data are; in process 0 alone.
    """
    cfg: Config
    settings: Settings
    dataset: dict
    coco: CocoData
    loader: ImageLoader
    val: Optional[CocoData]
    oracle: Optional[BaseOracle]
    query: Query
    rule: TrainingRule
    initial_ids: list[ImageId]
    is_labelled: bool
    unreadable: list[UnreadableImage]
    notes: list[str]
    data: Optional[DataRecord]

    @property
    def img_prefix(self) -> str:
        """The folder of the images."""
        return image_prefix(self.dataset)


def read_inputs(cfg: Config, prepare: bool = True) -> RunInputs:
    """Read and check config and data, before the first training.

    Nothing is written but by ``prepare_data``.

    Args:
        cfg (Config): An mmdet config with an ``active_learning`` block and a
            ``work_dir``.
        prepare (bool): Whether ``prepare_data`` may make missing data.

    Raises:
        FileNotFoundError, ValueError: Naming the file or the key.
    """
    cfg = with_named_types(cfg)
    settings = Settings.from_config(cfg)
    if not {'scorer', 'selector'} & cfg[KEY].keys():
        # what the user did not say stands in the files of the run
        cfg = copy.deepcopy(cfg)
        cfg[KEY].update(scorer=settings.scorer, selector=settings.selector)
    setup_dist(cfg.get('launcher', 'none'))
    check_config(cfg, settings)
    if (cfg.get('randomness') or {}).get('deterministic'):
        # cuBLAS refuses without it, and torch looks for it once
        os.environ.setdefault('CUBLAS_WORKSPACE_CONFIG', ':4096:8')
    init_default_scope(cfg.get('default_scope') or 'mmdet')
    if settings.prepare_data and prepare:
        maker = dict(settings.prepare_data)
        on_main(lambda: FUNCTIONS.get(maker.pop('type'))(**maker))
    dataset = pool_dataset(cfg, settings)
    loader = image_loader(dataset.get('pipeline') or ())
    work = WorkDir(osp.abspath(cfg.work_dir))

    def read_pool() -> CocoData:
        try:
            full = load_with_images(
                dataset['ann_file'],
                image_prefix(dataset),
                need_annotations=False,
                loader=loader,
                crowd=settings.data.crowd)
        except FileNotFoundError as e:
            source = settings.data.source
            where = f' Get the data from {source}.' if source else ''
            if settings.prepare_data and not prepare:
                where = (' The run makes the data when it starts '
                         '(active_learning.prepare_data); a dry run writes '
                         'nothing.')
            raise FileNotFoundError(f'{e}{where}') from e
        except IsADirectoryError as e:
            raise ValueError(f'active_learning.data.ann_file: {e}') from e
        check_boxes(full)
        check_pool(full, dataset, settings.data.ignore_other_classes)
        return full

    # The other processes never see an annotation of the pool.
    full = only_on_main(read_pool)
    rule = on_main(lambda: TrainingRule.of(dataset, full, classes_of(dataset)))
    coco = on_main(lambda: full.without_annotations())
    oracle = only_on_main(
        lambda: build(settings, 'oracle', pool=full, work_dir=work.path))

    tables: dict[str, ImageTable] = {}  # in process 0 alone

    def mark_untrained() -> tuple[int, dict[str, int]]:
        # the oracle may look labels up in another file than the pool's
        annotations = oracle.table() if oracle.knows_counts else full.table()
        tables['pool'] = ImageTable.of(full, annotations)
        return len(annotations), ignore_untrained(annotations, full, rule)

    number, untrained = on_main(mark_untrained)
    query = Query(settings, coco, image_prefix(dataset),
                  image_loader(test_pipeline(cfg)))
    val, val_notes = only_on_main(
        lambda: check_val(cfg, settings.data.ignore_other_classes)
    ) or (None, [])
    # a run that goes on has looked at its images before
    is_new = on_main(lambda: not osp.exists(work.state))
    selection = done = None
    if settings.initial.selector is not None:
        # the images of a run that goes on are known, and a dry run, which
        # counts their boxes, has no time to look at the whole pool
        done = None if is_new else work
        selection = only_on_main(lambda: InitialSelection(
            cfg, settings, coco, dataset, loader))
    initial, unreadable, dark = on_main(lambda: _draw_initial(
        settings, coco, dataset, loader, is_new,
        selection if prepare else None, done))
    oracle = only_on_main(lambda: initial.before(oracle))

    def record_data() -> DataRecord:
        if initial.annotations is not None:
            first = replace(full, images={
                i: full.images[i] for i in initial.ids})
            tables['initial'] = ImageTable.of(
                first, first.table(initial.annotations))
        if val is not None:
            tables['validation'] = ImageTable.of(val)
        return DataRecord(list(full.class_names), tables)

    data = only_on_main(record_data)

    is_labelled = on_main(lambda: oracle.knows_counts
                          or initial.annotations is not None)

    def check() -> None:
        if settings.rounds > 1:  # a single round spends no budget
            left = set(coco.ids).difference(initial.ids)
            boxes = None
            if oracle.knows_counts and left:
                boxes = int(oracle.count_boxes(left).sum())
            query.budget.check(len(coco.ids), len(initial.ids), boxes)
        if is_labelled:
            trained_counts(coco, oracle.annotate(initial.ids), initial.ids,
                           rule, settings.data.crowd)
        model = check_model(cfg, dataset)
        check_committee(query.scorer, query.committee, model)
        query.check(model, scoring_splits(
            cfg, settings, work.round(0), coco, Pool(coco.ids)),
            oracle.knows_counts)

    on_main(check)
    notes = on_main(lambda: [
        *_notes(full, val, number, untrained, is_new, image_prefix(dataset)),
        *val_notes, *([f'{full.path}: {dark}'] if dark else [])])
    return RunInputs(cfg, settings, dataset, coco, loader, val, oracle, query,
                     rule, initial.ids, is_labelled, unreadable, notes, data)


def trained_counts(coco: CocoData, annotations: list[dict],
                   ids: list[ImageId], rule: TrainingRule,
                   crowd: str) -> tuple[int, int, dict[str, int]]:
    """How many images and boxes a round trains on.

    What is not trained on is marked so in the annotations.

    Args:
        coco (CocoData): The pool.
        annotations (list[dict]): Those of the labelled images; changed in
            place.
        ids (list[int | str]): The labelled images.
        rule (TrainingRule): Which boxes and images mmdet trains on.
        crowd (str): 'boxes' makes crowd regions boxes.

    Returns:
        tuple[int, int, dict[str, int]]: Images, boxes, and how many
        annotations are left out for which reason.

    Raises:
        ValueError: If there are none; the message says what removes them.
    """
    if crowd == 'boxes':
        for annotation in annotations:
            annotation['iscrowd'] = 0
    reasons = ignore_untrained(coco.table(annotations), coco, rule)
    boxes = int(count_boxes(annotations, ids).sum())
    by_image = group_by_image(annotations)
    images = sum(rule.keeps(coco.images[i], by_image.get(i, ())) for i in ids)
    if boxes and images:
        return images, boxes, reasons
    if not annotations:
        raise ValueError(
            f'none of the {len(ids)} images of active_learning.initial has a '
            'box, so the first round has nothing to train on: enlarge it or '
            'change active_learning.seed.')
    why = ', '.join(f'{n:,} {reason}' for reason, n in reasons.items())
    advice = 'Correct the annotations, or filter_cfg of the training set.'
    if reasons.get('crowd regions') == len(annotations):
        advice = ("If they are objects drawn as masks, set "
                  "active_learning.data.crowd='boxes'.")
    raise ValueError(
        f'mmdet would train on no box of the {len(ids)} labelled images: of '
        f'their {len(annotations):,} annotations all are left out ({why}). '
        f'{advice}')


def _notes(full: CocoData, val: Optional[CocoData], number: int,
           untrained: dict[str, int], is_new: bool,
           prefix: str) -> list[str]:
    """What a reader should know of the data."""
    notes = [
        f'{coco.path}: {"; ".join(coco.repairs)}.'
        for coco in (full, val) if coco is not None and coco.repairs
    ]
    if untrained:
        notes.append(
            f'{full.path}: not trained on as boxes, and not counted, are of '
            f'{number:,} annotations ' +
            ', '.join(f'{n:,} ({why})' for why, n in untrained.items()) + '.')
    twice = duplicates_note(full, prefix) if is_new else None
    return [*notes, twice] if twice else notes


def _draw_initial(
        settings: Settings, coco: CocoData, dataset: dict,
        loader: ImageLoader, decode: bool,
        selection: Optional[InitialSelection] = None,
        done: Optional[WorkDir] = None
) -> tuple[Initial, list[UnreadableImage], Optional[str]]:
    """Draw again while there are unreadable images among the first; with a
    note on their values.

    Args:
        settings, coco, dataset, loader: Of the run.
        decode (bool): Whether the images are loaded.
        selection (InitialSelection, optional): Chooses in place of a random
            draw.
        done (WorkDir, optional): Of a run that has chosen.
    """
    prefix = image_prefix(dataset)
    unreadable = check_images(coco, prefix, loader=loader)
    while True:
        if unreadable and settings.on_bad_image != 'skip':
            raise UnreadableImagesError(unreadable)
        if done is not None:
            initial = Initial(RunState.load(done, coco.ids).pool.labelled(0))
        elif selection is not None:
            ids, others = selection.choose([i.id for i in unreadable])
            if others and settings.on_bad_image != 'skip':
                raise UnreadableImagesError(others)
            unreadable += others
            initial = Initial(ids)
        else:
            cfg = settings.initial.to_dict()
            initial = initial_ids(
                {k: cfg[k] for k in cfg if k not in ('selector', 'embedder')},
                coco,
                settings.seed,
                data_root=dataset.get('data_root') or '',
                unreadable=[image.id for image in unreadable])
        if not decode:
            return initial, unreadable, None
        inspected = load_images(coco, prefix, loader, initial.ids)
        if not inspected.unreadable:
            return initial, unreadable, inspected.note
        unreadable += inspected.unreadable
