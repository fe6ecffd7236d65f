"""Oracles: who is asked for annotations. Nobody else sees them in advance."""
from __future__ import annotations

import json
import os.path as osp
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Optional, Union

import numpy as np

from mmal.fileio import write_json, write_text
from mmal.registry import TASK_UTILS
from mmal.types import ImageId
from .coco import (
    CocoData,
    group_by_image,
    is_box,
    load_coco,
    merge_annotations,
    some,
    spelled_otherwise,
)
from .columns import AnnotationColumns, AnnotationTable
from .layout import LabelDir, WorkDir
from .names import NameIndex


class LabelsPending(Exception):
    """People have to label images before the run can go on.

    Args:
        message (str): What to do.
        ids (Sequence[int | str]): The images to label.
    """

    def __init__(self, message: str, ids: Sequence[ImageId]) -> None:
        super().__init__(message)
        self.ids = list(ids)

    def __reduce__(self):  # it travels between processes
        return LabelsPending, (str(self), self.ids)


class BaseOracle(ABC):
    """Gives annotations for image ids, not knowing why they were chosen.

    Args:
        pool (CocoData, optional): The images; annotations come back with
            its image and category ids.
        work_dir (str, optional): The run's folder.
    """

    #: Whether boxes can be counted before an image is labelled.
    knows_counts: bool = True

    def __init__(self,
                 pool: Optional[CocoData] = None,
                 work_dir: Optional[str] = None) -> None:
        self.pool = pool
        self.work_dir = work_dir

    @property
    def name(self) -> str:
        """What messages call it."""
        return type(self).__name__

    @abstractmethod
    def annotate(self, ids: Iterable[ImageId]) -> list[dict]:
        """Label images.

        Args:
            ids (Iterable[int | str]): Images of the pool.

        Returns:
            list[dict]: COCO annotations with unique ids, image by image;
            none for an empty image.

        Raises:
            ValueError: If an image is unknown.
            LabelsPending: If people must label first.
        """

    def table(self) -> AnnotationTable:
        """What it knows of the whole pool, as columns.

        Where :attr:`knows_counts`; what is marked there is marked in its
        annotations.

        Returns:
            AnnotationTable: A row of each annotation.
        """
        return self.pool.table(self.annotate(self.pool.ids))

    def take_corrections(self, round: int) -> list[str]:
        """Take over what people have corrected in labels given before.

        Args:
            round (int): The round that is about to begin; corrections count
                from it on.

        Returns:
            list[str]: File names of the images whose labels were corrected
            for this round. Asked again, it gives the same names.
        """
        return []

    def count_boxes(self, ids: Iterable[ImageId]) -> np.ndarray:
        """What labelling would cost, see :func:`count_boxes`.

        Args:
            ids (Iterable[int | str]): N images of the pool.

        Returns:
            np.ndarray: int64 of shape [N].
        """
        ids = list(ids)
        return count_boxes(self.annotate(ids), ids)


@TASK_UTILS.register_module()
class CocoOracle(BaseOracle):
    """Looks annotations up in a fully labelled file: a simulation.

    Args:
        ann_file (str, optional): The file. Default: the pool's own. Images
            are matched by id and file name, categories by name.
        pool (CocoData, optional): The images, if not those of ``ann_file``.
        work_dir (str, optional): Not used.
        backend_args (dict, optional): mmengine's file backend.

    Raises:
        ValueError: If neither is given, the file lacks images of the pool,
            or nothing in it is annotated.
    """

    def __init__(self,
                 ann_file: Optional[str] = None,
                 pool: Optional[CocoData] = None,
                 work_dir: Optional[str] = None,
                 backend_args: Optional[dict] = None) -> None:
        if ann_file is None and pool is None:
            raise ValueError('CocoOracle needs ann_file, the fully labelled '
                             'COCO json.')
        labels = pool
        if ann_file is not None:
            labels = load_coco(ann_file, backend_args=backend_args)
        pool = labels if pool is None else pool
        super().__init__(pool, work_dir)
        if not labels.annotations:
            raise ValueError(
                f'CocoOracle: {labels.path} holds no annotations to look up. '
                'Give the fully labelled file as '
                'active_learning.oracle.ann_file, or use '
                "oracle=dict(type='mmal.ManualOracle') for images that "
                'nobody has labelled.')
        self._annotations = labels.annotations
        # another file may number its categories in its own way
        if labels is not pool:
            check_same_images(pool, labels, pool.ids)
            self._annotations = group_by_image(
                translate(labels, pool, {i: i for i in pool.ids}))

    def annotate(self, ids: Iterable[ImageId]) -> list[dict]:
        """See :meth:`BaseOracle.annotate`."""
        ids = _known(ids, self.pool)
        if isinstance(self._annotations, AnnotationColumns):
            return self._annotations.of(ids)
        return [a for i in ids for a in self._annotations.get(i, ())]

    def table(self) -> AnnotationTable:
        """See :meth:`BaseOracle.table`."""
        if self._annotations is self.pool.annotations:
            return self.pool.table()
        return super().table()

    def count_boxes(self, ids: Iterable[ImageId]) -> np.ndarray:
        """See :meth:`BaseOracle.count_boxes`."""
        if isinstance(self._annotations, AnnotationColumns):
            ids = list(ids)
            try:
                return self._annotations.count_boxes(ids)
            except KeyError:
                _known(ids, self.pool)  # says which
                raise
        return np.array([
            sum(map(is_box, self._annotations.get(i, ())))
            for i in _known(ids, self.pool)], dtype=np.int64)


@TASK_UTILS.register_module()
class ManualOracle(BaseOracle):
    """Asks people, through files, for images that nobody has labelled yet.

    It writes ``to_label.json`` (a COCO file with the images and categories
    and no annotations, for labelling tools) and ``to_label.txt`` (the file
    names) and stops the run with :class:`LabelsPending` until a
    ``labels.json`` in the same folder has these images. What is taken over
    goes to ``accepted.json``, so ``labels.json`` may be replaced for the
    next round or grow from round to round. Where it has other labels than
    before for an image accepted earlier they are a correction, which counts
    from the next round that begins; ``accepted.json`` lists them under
    ``corrections``. An image accepted with boxes that is listed without any
    stays as it was, unless the file says ``"confirm_empty": true``.

    Images are matched by ``file_name`` and categories by name, because
    labelling tools number both anew. An image that ``labels.json`` lists
    without annotations is empty; if all of a request are, the file must say
    ``"confirm_empty": true``, or an untouched copy of ``to_label.json``
    would pass for labels.

    Args:
        pool (CocoData): The images.
        folder (str, optional): Default: ``labels`` in the work folder.
        work_dir (str, optional): The run's folder.
    """

    knows_counts = False

    def __init__(self,
                 pool: CocoData,
                 folder: Optional[str] = None,
                 work_dir: Optional[str] = None) -> None:
        super().__init__(pool, work_dir)
        if folder is None and work_dir is None:
            raise ValueError('ManualOracle needs folder, where the files for '
                             'labelling go.')
        self.files = LabelDir(folder) if folder else WorkDir(work_dir).labels
        # raises before anybody has labelled a thing
        self._ids = _ids_by_name(pool)

    def annotate(self, ids: Iterable[ImageId]) -> list[dict]:
        """See :meth:`BaseOracle.annotate`."""
        ids = _known(ids, self.pool)
        accepted = self._load_accepted()
        pending = [i for i in ids if i not in accepted.images]
        if pending:
            self._accept(pending, accepted)
            # read again: a resumed run reads the same numbers from the file
            accepted = self._load_accepted()
        return accepted.annotations_of(ids)

    def count_boxes(self, ids: Iterable[ImageId]) -> np.ndarray:
        """See :meth:`BaseOracle.count_boxes`.

        Raises:
            ValueError: If nobody has labelled one of the images yet.
        """
        ids = _known(ids, self.pool)
        accepted = self._load_accepted()
        unlabelled = [i for i in ids if i not in accepted.images]
        if unlabelled:
            raise ValueError(
                f'nobody has labelled the images {some(unlabelled)} yet, so '
                'their boxes cannot be counted. Use '
                "active_learning.budget.unit='images' with ManualOracle.")
        return count_boxes(accepted.annotations_of(ids), ids)

    def take_corrections(self, round: int) -> list[str]:
        """See :meth:`BaseOracle.take_corrections`.

        Raises:
            ValueError: If ``labels.json`` is wrong.
        """
        accepted = self._load_accepted()
        names = {image['file_name']: i
                 for i, image in accepted.images.items()}
        if names and osp.exists(self.files.labels):
            new, listed, may_be_empty = self._read_labels(names)
            drawn = group_by_image(new)
            corrected = [
                i for i in listed
                if (i in drawn or may_be_empty) and _contents(
                    drawn.get(i, ())) != _contents(
                        accepted.annotations.get(i, ()))
            ]
            if corrected:
                kept = set(accepted.images).difference(corrected)
                kept = [i for i in accepted.images if i in kept]
                accepted.header.setdefault('corrections', []).append(
                    dict(round=round, images=[
                        accepted.images[i]['file_name'] for i in corrected]))
                self._save_accepted(
                    accepted, accepted.images, merge_annotations(
                        accepted.annotations_of(kept),
                        [a for i in corrected for a in drawn.get(i, ())]))
        return [
            name for entry in accepted.header.get('corrections', ())
            if entry['round'] == round for name in entry['images']
        ]

    def _load_accepted(self) -> CocoData:
        if osp.exists(self.files.accepted):
            try:
                return load_coco(self.files.accepted)
            except ValueError as e:
                raise ValueError(
                    f'{self.files.accepted}, which holds the labels taken '
                    f'over so far, is damaged: {e} Restore it from a copy. '
                    'Without one remove it and run again with --resume: the '
                    f'labels of all rounds are then read from '
                    f'{self.files.labels}, which must list all their '
                    'images.') from e
        return CocoData(self.files.accepted, {}, {}, self.pool.categories)

    def _save_accepted(self, before: CocoData, ids: Iterable[ImageId],
                       annotations: Iterable[Mapping]) -> None:
        content = self.pool.subset(ids, annotations)
        if 'corrections' in before.header:
            content['corrections'] = before.header['corrections']
        write_json(self.files.accepted, content)

    def _read_labels(
        self, names: Mapping[str, ImageId]
    ) -> tuple[list[dict], set[ImageId], bool]:
        """What ``labels.json`` says about images of the pool.

        Returns:
            tuple[list[dict], set[int | str], bool]: Their annotations, the
            images that it lists, and whether those without annotations are
            meant to be empty.
        """
        # Among all images of the pool: a name that would do for one of these
        # may be that of another, in another folder.
        index = NameIndex(
            self.pool.file_names,
            other_folders=True)

        def size_in_pool(name: str) -> Union[tuple[int, int], str]:
            ours = self._ids.get(index.find(name))
            if ours is None:
                return 'no image of the pool has this name'
            image = self.pool.images[ours]
            return image['width'], image['height']

        # a labelling tool may leave sizes out
        labels = load_coco(self.files.labels, read_size=size_in_pool)
        theirs = _ids_by_name(labels)
        try:
            matched = index.match(
                name for name in theirs if index.find(name) in names)
        except ValueError as e:
            raise ValueError(f'{labels.path}: {e}') from e
        match = {theirs[name]: names[ours] for name, ours in matched.items()}
        # labelling tools that scale or rotate what they show write boxes
        # that look right in their own file alone
        rescaled = [
            self.pool.images[ours]['file_name']
            for i, ours in match.items()
            if any(labels.images[i][side] != self.pool.images[ours][side]
                   for side in ('width', 'height'))
        ]
        if rescaled:
            raise ValueError(
                f'{labels.path} gives other sizes than {self.pool.path} for '
                f'the images {some(rescaled)}. Boxes must be in pixels of the '
                'original images: label those, unscaled and not rotated.')
        return (translate(labels, self.pool, match), set(match.values()),
                labels.header.get('confirm_empty') is True)

    def _accept(self, pending: list[ImageId], accepted: CocoData) -> None:
        """Take over the labels of images, or ask people for them."""
        names = {self.pool.images[i]['file_name']: i for i in pending}
        if not osp.exists(self.files.labels):
            raise self._request(names)
        new, listed, may_be_empty = self._read_labels(names)
        missing = [name for name, i in names.items() if i not in listed]
        if missing:
            raise self._request(
                names, f'It lacks {len(missing)} of them: {some(missing)}. '
                '(Names must be as in to_label.json, or as a labelling tool '
                'makes them of these.) ')
        # an untouched copy of the request has these images and no boxes too,
        # and exports of a job that is half done list the other images as well
        drawn = {a['image_id'] for a in new}
        empty = [name for name, i in names.items() if i not in drawn]
        if empty and not may_be_empty:
            raise ValueError(
                f'{self.files.labels} has no annotation for {len(empty)} of '
                f'the {len(pending)} images asked for: {some(empty)}. Label '
                'them; if there is nothing on them, add "confirm_empty": true '
                'to the top level of the file.')
        self._save_accepted(
            accepted, [*accepted.images, *pending],
            merge_annotations(accepted.annotations_of(accepted.images), new))

    def _request(self, names: Mapping[str, ImageId],
                 detail: str = '') -> LabelsPending:
        """Write what is to be labelled, and say so."""
        write_json(self.files.request, self.pool.subset(names.values()))
        write_text(self.files.request_names,
                   ''.join(f'{name}\n' for name in names))
        return LabelsPending(
            f'{len(names)} images wait for labels. They are listed in '
            f'{self.files.request} (names alone: '
            f'{osp.basename(self.files.request_names)}). Save their boxes as '
            f'COCO json in {self.files.labels}; list images without objects '
            'there too. (mmal labels export writes them for a labelling tool, '
            f'mmal labels import reads what it exports.) {detail}Then run '
            'again with --resume.',
            list(names.values()))


class InitialOracle(BaseOracle):
    """Answers for a labelled first set and passes on all other questions.

    Args:
        annotations (Iterable[dict]): Those of the first set.
        ids (Iterable[int | str]): Its images, empty ones too.
        oracle (BaseOracle): For the rest of the pool.
    """

    def __init__(self, annotations: Iterable[Mapping],
                 ids: Iterable[ImageId], oracle: BaseOracle) -> None:
        super().__init__(oracle.pool, oracle.work_dir)
        self.oracle = oracle
        self.knows_counts = oracle.knows_counts
        self._given = {i: [] for i in ids}
        for a in annotations:
            self._given[a['image_id']].append(dict(a))

    @property
    def name(self) -> str:
        return self.oracle.name

    def annotate(self, ids: Iterable[ImageId]) -> list[dict]:
        """See :meth:`BaseOracle.annotate`."""
        ids = list(ids)
        given = [a for i in ids for a in self._given.get(i, ())]
        # ManualOracle would stop the run to ask for no image at all
        others = [i for i in ids if i not in self._given]
        asked = self.oracle.annotate(others) if others else []
        return merge_annotations(given, asked)

    def take_corrections(self, round: int) -> list[str]:
        """See :meth:`BaseOracle.take_corrections`."""
        return self.oracle.take_corrections(round)

    def count_boxes(self, ids: Iterable[ImageId]) -> np.ndarray:
        """See :meth:`BaseOracle.count_boxes`."""
        ids = list(ids)
        given = [a for i in ids for a in self._given.get(i, ())]
        counts = count_boxes(given, ids)
        others = [n for n, i in enumerate(ids) if i not in self._given]
        if others:
            counts[others] = self.oracle.count_boxes([ids[n] for n in others])
        return counts


def count_boxes(annotations: Iterable[Mapping],
                ids: Sequence[ImageId]) -> np.ndarray:
    """Count the boxes that people draw on each image, see
    :func:`~mmal.pool.coco.is_box`.

    Args:
        annotations (Iterable[dict]): COCO annotations.
        ids (Sequence[int | str]): N images.

    Returns:
        np.ndarray: int64 of shape [N].
    """
    position = {i: n for n, i in enumerate(ids)}
    at = [position[a['image_id']] for a in annotations
          if is_box(a) and a['image_id'] in position]
    return np.bincount(
        np.array(at, dtype=np.int64), minlength=len(ids)).astype(np.int64)


def check_same_images(pool: CocoData, labels: CocoData,
                      ids: Iterable[ImageId]) -> None:
    """Check that ids mean the same image (by file name) in two files.

    Raises:
        ValueError: If one of the files lacks an id, or names differ.
    """
    ids = list(ids)
    for a, b in ((pool, labels), (labels, pool)):
        lacking = [i for i in ids if i not in a.images]
        if lacking:
            raise ValueError(
                f'{a.path} lacks images of {b.path}: the ids {some(lacking)}. '
                'Both must describe the same images under the same ids.')
    differ = [i for i in ids if pool.images[i]['file_name'] !=
              labels.images[i]['file_name']]
    if differ:
        i = differ[0]
        raise ValueError(
            f'{labels.path} and {pool.path} mean different images by the ids '
            f'{some(differ)}: {labels.images[i]["file_name"]!r} and '
            f'{pool.images[i]["file_name"]!r}. Give the same image the same '
            'id in both.')


def translate(labels: CocoData, pool: CocoData,
              match: Mapping[ImageId, ImageId]) -> list[dict]:
    """Annotations of another file with the pool's image and category ids.

    Args:
        labels (CocoData): The other file.
        pool (CocoData): The pool.
        match (Mapping): Image id in ``labels`` to image id in the pool.

    Returns:
        list[dict]: Copies, for the matched images only.

    Raises:
        ValueError: If an annotation uses a category that the pool lacks.
    """
    rows = labels.annotations_of(match)
    ours = {c['name']: c['id'] for c in pool.categories}
    names = {c['id']: c['name'] for c in labels.categories}
    unknown = {names[a['category_id']] for a in rows}.difference(ours)
    if unknown:
        raise ValueError(
            f'{labels.path} uses categories that {pool.path} does not have: '
            f'{some(sorted(unknown), 10)}. Rename or remove them; known are '
            f'{some(ours, 10)}.{spelled_otherwise(sorted(unknown), ours)}')
    return [
        dict(a, image_id=match[a['image_id']],
             category_id=ours[names[a['category_id']]]) for a in rows
    ]


def _contents(annotations: Iterable[Mapping]) -> list[str]:
    """What is drawn, whatever its order and its numbers."""
    return sorted(
        json.dumps([a['category_id'], [float(v) for v in a['bbox']],
                    a['iscrowd'], a.get('segmentation') or None])
        for a in annotations)


def _known(ids: Iterable[ImageId], pool: CocoData) -> list[ImageId]:
    ids = list(ids)
    unknown = [i for i in ids if i not in pool.images]
    if unknown:
        raise ValueError(f'{pool.path} has no images with the ids '
                         f'{some(unknown)} that the oracle was asked for.')
    return ids


def _ids_by_name(coco: CocoData) -> dict[str, ImageId]:
    """Image ids by file name, which must tell images apart."""
    names: dict[str, ImageId] = {}
    duplicates = []
    for i, name in zip(coco.ids, coco.file_names):
        if names.setdefault(name, i) != i:
            duplicates.append(name)
    if duplicates:
        raise ValueError(f'{coco.path} lists files more than once: '
                         f'{some(duplicates)}. ManualOracle knows images by '
                         'their file_name: list each one once.')
    return names
