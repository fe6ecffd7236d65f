"""What a work folder says, read leniently: a report must not need it all."""
from __future__ import annotations

import os.path as osp
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Optional

from mmal.fileio import read_json
from mmal.pool import State, is_box
from mmal.pool.layout import WorkDir
from mmal.types import ImageId
from .curve import Curve


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
    """
    id: ImageId
    file_name: Optional[str] = None
    labels: Optional[list[tuple[str, list[float]]]] = None
    score: Optional[float] = None
    reselected: bool = False


@dataclass
class Chosen:
    """What the query at the end of one round chose.

    Args:
        round (int): The round of the query.
        images (list[ChosenImage]): In the order chosen.
        boxes (int, optional): Boxes on those that are not ``reselected``.
        note (str): A remark of the query.
    """
    round: int
    images: list[ChosenImage]
    boxes: Optional[int] = None
    note: str = ''

    @property
    def classes(self) -> list[tuple[str, int]]:
        """Class name and number of boxes, the most frequent first;
        reselected images do not count."""
        names = [name for image in self.images if not image.reselected
                 for name, _ in image.labels or ()]
        return sorted(Counter(names).items(), key=lambda x: (-x[1], x[0]))


@dataclass
class Contents:
    """All that a report shows.

    Args:
        name (str): Name of the work folder.
        curve (Curve): Its curve; empty if there is none yet.
        chosen (list[Chosen]): One per query.
        unreadable (list[dict]): Unreadable images: id, file_name and reason.
        settings (list[tuple[str, str]]): Facts of the config.
        problems (list[str]): Files that could not be read.
    """
    name: str
    curve: Curve = field(default_factory=Curve)
    chosen: list[Chosen] = field(default_factory=list)
    unreadable: list[dict] = field(default_factory=list)
    settings: list[tuple[str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def read_work_folder(work_dir: str) -> Contents:
    """Read what is there of a work folder.

    Args:
        work_dir (str): The folder.

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
    # here, since only the page of one run needs it, and tables do not
    from mmengine.config import Config
    load_config = partial(Config.fromfile, import_custom_modules=False)
    cfg = files.read(work.config, load_config) or files.read(
        work.round(0).config, load_config)
    # the pool and the seed that were used stand in the state
    facts = _facts(cfg) if cfg else {}
    if state is not None:
        contents.unreadable = state.unreadable
        facts.update(pool=f'{state.num_images:,} images', seed=str(state.seed))
    contents.settings = list(facts.items())

    # The newest file that can be read has the images of all rounds before.
    numbers = work.round_numbers()
    images = next(
        filter(None, (files.read(
            work.round(n).labelled, lambda p: _labelled_images(read_json(p)))
            for n in reversed(numbers))), {})
    contents.chosen = [
        query for query in (files.read(
            work.round(n).selected,
            partial(_read_chosen, number=n, images=images))
            for n in numbers) if query is not None]
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
        if not osp.isfile(path):
            return None
        try:
            return load(path)
        except Exception as e:  # a config is python code, which raises all
            name = osp.relpath(path, self.folder)
            reason = e if isinstance(e, (ValueError, OSError)) else \
                f'of another form ({type(e).__name__}: {e})'
            self.problems.append(f'{name}: {reason}')
            return None


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
                  selected.get('note') or '')


def _labelled_images(coco: Mapping) -> dict[ImageId, ChosenImage]:
    """The images of a COCO file with their labels, by id."""
    names = {c['id']: c['name'] for c in coco.get('categories', [])}
    images = {
        i['id']: ChosenImage(i['id'], i.get('file_name'), [])
        for i in coco.get('images', [])
    }
    for annotation in coco.get('annotations', []):
        image = images.get(annotation['image_id'])
        if image is not None and is_box(annotation):
            category = annotation['category_id']
            label = names.get(category, str(category))
            image.labels.append((label, annotation['bbox']))
    return images


def _facts(cfg: Mapping) -> dict[str, str]:
    """What a reader wants to know of a config, in the order shown.

    Args:
        cfg (Mapping): An mmdet config, with or without ``active_learning``.

    Returns:
        dict[str, str]: Name of the fact -> its value; what the config does
        not say is left out.
    """
    model = cfg.get('model') or {}
    block = cfg.get('active_learning') or {}
    train = cfg.get('train_cfg') or {}
    loader = cfg.get('train_dataloader') or {}
    amounts = ((train.get('max_epochs'), 'epochs'),
               (train.get('max_iters'), 'iterations'),
               (loader.get('batch_size'), 'images a batch'))
    backbone = (model.get('backbone') or {}).get('type')
    facts = {
        'detector': ', '.join(filter(None, (model.get('type'), backbone))),
        'training of a round': ', '.join(
            f'{number:,} {unit}' for number, unit in amounts
            if number is not None),
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
    parts = [str(value['type'])] if 'type' in value else []
    for key, item in value.items():
        if key != 'type':
            text = f'({_spoken(item)})' if hasattr(item, 'items') else item
            parts.append(f'{key}={text}')
    return ', '.join(parts)
