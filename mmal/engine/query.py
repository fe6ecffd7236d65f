"""One query: score the candidates, choose, and say what was chosen."""
from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import os.path as osp
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import islice
from typing import Callable, Optional

import numpy as np
from mmdet.models.detectors.base import BaseDetector
from mmengine.dist import (
    all_gather_object,
    get_comm_device,
    is_distributed,
    is_main_process,
)
from mmengine.logging import print_log
from torch import nn

from mmal.dist import ProcessGroup, on_main
from mmal.fileio import write_json
from mmal.models.utils.evaluation_mode import forward_precision
from mmal.pool import (
    BaseOracle,
    CocoData,
    ImageLoader,
    UnreadableImage,
    UnreadableImagesError,
    VerifiedImages,
    build_budget,
    load_images,
)
from mmal.pool.budget import MeanCounts
from mmal.pool.layout import RoundDir, WorkDir
from mmal.scores import Scores
from mmal.scoring import ScoringData, score_pool
from mmal.scoring.data import scoring_pipeline
from mmal.scoring.detections.predictions import predict_chosen
from mmal.scoring.embeddings import EmbeddingFile, EmbeddingStore
from mmal.scoring.embeddings.embed import embed_split
from mmal.scoring.expected_boxes import ExpectedBoxes
from mmal.selection import (
    BaseSelector,
    ClassTargets,
    Neighbours,
    SharedSelection,
    Spacing,
    Walk,
)
from mmal.types import ImageId
from .build import build
from .query_checks import check_query
from .query_result import QueryResult
from .round_config import classes_of
from .settings import Settings

# images whose files are looked at together, in threads
_LOOK_AHEAD = 64


class Query:
    """Scores and selects, the same in every process.

    Args:
        settings (Settings): The ``active_learning`` block.
        coco (CocoData): The pool without annotations.
        img_prefix (str): The folder of its images.
        loader (ImageLoader, optional): What the test pipeline loads them
            with. Default: mmcv's own.
    """

    def __init__(self,
                 settings: Settings,
                 coco: CocoData,
                 img_prefix: str,
                 loader: Optional[ImageLoader] = None) -> None:
        self.settings = settings
        self.coco = coco
        self.img_prefix = img_prefix
        self.loader = loader or ImageLoader()
        self.scorer = build(settings, 'scorer')
        self.selector = build(settings, 'selector')
        self.spacing = settings.spacing and Spacing(
            **settings.spacing.to_dict())
        self.committee = build(settings, 'committee')
        self.embedder = build(settings, 'embedder')
        self.budget = build_budget(settings.budget.to_dict())

    @property
    def trained_members(self) -> int:
        """Models that a round with a query trains besides its own."""
        return self.committee.trained_members if self.committee else 0

    @property
    def needs_embeddings(self) -> bool:
        """Whether images are chosen by their embeddings."""
        return self.selector.needs_embeddings or (
            self.spacing is not None and self.spacing.needs_embeddings)

    def expects_boxes(self, knows_counts: bool) -> bool:
        """Whether the detector is asked how many boxes an image will have.

        Args:
            knows_counts (bool): Whether the oracle can count those that
                nobody has drawn in this run.
        """
        return bool(self.budget.targets) or (
            self.budget.needs_counts and not knows_counts)

    def check(self, model: nn.Module, splits: dict,
              knows_counts: bool = True) -> None:
        """Find mistakes in the settings before any training.

        Args:
            model (nn.Module): The detector, with any weights.
            splits (dict[str, Split]): The images; none are read.
            knows_counts (bool): Whether the oracle can count boxes.

        Raises:
            ValueError: If scorer or selector cannot work with this model.
        """
        with forward_precision([model], self.settings.score_precision):
            check_query(self.settings, self.scorer, self.selector,
                        self.embedder, model, self.data(splits, 0),
                        self.spacing, self.expects_boxes(knows_counts))

    def run(self, model: nn.Module, splits: dict, round: int,
            folder: RoundDir, oracle: Optional[BaseOracle],
            work: Optional[WorkDir] = None) -> QueryResult:
        """Score and choose; ``scores.npz``, ``selected.json`` and
        ``predictions.json`` (of detectors) are written, ``class_boxes.json``
        where the scorer detects, and ``embeddings*.npy`` where the selector
        needs them.

        Files that an interrupted query has written are used again.

        Args:
            model (nn.Module): The trained detector.
            splits (dict[str, Split]): See :func:`scoring_splits`.
            round (int): The round, from 0.
            folder (RoundDir): Where the files go.
            oracle (BaseOracle, optional): Counts boxes for a budget in boxes;
                process 0 alone needs it.
            work (WorkDir, optional): Keeps what later rounds use again: which
                images are whole, and embeddings of a network that is never
                trained.

        Returns:
            QueryResult: The same in every process.
        """
        start = time.perf_counter()
        verified = VerifiedImages(self.loader, work and work.verified)
        data = self.data(splits, round, verified)
        marks = on_main(lambda: self._marks(data, verified)) if work else {}
        store = self._store(model, data, work)
        scores = self._scores(model, data, folder, store)
        embeddings_labelled = self._embed_labelled(model, data, folder, store)
        if work:
            read = all_gather_object(dict(data.read))
            on_main(lambda: verified.add(
                of_split[i] for split, of_split in marks.items()
                for own in read for i in own.get(split, ()) if i in of_split))
        selector = self._prepared_selector(data)
        labelled = frozenset()
        if self.settings.reselects:
            labelled = on_main(lambda: frozenset(data.ids('candidates'))
                               .difference(data.ids('unlabelled')))

        def acquire(order: Iterator[ImageId]) -> QueryResult:
            return self._acquire(order, scores, labelled, oracle, model, data,
                                 embeddings_labelled)

        result = self._select(selector, scores, embeddings_labelled, acquire)
        self._predict(model, data, result.ids, folder)
        result.seconds = time.perf_counter() - start
        if is_main_process():
            result.save(folder.selected)
        return result

    def data(self, splits: dict, round: int,
             check_image: Optional[Callable] = None) -> ScoringData:
        """The images for the scorer."""
        return ScoringData(
            splits,
            seed=self.settings.seed,
            round=round,
            check_image=check_image or VerifiedImages(self.loader),
            committee=self.committee,
            embedder=self.embedder,
            precision=self.settings.score_precision,
            costs=self.budget.costs,
            **self.settings.score_dataloader.to_dict())

    @property
    def _split(self) -> str:
        """The name of the split to choose from."""
        return 'candidates' if self.settings.reselects else 'unlabelled'

    def _marks(self, data: ScoringData, verified: VerifiedImages) -> dict:
        """Of each split that a query may read, the images' files as they are
        before that."""
        if not (self.scorer.needs_images or self.needs_embeddings):
            return {}
        return {split: verified.marks(data.files(split))
                for split in (self._split, 'labelled')}

    def _store(self, model: nn.Module, data: ScoringData,
               work: Optional[WorkDir]) -> Optional[EmbeddingStore]:
        """Where embeddings are that do not change from round to round."""
        folder = self.embedder and (
            self.embedder.store or (work and work.embeddings))
        fingerprint = folder and self.embedder.fingerprint(model)
        if not fingerprint:
            return None
        pipeline = scoring_pipeline(
            data.splits[self._split].dataset['pipeline'], labels=False)
        key = hashlib.blake2b(
            json.dumps([fingerprint, pipeline], sort_keys=True,
                       default=str).encode(), digest_size=8).hexdigest()
        return EmbeddingStore(osp.abspath(folder), key,
                              self.selector.embeddings_dtype)

    def _scores(self, model: nn.Module, data: ScoringData, folder: RoundDir,
                store: Optional[EmbeddingStore]) -> Scores:
        """Those of an interrupted query, or new ones."""

        file = self._embedding_file(folder.embeddings, store)

        def load() -> Optional[Scores]:
            candidates = set(data.ids(self._split))
            try:
                scores = Scores.load(folder.scores)
                lacking = candidates.difference(scores.ids, scores.unreadable)
                if lacking:
                    raise ValueError(f'{folder.scores} has no score of '
                                     f'{len(lacking):,} images.')
                if file is not None and scores.embeddings is None and \
                        self.scorer.needs_embeddings:
                    raise ValueError('The embeddings that belong to '
                                     f'{folder.scores} are gone.')
            except (FileNotFoundError, ValueError) as e:
                if isinstance(e, ValueError):
                    print_log(f'{e} All images are scored again now.',
                              'current', logging.WARNING)
                # embeddings are of the same model: they are not of this one
                with suppress(FileNotFoundError):
                    os.unlink(folder.embeddings_labelled)
                return None
            # images may have disappeared since
            kept = np.array([i in candidates for i in scores.ids], dtype=bool)
            return scores if kept.all() else scores.take(kept)

        scores = on_main(load)
        if scores is not None:
            print_log(f'Using the scores in {folder.scores}.', 'current')
            if file is not None and scores.embeddings is None:
                # the selector needed none when these scores were made
                ids, scores.embeddings = embed_split(model, data, self._split,
                                                     file, scores.ids)
                if ids != scores.ids:
                    raise ValueError(
                        f'{len(scores) - len(ids)} images with a score can no '
                        f'longer be read: delete {folder.scores} to score '
                        'again.')
                on_main(lambda: scores.save(folder.scores))
        # An image that could not be read stops a run, unless it may be
        # skipped: by now somebody may have repaired it.
        repaired = scores is not None and scores.unreadable and \
            not self._may_skip
        if scores is None or repaired:
            with self._committee(model, data.round, folder):
                known = scores
                scores = score_pool(model, self.scorer, data, self._split,
                                    known=known, embeddings=file)
            scores = self._sum_class_boxes(scores, known, data, folder)
            on_main(lambda: scores.save(folder.scores))
        self._refuse(self._unreadable(scores.unreadable))
        return scores

    def _sum_class_boxes(self, scores: Scores, known: Optional[Scores],
                         data: ScoringData, folder: RoundDir) -> Scores:
        """Write how many boxes of each class are expected on the unlabelled
        images; the scores without the column that says it of each image,
        which is as large as the pool times the classes."""
        columns = dict(scores.columns)
        rows = columns.pop('class_boxes', None)

        def write() -> None:
            if known is not None:  # the file has all but the repaired images
                return
            if rows is None or not len(scores):
                with suppress(FileNotFoundError):  # of an earlier query here
                    os.unlink(folder.class_boxes)
                return
            unlabelled = set(data.ids('unlabelled'))
            is_new = np.array([i in unlabelled for i in scores.ids])
            sums = rows[is_new].sum(0, dtype=np.float64)
            classes = classes_of(data.splits[self._split].dataset)
            write_json(folder.class_boxes, dict(
                images=int(is_new.sum()),
                boxes=dict(zip(classes, sums.round(4).tolist()))))

        on_main(write)
        return replace(scores, columns=columns)

    def _embed_labelled(self, model: nn.Module, data: ScoringData,
                        folder: RoundDir, store: Optional[EmbeddingStore]
                        ) -> Optional[np.ndarray]:
        """Embeddings of the labelled images, if there are any to look at."""
        compared = self.spacing is not None and \
            self.spacing.needs_embeddings and 'labelled' in data.splits
        if not (self.selector.needs_labelled or compared):
            return None
        file = self._embedding_file(folder.embeddings_labelled, store)
        number = len(data.ids('labelled'))
        if on_main(lambda: file.open(number) is not None):
            return file.open(number)
        if not self.scorer.needs_embeddings:
            return embed_split(model, data, 'labelled', file)[1]
        with self._committee(model, data.round, folder):
            return score_pool(model, self.scorer, data, 'labelled',
                              embeddings=file).embeddings

    def _embedding_file(self, path: str, store: Optional[EmbeddingStore]
                        ) -> Optional[EmbeddingFile]:
        if not self.needs_embeddings:
            return None
        return EmbeddingFile(path, self.selector.embeddings_dtype, store)

    @contextmanager
    def _committee(self, model: nn.Module, round: int,
                   folder: RoundDir) -> Iterator[None]:
        """The committee is ready inside."""
        if self.committee is None:
            yield
            return
        weights = [
            folder.member(i + 1).weights for i in range(self.trained_members)
        ]
        try:
            self.committee.prepare(model, self.settings.seed, round, weights)
            yield
        finally:
            self.committee.release()

    def _prepared_selector(self, data: ScoringData) -> BaseSelector:
        """The selector, ready for this round."""
        self.selector.prepare(data.round)
        if not self.selector.needs_draws:
            return self.selector
        # A budget in boxes or seconds pays for about as many images as if
        # each cost what the labelled ones do on average. What an image costs
        # is linear in its boxes, so this is the cost of their mean.
        counts = None
        if self.budget.needs_counts and 'labelled' in data.splits:
            table, names = data.class_counts('labelled')
            if len(table):
                counts = MeanCounts(names, table.mean(0))
        if self.budget.needs_counts and counts is None:
            return self.selector.with_draws(None)
        cost = self.budget.cost(counts, 'mean')
        images = len(data.ids(self._split))
        if cost > 0:
            images = min(images, math.ceil(self.budget.size / cost))
        return self.selector.with_draws(max(1, images))

    def _select(self, selector: BaseSelector, scores: Scores,
                embeddings_labelled,
                acquire: Callable[[Iterator[ImageId]], QueryResult]
                ) -> QueryResult:
        """Process 0 chooses, with the help of the others if the selector
        knows how."""
        if not selector.needs_labelled:
            embeddings_labelled = None  # of a rule that comes after it
        shares = selector.can_share and is_distributed()
        if not shares or scores.embeddings is None:  # None: no image is left
            return on_main(lambda: acquire(selector.order(
                scores, scores.embeddings, embeddings_labelled)))
        shared = SharedSelection(
            selector, scores, scores.embeddings, embeddings_labelled,
            ProcessGroup(device=str(get_comm_device())))
        if not is_main_process():
            shared.run_worker()
        return on_main(lambda: shared.run_leader(acquire))

    def _predict(self, model: nn.Module, data: ScoringData,
                 ids: list[ImageId], folder: RoundDir) -> None:
        """Write what a detector finds on the chosen images, for people."""
        rows = None
        if isinstance(model, BaseDetector):
            ids_of = {c['name']: c['id'] for c in self.coco.categories}
            classes = classes_of(data.splits[self._split].dataset)
            rows = predict_chosen(model, data, self._split, ids,
                                  [ids_of.get(name) for name in classes])

        def write() -> None:
            if rows is not None:
                write_json(folder.predictions, rows)
                return
            with suppress(FileNotFoundError):  # of an earlier query here
                os.unlink(folder.predictions)

        on_main(write)

    def _acquire(self, order: Iterator[ImageId], scores: Scores,
                 labelled: frozenset[ImageId], oracle: BaseOracle,
                 model: nn.Module, data: ScoringData,
                 embeddings_labelled: Optional[np.ndarray]) -> QueryResult:
        """Draw from the order what the budget pays.

        A labelled image that can no longer be read is not reselected, and
        never counted among the unreadable images of the pool.
        """
        unreadable = self._unreadable(scores.unreadable)
        if not (self.scorer.needs_images or self.needs_embeddings):
            order = self._readable(order, unreadable)  # nobody has looked yet
        expected = targets = neighbours = None
        if self.expects_boxes(oracle.knows_counts):
            expected = ExpectedBoxes(
                model, data, self._split,
                classes_of(data.splits[self._split].dataset),
                next((s for s in ('val', 'labelled') if s in data.splits),
                     None))
            order = expected.look_ahead(order, labelled)
        if self.budget.targets:
            targets = ClassTargets(self.budget.targets, expected)
        if self.spacing is not None and len(scores):
            names = self.spacing.max_per_group and [
                self.coco.images[i]['file_name'] for i in scores.ids]
            neighbours = Neighbours(self.spacing, scores.ids, names,
                                    scores.embeddings, embeddings_labelled)
        walk = Walk(order, neighbours, targets, labelled)
        acquired = self.budget.acquire(walk, oracle, labelled, expected)
        # whole when the scores were made, and broken since
        known = {i.id for i in unreadable}
        unreadable += self._unreadable({
            i: reason for i, reason in data.unreadable[self._split].items()
            if i not in known})
        self._refuse(unreadable)

        reselected = [i for i in acquired.ids if i in labelled]
        new = [i for i in acquired.ids if i not in labelled]
        values = scores.of(acquired.ids)
        notes = [acquired.note] if acquired.note else []
        expected_boxes = expected and dict(zip(
            expected.class_names,
            expected.count_by_class(new).sum(0).tolist()))
        # of those chosen: one that was too dear has come too
        missed = [f'{expected_boxes[name]:,.1f} of {number:,g} {name}'
                  for name, number in self.budget.targets.items()
                  if expected_boxes[name] < number - 1e-9]
        if missed:
            notes.append('fewer boxes are expected than budget.targets asks '
                         f'for: {", ".join(missed)}')
        if walk.near:
            too_near = len(set(walk.near).intersection(new))
            notes.append(
                f'{len(walk.near):,} images were put off as too near to '
                'others' + (f', and {too_near:,} of them chosen all the same: '
                            'no others were left' if too_near else ''))
        if acquired.ids and len(reselected) == len(acquired.ids):
            notes = ['all images taken are labelled already: nothing new is '
                     'labelled']
        by_score = None
        if values and self.selector.reads_scores:
            by_score = sum(v > -math.inf for v in values) / len(values)
        if by_score == 0:
            notes.append('no image was chosen by its score, all were drawn at '
                         'random: nothing was detected in any of them')
        return QueryResult(
            acquired.ids,
            values,
            acquired.boxes,
            '; '.join(notes),
            unreadable=[u for u in unreadable if u.id not in labelled],
            reselected=reselected,
            by_score=by_score,
            expected_boxes=expected_boxes,
            file_names=[self.coco.images[i]['file_name']
                        for i in acquired.ids])

    def _readable(self, order: Iterator[ImageId],
                  unreadable: list[UnreadableImage]) -> Iterator[ImageId]:
        """The images of an order whose files can be read; the others are
        appended to ``unreadable`` when their turn comes."""
        while ids := list(islice(order, _LOOK_AHEAD)):
            problems = {
                image.id: image
                for image in load_images(
                    self.coco, self.img_prefix, self.loader, ids).unreadable
            }
            for i in ids:
                if i not in problems:
                    yield i
                    continue
                self._refuse([problems[i]])
                unreadable.append(problems[i])

    @property
    def _may_skip(self) -> bool:
        return self.settings.on_bad_image == 'skip'

    def _refuse(self, unreadable: list[UnreadableImage]) -> None:
        if unreadable and not self._may_skip:
            raise UnreadableImagesError(unreadable)

    def _unreadable(self, reasons: Mapping[ImageId, str]
                    ) -> list[UnreadableImage]:
        names = {i: self.coco.images[i]['file_name'] for i in reasons}
        return [
            UnreadableImage(i, names[i], osp.join(self.img_prefix, names[i]),
                            reason) for i, reason in reasons.items()
        ]
