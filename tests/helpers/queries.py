"""Queries whose scores are there already, so that no detector is needed."""
import os

from mmal.engine.query import Query
from mmal.engine.query_result import QueryResult
from mmal.engine.settings import Settings
from mmal.pool import CocoData, Pool, load_coco, write_labelled
from mmal.pool.layout import RoundDir
from mmal.scores import Scores
from mmal.scoring.data import Split


def prepare(root: str, coco: CocoData, scores: Scores, labelled: list) -> None:
    """Write what an interrupted query of a round has left.

    Args:
        root (str): The folder of the round.
        coco (CocoData): The pool.
        scores (Scores): Of the candidates.
        labelled (list): Ids of the labelled images.
    """
    pool = Pool(coco.ids)
    pool.commit(labelled, 0)
    files = RoundDir(root)
    write_labelled(files, coco, pool, coco.annotations_of(labelled))
    scores.save(files.scores)


def ask(root: str, coco: CocoData, oracle, round: int = 0,
        **block) -> QueryResult:
    """Choose by the scores in a folder.

    Args:
        root (str): See :func:`prepare`.
        coco (CocoData): The pool; its images are in ``images`` beside it.
        oracle (BaseOracle, optional): None where no process may know.
        round (int): The round.
        **block: Keys of ``active_learning``.
    """
    files = RoundDir(root)
    images = os.path.join(os.path.dirname(coco.path), 'images')
    names = tuple(c['name'] for c in coco.categories)
    dataset = dict(
        type='mmdet.CocoDataset', data_prefix=dict(img=images),
        pipeline=[dict(type='LoadImageFromFile')],
        metainfo=dict(classes=names))
    settings = Settings(data=dict(ann_file=coco.path), **block)
    pool = coco.without_annotations()
    labelled = set(load_coco(files.labelled).ids)
    left = [i for i in coco.ids if i not in labelled]
    splits = dict(
        unlabelled=Split(dataset, False, left, pool),
        candidates=Split(dataset, False, images=pool),
        labelled=Split(dict(dataset, ann_file=files.labelled), True))
    query = Query(settings, pool, images)
    return query.run(None, splits, round, files, oracle)
