"""One query: score the candidates, choose, and say what was chosen."""
from __future__ import annotations

import os
import os.path as osp
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from inspect import signature
from typing import Callable, Optional

import numpy as np
from mmengine.dist import get_comm_device, is_distributed, is_main_process
from mmengine.logging import print_log
from torch import nn

from mmal.fileio import write_json
from mmal.models.committees import BaseCommittee
from mmal.pool import (
    BadImage,
    BadImagesError,
    BaseOracle,
    CocoData,
    Taken,
    build_budget,
    check_images,
    verify_image,
)
from mmal.registry import TASK_UTILS
from mmal.scoring import (
    BaseScorer,
    Scores,
    ScoringData,
    score_pool,
)
from mmal.scoring.embeddings import (
    BaseEmbedder,
    EmbeddingFile,
    backbone_of,
    open_rows,
)
from mmal.scoring.loop import embed_split
from mmal.selection import BaseSelector, ProcessGroup, SharedSelection
from .dist import on_main
from .round_config import classes_of
from .settings import Settings
from .workdir import RoundDir

_KINDS = dict(
    scorer=BaseScorer,
    selector=BaseSelector,
    oracle=BaseOracle,
    committee=BaseCommittee,
    embedder=BaseEmbedder)


@dataclass
class Selection:
    """What a query chose.

    Args:
        ids (list[int | str]): The images, the most wanted first.
        scores (list[float]): Their scores.
        boxes (int, optional): Boxes to draw: those on the images that are
            not ``repeated``; None if nobody knows yet.
        note (str): What a reader should know, e.g. that the pool is empty.
        seconds (float): Wall time of scoring and selecting.
        set_aside (list[BadImage]): Images that cannot be read.
        repeated (list[int | str]): Those of the images that are labelled
            already and taken again.
    """
    ids: list
    scores: list[float]
    boxes: Optional[int]
    note: str = ''
    seconds: float = 0.0
    set_aside: list[BadImage] = field(default_factory=list)
    repeated: list = field(default_factory=list)

    @property
    def new(self) -> list:
        """The images to label."""
        again = set(self.repeated)
        return [i for i in self.ids if i not in again]

    def __str__(self) -> str:
        again = len(self.repeated)
        boxes = '' if self.boxes is None else f' with {self.boxes:,} boxes'
        return f'{len(self.ids) - again:,} images{boxes}' + (
            f', and {again:,} labelled ones again' if again else '')

    def save(self, path: str) -> None:
        """Write ``selected.json``; an infinite score becomes None. The key
        ``repeated`` is there if an image was taken again."""
        content = asdict(self)
        if not self.repeated:
            del content['repeated']
        content['scores'] = [
            s if abs(s) != float('inf') else None for s in self.scores
        ]
        write_json(path, content, indent=1)


def build_part(settings: Settings, name: str, **kwargs):
    """Build the scorer, selector, oracle, committee or embedder of a config.

    Raises:
        ValueError: If the config cannot be built or is of another kind; the
            message names its key.
    """
    cfg = dict(getattr(settings, name))
    if name == 'selector':
        cfg = _run_seed(cfg, settings.seed)
    return build_as(name, {**kwargs, **cfg})


def build_as(name: str, cfg: dict):
    """Build one of them from its own config.

    Raises:
        ValueError: See :func:`build_part`.
    """
    try:
        part = TASK_UTILS.build(cfg)
    except (KeyError, TypeError) as e:
        raise ValueError(
            f'active_learning.{name} cannot be built from {cfg}: {e}') from e
    if not isinstance(part, _KINDS[name]):
        raise ValueError(
            f'active_learning.{name}.type is {cfg["type"]}, which is no '
            f'{name}: give the name of a registered {name}.')
    return part


def _run_seed(cfg: Mapping, seed: int) -> dict:
    """The run's seed, for a selector that draws and was given no other, and
    for the one that it wraps."""
    kind = TASK_UTILS.get(cfg['type']) if 'type' in cfg else None
    draws = kind is not None and 'seed' in signature(kind).parameters
    seeded = {**(dict(seed=seed) if draws else {}), **cfg}
    if isinstance(cfg.get('selector'), Mapping):
        seeded['selector'] = _run_seed(cfg['selector'], seed)
    return seeded


class Query:
    """Scores, selects and checks, the same in every process.

    Args:
        settings (Settings): The ``active_learning`` block.
        coco (CocoData): The pool without annotations.
        img_prefix (str): The folder of its images.
        oracle (BaseOracle): Counts boxes for a budget in boxes.
    """

    def __init__(self, settings: Settings, coco: CocoData, img_prefix: str,
                 oracle: BaseOracle) -> None:
        self.settings = settings
        self.coco = coco
        self.img_prefix = img_prefix
        self.oracle = oracle
        self.scorer: BaseScorer = build_part(settings, 'scorer')
        self.selector: BaseSelector = build_part(settings, 'selector')
        self.committee: Optional[BaseCommittee] = None
        if settings.committee is not None:
            self.committee = build_part(settings, 'committee')
        self.embedder: Optional[BaseEmbedder] = None
        if settings.embedder is not None:
            self.embedder = build_part(settings, 'embedder')
        self.budget = build_budget(settings.budget)

    @property
    def trained_members(self) -> int:
        """Models that a round with a query trains besides its own."""
        return self.committee.trained_members if self.committee else 0

    def check(self, model: nn.Module, data: ScoringData) -> None:
        """Find mistakes in the settings before any training.

        Args:
            model (nn.Module): The detector, with any weights.
            data (ScoringData): The images; none are read.

        Raises:
            ValueError: If scorer or selector cannot work with this model.
        """
        self.scorer.check(model, data)
        self._check_values(model, data)
        self._check_candidates()
        if self.embedder is not None:
            self._check_embedder(model)
        elif not self.scorer.needs_embeddings:
            if self.selector.needs_embeddings:
                backbone_of(model)
        elif self.selector.needs_labelled:
            raise ValueError(
                f'{_name(self.scorer)} gives embeddings of its own '
                'kind, but only of the unlabelled images, and '
                f'{_name(self.selector)} starts from the labelled '
                "ones: set active_learning.selector.start='random'.")

    def _check_values(self, model: nn.Module, data: ScoringData) -> None:
        """Whether the scorer gives what the selector reads."""
        selector = f'active_learning.selector is a {_name(self.selector)}'
        if self.selector.needs_weights and self.scorer.may_be_negative:
            raise ValueError(
                f'{selector}, which takes scores for weights, but those of a '
                f'{_name(self.scorer)} may be negative: set '
                'active_learning.selector.weighted=False where it has this '
                'key, or use another scorer or selector.')
        if not self.selector.needs_class_scores:
            return
        if not self.scorer.gives_class_scores:
            raise ValueError(
                f'{selector}, which ranks images for each class, but a '
                f'{_name(self.scorer)} gives one value for all classes of '
                'this detector: set active_learning.scorer to '
                'mmal.EntropyScorer or another that keeps the values of each '
                'class.')
        dataset = data.splits['unlabelled'].dataset
        self.selector.check_classes(classes_of(dataset))

    def _check_candidates(self) -> None:
        if self.settings.takes_again and self.selector.needs_labelled:
            raise ValueError(
                "active_learning.candidates is 'all', but a "
                f'{_name(self.selector)} that starts from the labelled images '
                'takes none of them again: their distance is 0. Set '
                "active_learning.selector.start to 'random' or 'best', or "
                "candidates to 'unlabelled'.")

    def _check_embedder(self, model: nn.Module) -> None:
        if not self.selector.needs_embeddings:
            raise ValueError(
                'active_learning.embedder is set, but a '
                f'{type(self.selector).__name__} needs no embeddings: set '
                'embedder to None, or active_learning.selector to one that '
                'does (mmal.CoreSet, mmal.KMeansPlusPlus).')
        if self.scorer.needs_embeddings:
            raise ValueError(
                'active_learning.embedder is set, but '
                f'{type(self.scorer).__name__} gives embeddings of its own '
                'kind: set embedder to None.')
        self.embedder.check(model)

    def data(self, splits: dict, round: int) -> ScoringData:
        """The images for the scorer."""
        return ScoringData(
            splits,
            seed=self.settings.seed,
            round=round,
            check_image=verify_image,
            committee=self.committee,
            embedder=self.embedder,
            **self.settings.score_dataloader)

    def run(self, model: nn.Module, splits: dict, round: int,
            folder: RoundDir) -> Selection:
        """Score and choose; ``scores.npz`` and ``selected.json`` are written,
        and ``embeddings*.npy`` where the selector needs them.

        Files that an interrupted query has written are used again.

        Args:
            model (nn.Module): The trained detector.
            splits (dict[str, Split]): See :func:`scoring_splits`.
            round (int): The round, from 0.
            folder (RoundDir): Where the files go.

        Returns:
            Selection: The same in every process.
        """
        start = time.perf_counter()
        scores = self._scores(model, splits, round, folder)
        labelled = self._labelled(model, splits, round, folder)
        done = self._done(splits, round)
        self.selector.prepare(round)
        selection = self._select(scores, labelled, done)
        selection.seconds = time.perf_counter() - start
        if is_main_process():
            selection.save(folder.selected)
        return selection

    def _scores(self, model, splits, round, folder) -> Scores:
        scores = on_main(lambda: _load_scores(folder.scores))
        if scores is None:  # what was made from it is of no use either
            on_main(lambda: _remove(folder.embeddings_labelled))
        else:
            print_log(f'Using the scores in {folder.scores}.', 'current')
            self._add_embeddings(scores, model, splits, round, folder)
        if scores is None or (scores.unreadable and not self._skips()):
            with self._committee(model, round, folder):
                scores = score_pool(
                    model,
                    self.scorer,
                    self.data(splits, round),
                    self._split,
                    known=scores,
                    embeddings=self._file(folder.embeddings))
            on_main(lambda: scores.save(folder.scores))
        self._refuse(self._unreadable(scores))
        return scores

    @property
    def _split(self) -> str:
        """The name of the split to choose from."""
        return 'candidates' if self.settings.takes_again else 'unlabelled'

    def _done(self, splits, round) -> frozenset:
        """Candidates that are labelled already."""
        if not self.settings.takes_again:
            return frozenset()
        data = self.data(splits, round)
        return on_main(lambda: frozenset(data.ids('candidates')).difference(
            data.ids('unlabelled')))

    def _add_embeddings(self, scores, model, splits, round, folder) -> None:
        """To scores from a time when the selector needed none."""
        file = self._file(folder.embeddings)
        if file is None or scores.embeddings is not None:
            return
        found, rows = embed_split(
            model, self.data(splits, round), self._split, file, scores.ids)
        if found != scores.ids:
            raise ValueError(
                f'{len(scores.ids) - len(found)} images with a score can no '
                f'longer be read: delete {folder.scores} to score again.')
        scores.embeddings = rows
        on_main(lambda: scores.save(folder.scores))

    def _labelled(self, model, splits, round, folder) -> Optional[np.ndarray]:
        """Embeddings of the labelled images for a selector that needs them."""
        if not self.selector.needs_labelled:
            return None
        data = self.data(splits, round)
        file = self._file(folder.embeddings_labelled)
        number = len(data.ids('labelled'))
        if on_main(lambda: file.open(number) is None):
            embed_split(model, data, 'labelled', file)
        return open_rows(file.path)

    def _file(self, path: str) -> Optional[EmbeddingFile]:
        if not self.selector.needs_embeddings:
            return None
        return EmbeddingFile(path, self.selector.embeddings_dtype)

    @contextmanager
    def _committee(self, model, round, folder) -> Iterator[None]:
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

    def _select(self, scores: Scores, labelled: Optional[np.ndarray],
                done: frozenset = frozenset()) -> Selection:
        """Process 0 chooses, with the help of the others if the selector
        knows how."""
        shares = self.selector.can_share and is_distributed()
        if not shares or scores.embeddings is None:  # None: no image is left
            rank = partial(self._rank, labelled)
            return on_main(lambda: self._choose(scores, rank, done))
        shared = SharedSelection(
            self.selector, scores, scores.embeddings, labelled,
            ProcessGroup(device=str(get_comm_device())))
        if not is_main_process():
            shared.help()
        return on_main(lambda: shared.lead(lambda: self._choose(
            scores, lambda _, n: shared.select(n), done)))

    def _choose(self, scores: Scores, rank: Callable,
                done: frozenset = frozenset()) -> Selection:
        """``rank(scores, n)`` is the choice of n images; embeddings are of
        readable images, so with them the scores never shrink. Labelled images
        that can no longer be read are not taken again, and never set
        aside."""
        bad = self._unreadable(scores)
        while True:
            aside = [b for b in bad if b.id not in done]
            labelled = done.intersection(scores.ids)
            if len(scores) == len(labelled):  # the others are all broken
                return Selection([], [], 0, set_aside=aside)
            taken = self.budget.take(
                partial(rank, scores), self.oracle, len(scores), labelled)
            broken = self._check(taken.ids)
            if not broken:
                again = [i for i in taken.ids if i in labelled]
                return Selection(
                    taken.ids, scores.of(taken.ids), taken.boxes,
                    _note(taken, again), set_aside=aside, repeated=again)
            bad += broken
            scores = scores.without([b.id for b in broken])

    def _rank(self, labelled, scores: Scores, n: int) -> list:
        return self.selector.select(scores, n, scores.embeddings, labelled)

    def _check(self, ids: list) -> list[BadImage]:
        """Chosen images that nobody has looked at."""
        if self.scorer.needs_images or self.selector.needs_embeddings:
            return []
        bad = check_images(self.coco, self.img_prefix, ids, decode=True)
        self._refuse(bad)
        return bad

    def _refuse(self, bad: list[BadImage]) -> None:
        if bad and not self._skips():
            raise BadImagesError(bad)

    def _skips(self) -> bool:
        return self.settings.on_bad_image == 'skip'

    def _unreadable(self, scores: Scores) -> list[BadImage]:
        names = {
            i: self.coco.images[i]['file_name']
            for i in scores.unreadable
        }
        return [
            BadImage(i, names[i], osp.join(self.img_prefix, names[i]), reason)
            for i, reason in scores.unreadable.items()
        ]


def _note(taken: Taken, again: list) -> str:
    if len(again) < len(taken.ids):
        return taken.note
    return 'all images taken are labelled already: nothing new is labelled'


def _name(part) -> str:
    return type(part).__name__


def _remove(path: str) -> None:
    with suppress(FileNotFoundError):
        os.unlink(path)


def _load_scores(path: str) -> Optional[Scores]:
    try:
        return Scores.load(path)
    except FileNotFoundError:
        return None
