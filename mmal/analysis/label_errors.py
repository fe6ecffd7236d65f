"""Labels of a run that its detectors contradict."""
from __future__ import annotations

import csv
import io
import os.path as osp
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Optional

import numpy as np
import torch

from mmal.engine.dataset_config import image_loader, innermost_dataset
from mmal.engine.round_config import classes_of, test_pipeline
from mmal.engine.settings import Settings, absolute, pool_dataset
from mmal.evaluation.label_errors import BoxTable, find_suspects
from mmal.fileio import read_json, write_json, write_text
from mmal.models.utils.evaluation_mode import evaluation_mode
from mmal.pool import CocoData, load_coco
from mmal.pool.layout import WorkDir
from mmal.pool.pool import State
from mmal.pool.verified_images import VerifiedImages
from mmal.reporting.tables import render
from mmal.scoring import ScoringData, Split
from mmal.scoring.detections.predictions import results_of
from mmal.types import ImageId
from .finished_round import FinishedRound, find_round, trained_rounds

SPLITS = ('labelled', 'val')
DETECTORS = ('earlier', 'last')


@dataclass(frozen=True)
class SuspectBox:
    """A label that may be wrong.

    Args:
        kind (str): 'overlooked', 'class' or 'badly placed'.
        value (float): How suspicious, in (0, 1].
        image_id (int | str): The image.
        file_name (str): Its file.
        annotation_id (int | str, optional): The given box; None if one is
            missing.
        given_class (str, optional): Its class.
        given_box (list[float], optional): x, y, width and height in pixels.
        predicted_class (str): What the detector says.
        predicted_box (list[float]): Where.
        score (float): How sure it is, in [0, 1].
        iou (float): Overlap of the two; of a missing box the largest with any
            given one.
        detector (int): The round whose detector it is.
        seen (bool): Whether that was trained on this image, and so may repeat
            its errors.
    """
    kind: str
    value: float
    image_id: ImageId
    file_name: str
    annotation_id: Optional[ImageId]
    given_class: Optional[str]
    given_box: Optional[list[float]]
    predicted_class: str
    predicted_box: list[float]
    score: float
    iou: float
    detector: int
    seen: bool


def find_label_errors(run: str,
                      split: str = 'labelled',
                      detector: str = 'earlier',
                      progress: bool = True) -> tuple[list[SuspectBox], str]:
    """Compare the labels of a run with what its detectors predict.

    A detector believes what it was trained on. But the images that a round
    chose were new to that round's detector: it has looked at them before
    anybody labelled them. By default each image is judged by the last
    detector that had not seen it, and only the first images, which all have
    seen, by the last of all. Costs one forward pass of each image whose
    predictions no round has written.

    Args:
        run (str): The work folder.
        split (str): 'labelled' images, or 'val', which no detector has seen.
        detector (str): 'earlier', see above, or 'last': the detector of the
            last round, the most exact one, for all images.
        progress (bool): Whether there is a progress bar.

    Returns:
        tuple[list[SuspectBox], str]: The most suspicious first; and how many
        images were judged by which detector, in words.

    Raises:
        FileNotFoundError, ValueError: If there is no such run, no trained
            round, ``split`` or ``detector`` is another word, or a file is
            missing or damaged.
    """
    for name, value, known in (('split', split, SPLITS),
                               ('detector', detector, DETECTORS)):
        if value not in known:
            raise ValueError(f'{name} is {value!r}: give one of {known}.')
    last = find_round(run)
    dataset, coco = _labels(last, split)
    groups = [(last, coco.ids, False)] if split == 'val' else _groups(
        run, coco, last, detector)
    suspects, judged = [], []
    for this, ids, seen in groups:
        rows = None
        if split == 'labelled' and not seen:
            rows = _written(this, ids)
        if rows is None:
            rows = predict_boxes(this, dataset, coco, ids, progress)
        suspects += _compare(coco, ids, rows, this.number, seen)
        judged.append(f'{len(ids):,} by the detector of round {this.number}'
                      + (', which was trained on them' if seen else ''))
    suspects.sort(key=lambda suspect: -suspect.value)
    return suspects, 'Images judged: ' + '; '.join(judged) + '.'


def _labels(last: FinishedRound, split: str) -> tuple[dict, CocoData]:
    """The config of a data set and its labels."""
    if split == 'labelled':
        cfg = last.run_config()
        return pool_dataset(cfg, Settings.from_config(cfg)), last.labelled()
    cfg = last.config()
    if not cfg.get('val_dataloader'):
        raise ValueError(f'{last.folder.config} has no val_dataloader: there '
                         'are no validation images.')
    dataset = dict(innermost_dataset(cfg.val_dataloader.dataset))
    return dataset, load_coco(absolute(dataset, dataset['ann_file']))


def _groups(run: str, coco: CocoData, last: FinishedRound, detector: str
            ) -> list[tuple[FinishedRound, list[ImageId], bool]]:
    """Which detector judges which images, and whether it has seen them."""
    if detector == 'last':
        return [(last, coco.ids, True)]
    rounds = State.load(WorkDir(run).state).rounds
    kept = {n for n in trained_rounds(run) if FinishedRound(
        run, n).folder.latest_checkpoint() is not None}
    groups = []
    for number, content in enumerate(rounds):
        ids = [i for i in content['ids'] if i in coco.images]
        before = [n for n in kept if n < number]
        # a round that wrote its predictions needs no checkpoint
        if number and osp.exists(
                FinishedRound(run, number - 1).folder.predictions):
            before.append(number - 1)
        this = FinishedRound(run, max(before)) if before else last
        if ids:
            groups.append((this, ids, not before))
    return groups


def _written(this: FinishedRound, ids: Sequence[ImageId]
             ) -> Optional[list[dict]]:
    """The predictions that a round wrote of the images it chose; None if it
    wrote none of these."""
    path = this.folder.predictions
    if not osp.exists(path) or not set(ids) <= set(this.selected()):
        return None
    rows = read_json(path)
    keys = {'image_id', 'category_id', 'bbox', 'score'}
    if not isinstance(rows, list) or not all(
            isinstance(row, dict) and keys <= row.keys() for row in rows):
        raise ValueError(f'{path} is no list of COCO results: remove it, and '
                         'the detector is asked again.')
    return rows


def predict_boxes(this: FinishedRound, dataset: dict, coco: CocoData,
                  ids: Sequence[ImageId],
                  progress: bool = True) -> list[dict]:
    """Detect on images with the detector of a round.

    Args:
        this (FinishedRound): The round.
        dataset (dict): Config of the data set that the images are of.
        coco (CocoData): It.
        ids (sequence[int | str]): The images.
        progress (bool): Whether there is a progress bar.

    Returns:
        list[dict]: COCO results; boxes in pixels of the photo.

    Raises:
        FileNotFoundError, ValueError: If the round has no whole checkpoint.
    """
    model, cfg = this.model()
    pipeline = test_pipeline(cfg)
    known = set(classes_of(dataset))
    categories = [c['id'] for c in coco.categories if c['name'] in known]
    data = ScoringData(
        dict(images=Split(dict(dataset, pipeline=pipeline), False, list(ids),
                          coco.without_annotations())),
        check_image=VerifiedImages(image_loader(pipeline)),
        progress=progress,
        **Settings.from_config(
            this.run_config()).score_dataloader.to_dict())
    rows = []
    with evaluation_mode(model), torch.no_grad():
        for batch in data.batches('images', model,
                                  desc=f'detector of round {this.number}'):
            for image, sample in zip(batch.ids, model.predict(
                    batch.inputs, batch.samples, rescale=True)):
                rows += results_of(sample.pred_instances, image, categories)
    return rows


def box_tables(coco: CocoData, ids: Sequence[ImageId],
               rows: Sequence[dict]) -> tuple[BoxTable, BoxTable, list[dict]]:
    """Given and predicted boxes of some images as columns.

    Args:
        coco (CocoData): The labels; crowd regions and boxes marked ``ignore``
            count as crowds.
        ids (sequence[int | str]): The images.
        rows (sequence[dict]): COCO results.

    Returns:
        tuple[BoxTable, BoxTable, list[dict]]: The given boxes, those of
        ``rows``, and the annotations of the given ones.
    """
    position = {image: n for n, image in enumerate(ids)}
    place = {c['id']: n for n, c in enumerate(coco.categories)}
    annotations = coco.annotations_of(ids)
    given, predicted = (BoxTable(
        [position[row['image_id']] for row in boxes],
        [place[row['category_id']] for row in boxes],
        np.array([row['bbox'] for row in boxes], np.float64),
        **more) for boxes, more in (
            (annotations, dict(crowds=[
                bool(a.get('iscrowd') or a.get('ignore'))
                for a in annotations])),
            (rows, dict(scores=[row['score'] for row in rows]))))
    return given, predicted, annotations


def _compare(coco: CocoData, ids: Sequence[ImageId], rows: Sequence[dict],
             number: int, seen: bool) -> list[SuspectBox]:
    wanted = set(ids)
    rows = [row for row in rows if row['image_id'] in wanted]
    given, predicted, annotations = box_tables(coco, ids, rows)
    found = find_suspects(given, predicted)
    names = {c['id']: c['name'] for c in coco.categories}
    suspects = []
    for kind, g, p, value, iou in zip(
            found.kinds.tolist(), found.given.tolist(),
            found.predicted.tolist(), found.values.tolist(),
            found.overlaps.tolist()):
        label = annotations[g] if g >= 0 else None
        row = rows[p]
        suspects.append(SuspectBox(
            kind, value, row['image_id'],
            coco.images[row['image_id']]['file_name'],
            label and label['id'], label and names[label['category_id']],
            label and list(map(float, label['bbox'])),
            names[row['category_id']], list(map(float, row['bbox'])),
            float(row['score']), iou, number, seen))
    return suspects


def suspects_table(suspects: Sequence[SuspectBox]) -> str:
    """The suspects as text, a line each."""
    def box(values: Optional[Sequence[float]]) -> str:
        return '–' if values is None else ' '.join(f'{v:.0f}' for v in values)

    header = ('image', 'kind', 'given', 'box', 'predicted', 'box', 'score',
              'IoU', 'value')
    return render(header, [[
        s.file_name, s.kind + ('*' if s.seen else ''), s.given_class or '–',
        box(s.given_box), s.predicted_class, box(s.predicted_box),
        f'{s.score:.2f}', f'{s.iou:.2f}', f'{s.value:.3f}'
    ] for s in suspects])


def save_suspects(suspects: Sequence, path: str,
                  kind: type = SuspectBox) -> None:
    """Write all of them, the most suspicious first, to a .csv or .json
    file.

    Args:
        suspects (sequence): Of one dataclass.
        path (str): The file.
        kind (type): That dataclass, whose fields are the columns, also where
            there are no suspects.

    Raises:
        ValueError: If the name ends otherwise.
    """
    check_suffix(path)
    rows = [asdict(s) for s in suspects]
    if path.endswith('.json'):
        write_json(path, rows, indent=1)
        return
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    names = [field.name for field in fields(kind)]
    writer.writerow(names)
    for row in rows:
        writer.writerow([' '.join(f'{v:.2f}' for v in row[n])
                         if isinstance(row[n], list) else row[n]
                         for n in names])
    write_text(path, text.getvalue())


def save_suspects_coco(suspects: Sequence[SuspectBox], run: str,
                       split: str, path: str) -> None:
    """Write them as a COCO file, for tools that show boxes.

    It has the images with suspects, and of each suspect the box that the
    detector would draw, with its class; ``suspect`` says what is wrong,
    ``value`` how likely, ``given_id`` which annotation is meant.
    """
    coco = _labels(find_round(run), split)[1]
    category = {c['name']: c['id'] for c in coco.categories}
    wanted = {s.image_id for s in suspects}
    write_json(path, dict(
        images=[coco.images[i] for i in coco.ids if i in wanted],
        categories=coco.categories,
        annotations=[
            dict(id=n, image_id=s.image_id, bbox=s.predicted_box, iscrowd=0,
                 area=s.predicted_box[2] * s.predicted_box[3],
                 category_id=category[s.predicted_class], score=s.score,
                 suspect=s.kind, value=s.value, given_id=s.annotation_id)
            for n, s in enumerate(suspects, 1)]))


def check_suffix(path: str) -> None:
    """Check the name of a file of suspects.

    Raises:
        ValueError: If it ends neither in .csv nor in .json.
    """
    if not path.endswith(('.csv', '.json')):
        raise ValueError(f'{path} must end in .csv or .json.')
