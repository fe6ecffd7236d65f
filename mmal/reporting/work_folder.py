"""What a work folder says, read leniently: a report must not need it all."""
import os.path as osp
import re
from collections import Counter
from dataclasses import dataclass, field
from glob import escape, glob
from typing import Any, Dict, List, Optional, Tuple

from mmal.fileio import read_json
from .curve import FILE_NAME, Curve


@dataclass
class ChosenImage:
    """An image that a query chose.

    Args:
        id (int | str): Its id.
        score (float, optional): Its score; None where it was infinite.
        file_name (str, optional): As in the COCO file.
        labels (list[tuple[str, list[float]]], optional): Class name and box
            ``[x, y, w, h]`` in pixels; None before it is labelled.
        reselected (bool): Whether it was labelled before and is taken again.
    """
    id: Any
    score: Optional[float] = None
    file_name: Optional[str] = None
    labels: Optional[List[Tuple[str, List[float]]]] = None
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
    images: List[ChosenImage]
    boxes: Optional[int] = None
    note: str = ''

    @property
    def classes(self) -> List[Tuple[str, int]]:
        """Class name and number of boxes, the most frequent first; images
        taken again do not count."""
        names = [n for image in self.images if not image.reselected
                 for n, _ in image.labels or ()]
        return sorted(Counter(names).items(), key=lambda x: (-x[1], x[0]))


@dataclass
class Contents:
    """All that a report shows.

    Args:
        name (str): Name of the work folder.
        curve (Curve): Its curve; empty if there is none yet.
        chosen (list[Chosen]): One per query.
        unreadable (list[dict]): Unusable images: id, file_name and reason.
        settings (list[tuple[str, str]]): Facts of the config.
        problems (list[str]): Files that could not be read.
    """
    name: str
    curve: Curve = field(default_factory=Curve)
    chosen: List[Chosen] = field(default_factory=list)
    unreadable: List[Dict] = field(default_factory=list)
    settings: List[Tuple[str, str]] = field(default_factory=list)
    problems: List[str] = field(default_factory=list)


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
    if not osp.isdir(work_dir):
        raise FileNotFoundError(
            f'there is no work folder {work_dir}: give the folder that '
            f'holds {FILE_NAME}.')
    return _Reader(work_dir).read()


class _Reader:

    def __init__(self, work_dir: str) -> None:
        self.work_dir = work_dir
        self.out = Contents(osp.basename(osp.abspath(work_dir)))

    def read(self) -> Contents:
        out = self.out
        out.curve = self._try(Curve.load, FILE_NAME) or Curve()
        state = self._json('state.json') or {}
        out.unreadable = list(state.get('unreadable') or [])
        out.settings = self._settings(state)
        rounds = self._rounds()
        infos = self._labelled(rounds)
        for name in rounds:
            chosen = self._chosen(name, infos)
            if chosen is not None:
                out.chosen.append(chosen)
        return out

    def _try(self, load, *parts: str) -> Any:
        path = osp.join(self.work_dir, *parts)
        if not osp.isfile(path):
            return None
        try:
            return load(path)
        except Exception as e:
            self.out.problems.append(f'{osp.join(*parts)}: {e}')
            return None

    def _json(self, *parts: str) -> Optional[Dict]:
        content = self._try(read_json, *parts)
        if content is not None and not isinstance(content, dict):
            self.out.problems.append(f'{osp.join(*parts)}: not an object')
            return None
        return content

    def _rounds(self) -> List[str]:
        found = glob(osp.join(escape(self.work_dir), 'round_*'))
        names = [osp.basename(p) for p in found]
        names = [n for n in names if re.fullmatch(r'round_\d+', n)]
        return sorted(names, key=_round_number)

    def _labelled(self, rounds: List[str]) -> Dict:
        """Image id -> :class:`ChosenImage` of all that is labelled.

        The newest file holds the images of all rounds before.
        """
        for name in reversed(rounds):
            coco = self._json(name, 'labelled.json')
            if coco:
                return _labelled_images(coco)
        return {}

    def _chosen(self, name: str, infos: Dict) -> Optional[Chosen]:
        selected = self._json(name, 'selected.json')
        if not selected:
            return None
        ids = selected.get('ids') or []
        scores = list(selected.get('scores') or [])
        scores += [None] * (len(ids) - len(scores))
        if any(i not in infos for i in ids):
            infos = {**self._unlabelled(name), **infos}
        again = set(selected.get('reselected') or ())
        images = []
        for image_id, score in zip(ids, scores):
            known = infos.get(image_id) or ChosenImage(image_id)
            images.append(
                ChosenImage(image_id, score, known.file_name, known.labels,
                            image_id in again))
        return Chosen(
            _round_number(name), images, selected.get('boxes'),
            selected.get('note') or '')

    def _unlabelled(self, name: str) -> Dict:
        coco = self._json(name, 'unlabelled.json') or {}
        return {
            i['id']: ChosenImage(i['id'], file_name=i.get('file_name'))
            for i in coco.get('images', [])
        }

    def _settings(self, state: Dict) -> List[Tuple[str, str]]:
        cfg = None
        for parts in (('config.py', ), ('round_00', 'config.py')):
            cfg = cfg or self._try(_load_config, *parts)
        facts = _facts(cfg) if cfg else {}
        if 'num_images' in state:
            facts['pool'] = f'{state["num_images"]:,} images'
        if 'seed' in state:
            facts['seed'] = str(state['seed'])
        return list(facts.items())


def _round_number(name: str) -> int:
    return int(name.split('_')[1])


def _labelled_images(coco: Dict) -> Dict:
    names = {c['id']: c['name'] for c in coco.get('categories', [])}
    images = {
        i['id']: ChosenImage(i['id'], None, i.get('file_name'), [])
        for i in coco.get('images', [])
    }
    for ann in coco.get('annotations', []):
        image = images.get(ann['image_id'])
        is_box = not (ann.get('iscrowd') or ann.get('ignore'))
        if image is not None and is_box:
            label = names.get(ann['category_id'], str(ann['category_id']))
            image.labels.append((label, ann['bbox']))
    return images


def _load_config(path: str) -> Any:
    from mmengine.config import Config
    return Config.fromfile(path, import_custom_modules=False)


def _facts(cfg: Any) -> Dict[str, str]:
    """What a reader wants to know of a config, in the order shown."""
    model = cfg.get('model') or {}
    backbone = (model.get('backbone') or {}).get('type')
    block = cfg.get('active_learning') or {}
    train = cfg.get('train_cfg') or {}
    loader = cfg.get('train_dataloader') or {}
    facts = {
        'detector': _join(model.get('type'), backbone),
        'training of a round': _join(
            _amount(train.get('max_epochs'), 'epochs'),
            _amount(train.get('max_iters'), 'iterations'),
            _amount(loader.get('batch_size'), 'images a batch')),
        'first labelled set': _plain(block.get('initial')),
        'budget of a query': _plain(block.get('budget')),
        'candidates': _plain(block.get('candidates')),
        'rounds': _plain(block.get('rounds')),
        'target': _plain(block.get('target')),
        'scorer': _plain(block.get('scorer')),
        'committee': _plain(block.get('committee')),
        'selector': _plain(block.get('selector')),
        'oracle': _plain(block.get('oracle')),
    }
    return {k: v for k, v in facts.items() if v}


def _plain(value: Any) -> str:
    """A config value as text: ``mmal.TopN``, ``size=500, unit=images``."""
    if value is None:
        return ''
    if not hasattr(value, 'items'):
        return str(value)
    parts = [str(value['type'])] if 'type' in value else []
    for key, item in value.items():
        if key != 'type':
            text = f'({_plain(item)})' if hasattr(item, 'items') else str(item)
            parts.append(f'{key}={text}')
    return ', '.join(parts)


def _amount(number: Any, unit: str) -> Optional[str]:
    return None if number is None else f'{number:,} {unit}'


def _join(*parts: Optional[str]) -> str:
    return ', '.join(p for p in parts if p)
