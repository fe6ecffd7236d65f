"""The first labelled images, chosen by a selector instead of at random."""
from __future__ import annotations

import os.path as osp
from collections.abc import Collection
from itertools import islice

import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device

from mmal.pool import (
    CocoData,
    ImageLoader,
    UnreadableImage,
    VerifiedImages,
)
from mmal.randomness import seeded_uniform
from mmal.scores import Scores
from mmal.scoring import ScoringData
from mmal.scoring.data import Split
from mmal.types import ImageId
from .build import build_from, with_run_seed
from .checks import check_model
from .round_config import test_pipeline
from .settings import KEY, Settings, image_prefix

_KEY = f'{KEY}.initial'


class InitialSelection:
    """``active_learning.initial.selector``: there is no detector yet, so it
    looks at the embeddings of a network that needs no training.

    Making one checks it; :meth:`choose` reads all images of the pool, once
    and in this process alone. The embeddings are held in memory, 4·N·D bytes.

    Args:
        cfg (Config): The run's config.
        settings (Settings): Its ``active_learning`` block.
        coco (CocoData): The pool without annotations.
        dataset (dict): Config of its data set.
        loader (ImageLoader): What images are loaded with.

    Raises:
        ValueError: If selector and embedder cannot work without a detector;
            the message names the key.
    """

    def __init__(self, cfg: Config, settings: Settings, coco: CocoData,
                 dataset: dict, loader: ImageLoader) -> None:
        initial = settings.initial
        self._size = initial.size
        self._seed = settings.seed
        self._coco = coco
        self._prefix = image_prefix(dataset)
        self._selector = build_from(
            'selector', with_run_seed(initial.selector, settings.seed),
            key=f'{_KEY}.selector')
        needs_detector = self._selector.needs_class_scores or \
            self._selector.needs_columns or self._selector.needs_gradients
        if needs_detector or not self._selector.needs_embeddings:
            reads = 'what a scorer takes from a detector' if needs_detector \
                else 'nothing but scores'
            raise ValueError(
                f'{_KEY}.selector is a {type(self._selector).__name__}, which '
                f'reads {reads}, but before the first round there is no '
                'detector: use one that looks at embeddings alone '
                '(mmal.TypiClust, mmal.ProbCover, mmal.KMeansCentres, '
                'mmal.CoreSet), or leave it out for a random draw.')
        # what wants labelled images, or other embeddings, shows at once, and
        # not when the whole pool has been read
        self._order([0], np.ones((1, 2), np.float32))
        embedder = build_from('embedder', initial.embedder,
                              key=f'{_KEY}.embedder')
        self._model = check_model(cfg, dataset)
        try:
            embedder.check(self._model)
        except ValueError as e:
            raise ValueError(f'{_KEY}.embedder: {e}') from e
        if embedder.fingerprint(self._model) is None:
            raise ValueError(
                f'{_KEY}.embedder is a {type(embedder).__name__}, whose '
                'embeddings are those of the detector, which is not trained '
                'yet: use mmal.EmbeddingModel.')
        images = dict(dataset, pipeline=test_pipeline(cfg))
        self._data = ScoringData(
            dict(unlabelled=Split(images, False, images=coco)),
            seed=settings.seed, check_image=VerifiedImages(loader),
            embedder=embedder, **settings.score_dataloader.to_dict())
        self._ids: list[ImageId] = []
        self._rows = np.zeros((0, 0), np.float32)

    def choose(self, unreadable: Collection[ImageId]) -> tuple[
            list[ImageId], list[UnreadableImage]]:
        """Choose among the images that can be read.

        Args:
            unreadable (Collection[int | str]): Those known to be unreadable.

        Returns:
            tuple: The ids, and other images that cannot be read.

        Raises:
            ValueError: If there are too few images.
        """
        known = set(unreadable)
        if not self._ids:
            self._embed([i for i in self._coco.ids if i not in known])
        others = [
            UnreadableImage(i, name, osp.join(self._prefix, name), reason)
            for i, reason in self._data.unreadable['unlabelled'].items()
            if i not in known
            for name in [self._coco.images[i]['file_name']]]
        kept = [n for n, i in enumerate(self._ids) if i not in known]
        if self._size > len(kept):
            raise ValueError(
                f'{_KEY}.size is {self._size} but the pool has only '
                f'{len(kept)} usable images. Lower it.')
        return self._order([self._ids[n] for n in kept],
                           self._rows[kept]), others

    def _order(self, ids: list[ImageId], rows: np.ndarray) -> list[ImageId]:
        """As many of the images as are wanted, best first."""
        scores = Scores(ids, np.ones(len(ids)),
                        seeded_uniform(ids, self._seed, 'initial'))
        selector = self._selector.with_draws(self._size)
        try:
            order = selector.order(scores, rows, rows[:0])
            return list(islice(order, self._size))
        except ValueError as e:
            raise ValueError(f'{_KEY}.selector: {e}') from e

    @torch.no_grad()
    def _embed(self, ids: list[ImageId]) -> None:
        """Embed images that can be read, in the order of the pool."""
        rows: dict[ImageId, np.ndarray] = {}
        model = self._model.to(get_device())
        try:
            with self._data.embedder.attach(model) as extractor:
                for batch in self._data.batches(
                        'unlabelled', model, ids, shard=False,
                        desc='embedding the pool'):
                    extractor.set_batch(batch)
                    rows.update(zip(batch.ids,
                                    extractor.embedding().cpu().numpy()))
        finally:
            self._model.to('cpu')
        self._ids = [i for i in ids if i in rows]
        self._rows = np.array([rows[i] for i in self._ids], np.float32)
