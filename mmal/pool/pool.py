"""Which images are labelled: the one truth that a run resumes from."""
from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Optional

from mmal.fileio import read_json, write_json
from mmal.randomness import seeded_order
from mmal.types import ImageId
from .coco import some
from .images import UnreadableImage

STATE_VERSION = 3


class Pool:
    """The image ids of a data set and the rounds they were labelled in.

    Every image is in exactly one of three sets: labelled, unlabelled,
    unreadable. Images leave the unlabelled set, and a labelled one that
    breaks is quarantined: unreadable from a round on, and still labelled in
    the rounds before. No image comes back. A round may also reselect labelled
    images, which moves none. It knows ids alone: no models, no scores, no
    annotations.

    Args:
        ids (Iterable[int | str]): All image ids, in the order of the file.

    Raises:
        ValueError: If there is no id, or one comes twice.

    Examples:
        >>> pool = Pool([11, 12, 13, 14])
        >>> pool.commit([13])
        0
        >>> pool.commit([14, 11])
        1
        >>> pool.labelled(0), pool.labelled(), pool.unlabelled()
        ([13], [11, 13, 14], [12])
    """

    def __init__(self, ids: Iterable[ImageId]) -> None:
        self._ids = list(ids)
        # Finds the file's own id for an equal one: numpy's 7 equals 7, but
        # JSON cannot hold it.
        self._known = {i: i for i in self._ids}
        if not self._ids:
            raise ValueError('the pool is empty: its COCO file lists no '
                             'images. Give one with at least one image.')
        if len(self._known) != len(self._ids):
            raise ValueError('the pool holds an image id more than once: '
                             'give every image its own id.')
        self._rounds: list[list[ImageId]] = []
        self._reselected: list[list[ImageId]] = []
        self._seeds: list[Optional[int]] = []
        self._round_of: dict[ImageId, int] = {}
        self._unreadable: dict[ImageId, UnreadableImage] = {}
        self._quarantined: dict[ImageId, int] = {}  # id -> first round without

    @property
    def num_rounds(self) -> int:
        """Rounds committed; the initial set is the first one."""
        return len(self._rounds)

    def labelled(self, round: Optional[int] = None) -> list[ImageId]:
        """Ids that a round trains on: labelled in rounds 0 to ``round``, and
        not quarantined by then.

        Args:
            round (int, optional): From 0. Default: the latest.

        Returns:
            list[int | str]: In the order of the file.

        Raises:
            IndexError: If that round was not committed yet.
        """
        last = self._check_round(round)
        return [
            i for i in self._ids
            if self._round_of.get(i, last + 1) <= last
            and self._quarantined.get(i, last + 1) > last
        ]

    def unlabelled(self, round: Optional[int] = None) -> list[ImageId]:
        """Ids that were left at the start of a round, without unreadable ones.

        Args:
            round (int, optional): From 0. Default: the latest.

        Returns:
            list[int | str]: In the order of the file.
        """
        last = self._check_round(round)
        return [
            i for i in self._ids
            if (i not in self._unreadable or i in self._quarantined)
            and self._round_of.get(i, last + 1) > last
        ]

    def repeat_counts(self, round: Optional[int] = None) -> dict[ImageId, int]:
        """How often labelled images were reselected, up to a round.

        Args:
            round (int, optional): From 0. Default: the latest.

        Returns:
            dict[int | str, int]: Id to a number above 0, in the order of the
            file. Training shows the image once and so often again.

        Raises:
            IndexError: If that round was not committed yet.
        """
        last = self._check_round(round)
        times = Counter(i for r in self._reselected[:last + 1] for i in r)
        return {i: times[i] for i in self.labelled(last) if i in times}

    def commit(self,
               ids: Iterable[ImageId],
               seed: Optional[int] = None,
               reselected: Iterable[ImageId] = ()) -> int:
        """Move images to the labelled set as a new round, all or none.

        Args:
            ids (Iterable[int | str]): Unlabelled ids, in the order chosen.
            seed (int, optional): The seed they were chosen with.
            reselected (Iterable[int | str]): Reselected ids.

        Returns:
            int: The number of the new round.

        Raises:
            ValueError: If there is no image at all, one comes twice or is
                unknown, one of ``ids`` is labelled already or unreadable, or
                one of ``reselected`` is not labelled. Nothing is changed then.
        """
        ids, reselected = self._lookup(ids), self._lookup(reselected)
        new = len(self._rounds)
        if not ids and not reselected:
            raise ValueError(f'round {new} would add no image to the pool: '
                             'select at least one.')
        for chosen in (ids, reselected):
            times = Counter(chosen)
            duplicates = [i for i in chosen if times[i] > 1]
            if duplicates:
                raise ValueError(f'round {new} holds an image twice: '
                                 f'{some(duplicates)}.')
        self._check_unlabelled(ids, f'cannot be labelled in round {new}')
        labelled = set(self.labelled())
        unlabelled = [i for i in reselected if i not in labelled]
        if unlabelled:
            raise ValueError(
                f'images {some(unlabelled)} cannot be reselected in round '
                f'{new}: they are not labelled.')
        # Nothing can fail from here on: a round is committed as a whole.
        self._rounds.append(ids)
        self._reselected.append(reselected)
        self._seeds.append(None if seed is None else int(seed))
        self._round_of.update(dict.fromkeys(ids, new))
        return new

    def set_unreadable(self, images: Iterable[UnreadableImage]) -> None:
        """Take unreadable images out of the pool; they keep their reason.

        Args:
            images (Iterable[UnreadableImage]): Unlabelled images. One that is
                known to be unreadable is passed over.

        Raises:
            ValueError: If an id is unknown or labelled already. Nothing is
                changed then.
        """
        # Of an image that two checks found unreadable the first reason stays.
        new = {self._lookup([image.id])[0]: image for image in images}
        new = {i: image for i, image in new.items()
               if i not in self._unreadable}
        self._check_unlabelled(list(new), 'cannot be called unreadable')
        self._unreadable.update(new)

    def quarantine(self,
                   images: Iterable[UnreadableImage],
                   round: Optional[int] = None) -> None:
        """Leave labelled images that broke out of a round and those after it.

        Args:
            images (Iterable[UnreadableImage]): Labelled images, not
                quarantined yet.
            round (int, optional): The first round without them. Default: the
                latest.

        Raises:
            ValueError: If one is not among the round's labelled images.
                Nothing is changed then.
            IndexError: If that round was not committed yet.
        """
        first = self._check_round(round)
        new = {self._lookup([image.id])[0]: image for image in images}
        others = set(new).difference(self.labelled(first))
        if others:
            raise ValueError(
                f'images {some(others)} cannot be quarantined in round '
                f'{first}: they are not labelled then.')
        self._unreadable.update(new)
        self._quarantined.update(dict.fromkeys(new, first))

    def to_state(self,
                 config_hash: str,
                 seed: int,
                 stopped: Optional[str] = None,
                 **meta: Any) -> State:
        """Everything a resumed run needs; see :class:`State`."""
        rounds = []
        for ids, chosen_with, reselected in zip(self._rounds, self._seeds,
                                                self._reselected):
            rounds.append(dict(ids=list(ids), seed=chosen_with))
            if reselected:
                rounds[-1]['reselected'] = list(reselected)
        unreadable = [asdict(image) for image in self._unreadable.values()]
        for image in unreadable:
            if image['id'] in self._quarantined:
                image['from_round'] = self._quarantined[image['id']]
        return State(config_hash, int(seed), len(self._ids), rounds,
                     unreadable, stopped, meta)

    @classmethod
    def from_state(cls, state: State, ids: Iterable[ImageId]) -> Pool:
        """The pool a state was made of.

        Args:
            state (State): A saved state.
            ids (Iterable[int | str]): All ids of the same COCO file, which
                may list more images by now, and need not list those that
                nobody chose.

        Raises:
            ValueError: If the file's images are not those of the state, or
                the state contradicts itself.
        """
        pool = cls(ids)
        try:
            chosen = {i for r in state.rounds for i in r['ids']}
        except TypeError as e:
            raise _corrupt('the state of the pool', str(e)) from e
        # photos may come and go while a run is under way
        lost = sorted(chosen.difference(pool._ids), key=repr)
        if lost:
            raise ValueError(
                f'{len(lost):,} images of the run are no longer listed by '
                f'its COCO file: the ids {some(lost)}. It listed '
                f'{state.num_images} images and lists {len(pool._ids)} now. '
                'Restore the file as it was, or start again in another work '
                'folder.')
        try:
            for r in state.rounds:
                pool.commit(r['ids'], r['seed'], r.get('reselected', ()))
            for image in state.unreadable:
                if image['id'] not in pool._known:
                    continue
                fields = dict(image)
                first = fields.pop('from_round', None)
                if first is None:
                    pool.set_unreadable([UnreadableImage(**fields)])
                else:
                    pool.quarantine([UnreadableImage(**fields)], first)
        except (IndexError, TypeError, ValueError) as e:
            raise _corrupt('the state of the pool', str(e)) from e
        return pool

    def save(self,
             path: str,
             config_hash: str,
             seed: int,
             stopped: Optional[str] = None,
             **meta: Any) -> None:
        """Write :meth:`to_state` to ``path`` atomically."""
        self.to_state(config_hash, seed, stopped, **meta).save(path)

    def __len__(self) -> int:
        return len(self._ids)

    def __repr__(self) -> str:
        return (f'Pool({len(self._ids)} images: {len(self.labelled())} '
                f'labelled in {len(self._rounds)} rounds, '
                f'{len(self._unreadable)} unreadable)')

    def _check_round(self, round: Optional[int]) -> int:
        """A round that was committed; the latest for None."""
        if round is None:
            return len(self._rounds) - 1
        if not 0 <= round < len(self._rounds):
            raise IndexError(f'there is no round {round} yet: '
                             f'{len(self._rounds)} were committed.')
        return round

    def _lookup(self, ids: Iterable[ImageId]) -> list[ImageId]:
        """The pool's own ids for equal ones."""
        ids = list(ids)
        unknown = [i for i in ids if i not in self._known]
        if unknown:
            raise ValueError(
                f'the pool has no images with the ids {some(unknown)}. Ids '
                'are those of the COCO file, not positions in a data set.')
        return [self._known[i] for i in ids]

    def _check_unlabelled(self, ids: Sequence[ImageId], problem: str) -> None:
        """Raise ValueError if an image is labelled or unreadable."""
        labelled = [i for i in ids if i in self._round_of]
        if labelled:
            raise ValueError(
                f'images {some(labelled)} {problem}: they are labelled since '
                f'round {self._round_of[labelled[0]]}.')
        unreadable = [i for i in ids if i in self._unreadable]
        if unreadable:
            reason = self._unreadable[unreadable[0]].reason
            raise ValueError(f'images {some(unreadable)} {problem}: they '
                             f'cannot be read ({reason}).')


@dataclass
class State:
    """The content of ``state.json``.

    Args:
        config_hash (str): Hash of the config the run was started with.
        seed (int): The run's seed.
        num_images (int): How many images the pool lists.
        rounds (list[dict]): Per round ``ids``, in the order chosen, the
            ``seed`` they were chosen with (or None) and, if there are any,
            ``reselected`` ids.
        unreadable (list[dict]): id, file_name, path and reason of unreadable
            images; of quarantined ones also ``from_round``, the first round
            without them.
        stopped (str, optional): Why the run is over ('rounds', 'target',
            'exhausted', 'rule'), or None while it goes on.
        meta (dict): What else the writer wants to keep; JSON types.
    """
    config_hash: str
    seed: int
    num_images: int
    rounds: list[dict]
    unreadable: list[dict] = field(default_factory=list)
    stopped: Optional[str] = None
    meta: dict = field(default_factory=dict)

    def save(self, path: str) -> None:
        """Write to ``path`` atomically."""
        write_json(path, dict(version=STATE_VERSION, **asdict(self)))

    @classmethod
    def load(cls, path: str) -> State:
        """Read a ``state.json``.

        Raises:
            FileNotFoundError: If there is none.
            ValueError: If it is corrupt, or of another version.
        """
        try:
            raw = read_json(path)
        except ValueError as e:
            raise _corrupt(path, 'it is not valid JSON') from e
        if not isinstance(raw, dict) or 'version' not in raw:
            raise _corrupt(path, 'it is no state of mmal')
        # before the keys are looked at: they differ between versions
        if raw.pop('version') != STATE_VERSION:
            raise ValueError(f'{path} was written by another version of mmal '
                             '(its format is not '
                             f'{STATE_VERSION}). Use that version, or start '
                             'again in another work folder.')
        types = {
            'config_hash': str, 'seed': int, 'num_images': int,
            'rounds': list, 'unreadable': list,
            'stopped': (str, type(None)), 'meta': dict
        }
        wrong = {key for key in {*raw, *types}
                 if key not in raw or key not in types
                 or not isinstance(raw[key], types[key])}
        if wrong:
            raise _corrupt(path,
                           f'wrong or missing keys {some(sorted(wrong))}')
        if not all(map(_is_round, raw['rounds'])):
            raise _corrupt(path, 'a round is not of the form {ids, seed} or '
                           '{ids, seed, reselected}')
        fields = set(UnreadableImage.__dataclass_fields__)
        if not all(
                isinstance(image, dict)
                and set(image) - {'from_round'} == fields
                and type(image.get('from_round', 0)) is int
                for image in raw['unreadable']):
            raise _corrupt(path, f'"unreadable" entries need {sorted(fields)}')
        return cls(**raw)


def draw_initial(ids: Sequence[ImageId], size: int,
                 seed: int) -> list[ImageId]:
    """Draw the first images to label at random.

    The draw depends on the seed and the set of ids, not on their order or on
    the platform; a larger one begins with the smaller one.

    Args:
        ids (Sequence[int | str]): The pool.
        size (int): How many, in [1, len(ids)].
        seed (int): The run's seed.

    Raises:
        ValueError: If ``size`` is out of range.
    """
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise ValueError(f'active_learning.initial.size is {size!r}: it must '
                         'be a number of images above 0.')
    if size > len(ids):
        raise ValueError(
            f'active_learning.initial.size is {size} but the pool has only '
            f'{len(ids)} usable images. Lower it.')
    return seeded_order(ids, 'initial', seed, first=size)


def _is_round(value: Any) -> bool:
    """Whether an entry of ``State.rounds`` has the right form."""
    return (isinstance(value, dict)
            and set(value) - {'reselected'} == {'ids', 'seed'}
            and isinstance(value['ids'], list)
            and isinstance(value.get('reselected', []), list))


def _corrupt(path: str, problem: str) -> ValueError:
    return ValueError(
        f'{path} is corrupt: {problem}. mmal writes this file as a whole or '
        'not at all, so something else changed it. Restore it from a backup, '
        'or remove the work folder (or choose another --work-dir) and start '
        'again.')
