"""What a work folder says, read leniently: a report must not need it all."""
from __future__ import annotations

import ast
import math
import os.path as osp
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Optional

import numpy as np

from mmal.fileio import read_json
from mmal.pool import State, is_box
from mmal.pool.layout import LabelDir, WorkDir
from mmal.scores import Scores
from mmal.types import ImageId
from .curve import Curve
from .pool_map import PoolMap, stored_embeddings
from .score_summary import ScoreSummary, summarise_scores

FIRST_SET = -1


@dataclass(frozen=True)
class Prediction:
    """A box that the detector of a round predicted.

    Args:
        name (str): Its class.
        box (list[float]): ``[x, y, w, h]`` in pixels.
        score (float): In [0, 1].
        std (list[float], optional): Standard deviations of its sides in
            pixels, where the detector predicts them.
    """
    name: str
    box: list[float]
    score: float
    std: Optional[list[float]] = None


@dataclass(frozen=True)
class PoolClasses:
    """The boxes that a detector expects on the unlabelled images.

    Args:
        images (int): How many images these are.
        boxes (dict[str, float]): Class -> the sum of its scores over them.
    """
    images: int
    boxes: dict[str, float]


@dataclass(frozen=True)
class ChosenImage:
    """An image that a query chose.

    Args:
        id (int | str): Its id.
        file_name (str, optional): As in the COCO file.
        labels (list[tuple[str, list[float]]], optional): Class name and box
            ``[x, y, w, h]`` in pixels; None before it is labelled.
        score (float, optional): Its score; None where it was infinite.
        reselected (bool): Whether it was labelled before the query.
        size (tuple[int, int], optional): Width and height in pixels.
        predictions (list[Prediction], optional): What the detector saw that
            chose it, the surest first; None where nobody kept it.
    """
    id: ImageId
    file_name: Optional[str] = None
    labels: Optional[list[tuple[str, list[float]]]] = None
    score: Optional[float] = None
    reselected: bool = False
    size: Optional[tuple[int, int]] = None
    predictions: Optional[list[Prediction]] = None


@dataclass(frozen=True)
class Chosen:
    """What the query at the end of one round chose.

    Args:
        round (int): The round of the query; ``FIRST_SET`` of the images that
            are labelled before any round.
        images (list[ChosenImage]): In the order chosen.
        boxes (int, optional): Boxes on those that are not ``reselected``.
        note (str): A remark of the query.
        by_score (float, optional): The share that a score chose, in [0, 1].
        scores (ScoreSummary, optional): What ``scores.npz`` says of them.
        pool (PoolClasses, optional): What the detector expected on the
            candidates; None where nobody counted it.
    """
    round: int
    images: list[ChosenImage]
    boxes: Optional[int] = None
    note: str = ''
    by_score: Optional[float] = None
    scores: Optional[ScoreSummary] = None
    pool: Optional[PoolClasses] = None

    @property
    def classes(self) -> list[tuple[str, int]]:
        """Class name and number of boxes, the most frequent first;
        reselected images do not count."""
        names = [name for image in self.images if not image.reselected
                 for name, _ in image.labels or ()]
        return sorted(Counter(names).items(), key=lambda x: (-x[1], x[0]))


@dataclass(frozen=True)
class Method:
    """How the queries of a run choose, by its config.

    Args:
        scorer (str): Its type, e.g. ``InfluenceScorer``; '' if unknown. Of a
            ``PerCostScorer`` that of the scorer inside.
        selector (str): Its type.
        per_cost (bool): Scores are divided by what an image costs.
        is_bounded (bool): Targets of classes, or a distance or a number by
            group that the selector keeps, say as well who is chosen.
    """
    scorer: str = ''
    selector: str = ''
    per_cost: bool = False
    is_bounded: bool = False


@dataclass
class Contents:
    """All that a report shows.

    Args:
        name (str): Name of the work folder.
        curve (Curve): Its curve; empty if there is none yet.
        chosen (list[Chosen]): One per query; the first set before them while
            it waits for labels.
        classes (list[str]): In the order of the labels.
        boxes_of_rounds (list[list[int]]): Of each round and class the boxes
            that are labelled by then.
        boxes (list[int]): Of each class all that are labelled by now; a
            round that is still trained has those of its images too.
        map (PoolMap, optional): Where the images lie.
        waits_for (list[int | str]): The images that people must label
            before the run can go on.
        request (str, optional): The file that lists them.
        labels (str, optional): The file in which the run expects the labels.
        unreadable (list[dict]): Unreadable images: id, file_name and reason.
        settings (list[tuple[str, str]]): Facts of the config.
        method (Method): How queries choose.
        img_prefix (str, optional): Folder of the images, by the config.
        problems (list[str]): Files that could not be read.
    """
    name: str
    curve: Curve = field(default_factory=Curve)
    chosen: list[Chosen] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    boxes_of_rounds: list[list[int]] = field(default_factory=list)
    boxes: list[int] = field(default_factory=list)
    map: Optional[PoolMap] = None
    waits_for: list[ImageId] = field(default_factory=list)
    request: Optional[str] = None
    labels: Optional[str] = None
    unreadable: list[dict] = field(default_factory=list)
    settings: list[tuple[str, str]] = field(default_factory=list)
    method: Method = Method()
    img_prefix: Optional[str] = None
    problems: list[str] = field(default_factory=list)


def read_work_folder(work_dir: str, map_kind: str = 'pca') -> Contents:
    """Read what is there of a work folder.

    Args:
        work_dir (str): The folder.
        map_kind (str): How embeddings are laid out, a key of
            :data:`~mmal.reporting.embedding_map.MAPS`. Where that needs what
            is not installed there are principal components, and a note.

    Returns:
        Contents: With gaps where files are missing; a broken file is named
        in its ``problems``.

    Raises:
        FileNotFoundError: If there is no such folder.
    """
    work = WorkDir(work_dir)
    if not osp.isdir(work_dir):
        raise FileNotFoundError(
            f'there is no work folder {work_dir}: give the folder that '
            f'holds {osp.basename(work.curve)}.')
    contents = Contents(osp.basename(osp.abspath(work_dir)))
    files = _LenientReader(work_dir, contents.problems)
    contents.curve = files.read(work.curve, Curve.load) or Curve()

    state: Optional[State] = files.read(work.state, State.load)
    cfg = files.read(work.config, _load_config) or files.read(
        work.round(0).config, _load_config) or {}
    # the pool and the seed that were used stand in the state
    facts = _facts(cfg) if cfg else {}
    if state is not None:
        contents.unreadable = state.unreadable
        facts.update(pool=f'{state.num_images:,} images', seed=str(state.seed))
    contents.settings = list(facts.items())
    block = _dict_at(cfg, 'active_learning')
    scorer, selector = _dict_at(block, 'scorer'), _dict_at(block, 'selector')
    per_cost = _type_of(scorer) == 'PerCostScorer'
    contents.method = Method(
        _type_of(scorer.get('scorer') if per_cost else scorer),
        _type_of(selector), per_cost, bool(
            _dict_at(block, 'budget').get('targets') or block.get('spacing')))
    contents.img_prefix = _image_folder(cfg)

    # The newest file that can be read has the images of all rounds before.
    numbers = work.round_numbers()
    newest, labelled = None, _Labelled({}, [])
    for newest in reversed(numbers):
        content = files.read(work.round(newest).labelled, _read_labelled)
        if content is not None:
            labelled = content
            break
    images, names = labelled.images, labelled.names
    contents.classes = labelled.classes
    counts = Counter(name for image in images.values()
                     for name, _ in image.labels)
    contents.boxes = [counts[name] for name in labelled.classes]

    folder = _dict_at(block, 'oracle').get('folder')
    asked = LabelDir(folder) if folder else work.labels
    # the request of a round stays where it is when it was answered
    if state and state.rounds and state.stopped is None and not osp.exists(
            work.round(len(state.rounds) - 1).labelled):
        request = files.read(asked.request, _read_labelled)
        if request is not None:
            contents.waits_for = [i for i in state.rounds[-1]['ids']
                                  if i in request.images]
        if contents.waits_for:  # else the file is an older request
            # of the folder, where that tells enough: it may move
            contents.request, contents.labels = (
                path if folder else osp.relpath(path, work_dir)
                for path in (asked.request, asked.labels))
            contents.classes = contents.classes or request.classes
            names = names or request.names
            images = {**{i: replace(image, labels=None)
                         for i, image in request.images.items()}, **images}

    embedded: Optional[tuple[int, Scores]] = None
    for n in numbers:
        paths = work.round(n)
        query = files.read(paths.selected, partial(
            _read_chosen, number=n, images=images))
        scores, summary = files.read(paths.scores, partial(
            _read_scores, chosen=query, classes=contents.classes)) or (
                None, None)
        if scores is not None and len(scores) and \
                scores.embeddings is not None:
            embedded = n, scores
        if query is None:
            continue
        predictions = files.read(paths.predictions, partial(
            _read_predictions, names=names))
        if predictions is not None:
            query = replace(query, images=[
                replace(image, predictions=predictions.get(image.id, []))
                for image in query.images])
        contents.chosen.append(replace(
            query, scores=summary,
            pool=files.read(paths.class_boxes, _read_class_boxes)))
    known = {image.id for chosen in contents.chosen for image in chosen.images}
    first = [images[i] for i in contents.waits_for if i not in known]
    if first:
        contents.chosen.insert(0, Chosen(FIRST_SET, first))

    if state is not None:
        rounds = {i: n for n, entry in enumerate(state.rounds)
                  for i in entry['ids']}
        contents.boxes_of_rounds = _boxes_of_rounds(
            labelled, rounds, len(contents.curve))
        # An image that turned out to be unreadable was trained on before,
        # and is not in the newest file: each round's own is counted.
        if any('from_round' in image for image in state.unreadable):
            for n, row in enumerate(contents.boxes_of_rounds):
                own = labelled if n == newest else files.read(
                    work.round(n).labelled, _read_labelled)
                if own is not None:
                    counts = Counter(name for image in own.images.values()
                                     for name, _ in image.labels)
                    row[:] = [counts[name] for name in labelled.classes]
        if embedded is not None:
            n, scores = embedded
            known = list(labelled.images) if n == newest else None
            contents.map = files.attempt(
                work.round(n).scores, lambda: PoolMap.of(
                    n, *stored_embeddings(scores, work.round(n), known),
                    rounds, map_kind))
    return contents


class _LenientReader:
    """Reads files of a work folder; one that is broken becomes a problem.

    Args:
        folder (str): The work folder.
        problems (list[str]): Where problems are noted.
    """

    def __init__(self, folder: str, problems: list[str]) -> None:
        self.folder = folder
        self.problems = problems

    def read(self, path: str, load: Callable[[str], Any]) -> Any:
        """What ``load`` gives; None if the file is missing or broken."""
        return self.attempt(path, partial(load, path)) \
            if osp.isfile(path) else None

    def attempt(self, path: str, make: Callable[[], Any]) -> Any:
        """What ``make`` gives of the file; None if it is broken."""
        try:
            return make()
        except Exception as e:  # files of any form raise all there is
            name = osp.relpath(path, self.folder)
            reason = e if isinstance(e, (ValueError, OSError)) else \
                f'of another form ({type(e).__name__}: {e})'
            # the page may be sent to others: it does not say where this is
            problem = f'{name}: ' + str(reason).replace(
                osp.join(self.folder, ''), '')
            if problem not in self.problems:  # it may be read for two ends
                self.problems.append(problem)
            return None


@dataclass(frozen=True)
class _Labelled:
    """A COCO file: images by id, class names, and the names by category."""
    images: dict[ImageId, ChosenImage]
    classes: list[str]
    names: dict[ImageId, str] = field(default_factory=dict)


def _load_config(path: str) -> dict[str, Any]:
    """A config that mmengine has dumped, as data.

    It is a program, and the folder may be another person's: nothing in it is
    executed. What is no plain value is given as its text.
    """
    with open(path, encoding='utf-8') as f:
        tree = ast.parse(f.read())
    return {target.id: _plain_value(node.value)
            for node in tree.body if isinstance(node, ast.Assign)
            for target in node.targets if isinstance(target, ast.Name)}


def _plain_value(node: ast.expr) -> Any:
    if isinstance(node, ast.Call) and ast.unparse(node.func) == 'dict' and \
            not node.args and all(k.arg for k in node.keywords):
        return {k.arg: _plain_value(k.value) for k in node.keywords}
    if isinstance(node, ast.Dict) and all(
            isinstance(k, ast.Constant) for k in node.keys):
        return {k.value: _plain_value(v)
                for k, v in zip(node.keys, node.values)}
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_plain_value(v) for v in node.elts]
    try:
        return ast.literal_eval(node)
    except ValueError:
        return ast.unparse(node)


def _read_chosen(path: str, number: int,
                 images: Mapping[ImageId, ChosenImage]) -> Optional[Chosen]:
    """What the query of a round chose; None if nothing."""
    selected = read_json(path)
    if not selected:
        return None
    ids = selected.get('ids') or []
    scores = list(selected.get('scores') or [])
    scores += [None] * (len(ids) - len(scores))
    names = list(selected.get('file_names') or [])
    names += [None] * (len(ids) - len(names))
    reselected = set(selected.get('reselected') or ())
    # people have yet to label those of the last query
    chosen = [
        replace(
            images.get(image_id) or ChosenImage(image_id, name),
            score=score,
            reselected=image_id in reselected)
        for image_id, name, score in zip(ids, names, scores)
    ]
    return Chosen(number, chosen, selected.get('boxes'),
                  selected.get('note') or '', selected.get('by_score'))


def _read_scores(path: str, chosen: Optional[Chosen],
                 classes: list[str]) -> tuple[Scores, ScoreSummary]:
    scores = Scores.load(path)
    ids = [image.id for image in chosen.images] if chosen else []
    return scores, summarise_scores(scores, ids, classes)


def _read_predictions(path: str, names: Mapping[ImageId, str]
                      ) -> dict[ImageId, list[Prediction]]:
    """COCO results by image, the surest first."""
    found: dict[ImageId, list[Prediction]] = {}
    for entry in read_json(path):
        category, box = entry['category_id'], entry['bbox']
        values = [*box, entry['score']]
        if len(values) != 5 or not all(map(_is_number, values)):
            raise ValueError(f'a prediction has the bbox {box!r} and the '
                             f'score {entry["score"]!r}: five numbers are '
                             'needed.')
        std = entry.get('bbox_std')
        if not (isinstance(std, list) and all(map(_is_number, std))):
            std = None
        found.setdefault(entry['image_id'], []).append(
            Prediction(names.get(category, str(category)),
                       [float(v) for v in box], float(entry['score']), std))
    return {image: sorted(predictions, key=lambda p: -p.score)
            for image, predictions in found.items()}


def _read_class_boxes(path: str) -> PoolClasses:
    content = read_json(path)
    boxes = {str(name): float(v) for name, v in content['boxes'].items()}
    if not all(math.isfinite(v) and v >= 0 for v in boxes.values()):
        raise ValueError('boxes are no numbers of at least 0.')
    return PoolClasses(int(content['images']), boxes)


def _read_labelled(path: str) -> _Labelled:
    """A COCO file with its labels, by image."""
    coco = read_json(path)
    # a name may be a number, and is a text everywhere else
    names = {c['id']: str(c['name']) for c in coco.get('categories', [])}
    images = {
        i['id']: ChosenImage(i['id'], i.get('file_name'), [], size=_size_of(i))
        for i in coco.get('images', [])
    }
    for annotation in coco.get('annotations', []):
        image = images.get(annotation['image_id'])
        if image is not None and is_box(annotation):
            category = annotation['category_id']
            label = names.get(category, str(category))
            image.labels.append((label, annotation['bbox']))
    return _Labelled(images, list(names.values()), names)


def _size_of(image: Mapping) -> Optional[tuple[int, int]]:
    size = image.get('width'), image.get('height')
    return size if all(_is_number(v) and v > 0 for v in size) else None


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _boxes_of_rounds(labelled: _Labelled, rounds: Mapping[ImageId, int],
                     number: int) -> list[list[int]]:
    """Boxes by round and class, cumulated; from one file, which has the
    images of all rounds."""
    position = {name: i for i, name in enumerate(labelled.classes)}
    counts = np.zeros((number, len(position)), dtype=np.int64)
    for image in labelled.images.values():
        first = rounds.get(image.id)
        if first is not None and first < number:
            for name, _ in image.labels:
                if name in position:
                    counts[first, position[name]] += 1
    return counts.cumsum(0).tolist()


def _image_folder(cfg: Mapping) -> Optional[str]:
    """The folder of the training images, by a config; None if it is not
    plain to see. Before the first round is done no other file knows it."""
    data = _dict_at(_dict_at(cfg, 'train_dataloader'), 'dataset')
    while _dict_at(data, 'dataset'):
        data = data['dataset']
    data = {**data, **_dict_at(_dict_at(cfg, 'active_learning'), 'data')}
    root, prefix = data.get('data_root') or '', _dict_at(data, 'data_prefix')
    folder = prefix.get('img') or prefix.get('img_path') or ''
    return osp.join(root, folder) if root or folder else None


def _dict_at(value: Mapping, key: str) -> Mapping:
    """A dict in a config; empty where it has none of this name."""
    found = value.get(key)
    return found if isinstance(found, Mapping) else {}


def _type_of(part: Any) -> str:
    """``TopN`` of ``dict(type='mmal.TopN')``."""
    kind = part.get('type') if hasattr(part, 'get') else None
    return str(kind or '').rpartition('.')[2]


def _facts(cfg: Mapping) -> dict[str, str]:
    """What a reader wants to know of a config, in the order shown.

    Args:
        cfg (Mapping): An mmdet config, with or without ``active_learning``.

    Returns:
        dict[str, str]: Name of the fact -> its value; what the config does
        not say is left out.
    """
    model, block, train, loader = (_dict_at(cfg, key) for key in (
        'model', 'active_learning', 'train_cfg', 'train_dataloader'))
    amounts = ((train.get('max_epochs'), 'epochs'),
               (train.get('max_iters'), 'iterations'),
               (loader.get('batch_size'), 'images a batch'))
    backbone = _dict_at(model, 'backbone').get('type')
    facts = {
        'detector': ', '.join(filter(None, (model.get('type'), backbone))),
        'training of a round': ', '.join(
            f'{number:,} {unit}' if _is_number(number) else f'{number} {unit}'
            for number, unit in amounts if number is not None),
    }
    names = {
        'initial': 'first labelled set',
        'budget': 'budget of a query',
        'candidates': 'candidates',
        'rounds': 'rounds',
        'target': 'target',
        'scorer': 'scorer',
        'committee': 'committee',
        'selector': 'selector',
        'oracle': 'oracle',
    }
    facts.update((name, _spoken(block.get(key)))
                 for key, name in names.items())
    return {name: value for name, value in facts.items() if value}


def _spoken(value: Any) -> str:
    """A config value as text: ``mmal.TopN``, ``size=500, unit=images``."""
    if value is None:
        return ''
    if not hasattr(value, 'items'):
        return str(value)
    # what is of the registries says nothing to a reader
    parts = [str(value['type'])] if 'type' in value else []
    for key, item in value.items():
        if key not in ('type', '_scope_'):
            text = f'({_spoken(item)})' if hasattr(item, 'items') else item
            parts.append(f'{key}={text}')
    return ', '.join(parts)
