"""Where in the pool the images lie that queries chose.

"Influence Selection for Active Learning" (ISAL), section 4.5 and figure 5.
"""
from __future__ import annotations

import os.path as osp
import tempfile

from mmal.engine.build import build
from mmal.engine.dataset_config import image_loader
from mmal.engine.round_config import test_pipeline
from mmal.engine.settings import Settings, image_prefix, pool_dataset
from mmal.pool import State, VerifiedImages, load_with_images
from mmal.pool.layout import WorkDir
from mmal.reporting.pool_map import PoolMap, stored_embeddings
from mmal.scores import Scores
from mmal.scoring import ScoringData, Split
from mmal.scoring.embeddings import EmbeddingFile
from mmal.scoring.embeddings.embed import embed_split
from .finished_round import FinishedRound


def selected_map(finished: FinishedRound,
                 kind: str = 'pca',
                 whole: bool = True) -> PoolMap:
    """The pool of a run as the detector of a round sees it.

    The embeddings are those by which the round's query chose; where it kept
    none, the detector looks at all images of the pool once more, by the
    run's embedder or the average of the backbone's last map. The latter is
    shown too where the query's embeddings describe detections, so that their
    places in a plane would tell nothing (PPAL, CDAL, DivProto).

    Args:
        finished (FinishedRound): The round. Images that were chosen after its
            query count as not chosen.
        kind (str): How embeddings are laid out, a key of
            :data:`~mmal.reporting.embedding_map.MAPS`.
        whole (bool): All images, not a sample of those that nobody chose.

    Raises:
        FileNotFoundError: If the round has no checkpoint, or the pool is gone.
        ValueError: If no image of it can be read.
    """
    cfg = finished.run_config()
    settings = Settings.from_config(cfg)
    scorer, embedder = (build(settings, key) for key in ('scorer', 'embedder'))
    source = scorer if scorer.needs_embeddings else embedder
    detected = source is not None and source.embeds is not None
    state = State.load(WorkDir(finished.run).state)
    known = state.rounds[:finished.number + 2]
    rounds = {i: n for n, entry in enumerate(known) for i in entry['ids']}
    if osp.isfile(finished.folder.scores):
        scores = Scores.load(finished.folder.scores)
        if scores.embeddings is not None and not detected:
            return PoolMap.of(
                finished.number, *stored_embeddings(scores, finished.folder),
                rounds, kind, whole)

    model, _ = finished.model()
    pipeline = test_pipeline(cfg)
    images = dict(pool_dataset(cfg, settings), pipeline=pipeline)
    loader = image_loader(pipeline)
    pool = load_with_images(images['ann_file'], image_prefix(images),
                            need_annotations=False, loader=loader)
    unreadable = {image['id'] for image in state.unreadable}
    ids = [i for i in pool.ids if i not in unreadable]
    data = ScoringData(
        dict(pool=Split(images, False, ids, pool.without_annotations())),
        seed=settings.seed,
        round=finished.number,
        check_image=VerifiedImages(loader),
        embedder=None if detected else embedder,
        precision=settings.score_precision,
        **settings.score_dataloader.to_dict())
    with tempfile.TemporaryDirectory() as folder:
        file = EmbeddingFile(osp.join(folder, 'embeddings.npy'))
        ids, rows = embed_split(model, data, 'pool', file)
        if rows is None:
            raise ValueError(f'no image of {pool.path} can be read.')
        return PoolMap.of(finished.number, ids, rows, rounds, kind, whole)
