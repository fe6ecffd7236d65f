"""Near duplicates: images that are too like others to be worth a label."""
from __future__ import annotations

import numbers
import posixpath
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Optional

import numpy as np

from mmal.types import ImageId

# Rows whose distances are computed at a time; 32 MiB of 2,048 numbers each.
_BLOCK = 4096
# Products of float32 rows of length 1 are right to far less than this.
_DOUBT = 1e-3


class Spacing:
    """When an image is too near to others, for any selector.

    Args:
        min_distance (float, optional): The Euclidean distance, in (0, 2], of
            embeddings scaled to length 1 that an image keeps to every one
            that is chosen or labelled: 0 is the same direction, 1.41 a right
            angle, 2 the opposite. It is ``sqrt(2 - 2 cos)``.
        max_per_group (mapping, optional): ``k``, how many images of one group
            a round takes at most, and ``by``: 'folder', or a regular
            expression that is searched in the file name, whose first group
            (all that matches, if it has none) names the sequence. Without a
            match an image is in a group of its own.

    Raises:
        ValueError: If neither is given, or a value makes no sense; the
            message begins with its key.
    """

    def __init__(self,
                 min_distance: Optional[float] = None,
                 max_per_group: Optional[Mapping] = None) -> None:
        if min_distance is None and max_per_group is None:
            raise ValueError('min_distance is None and max_per_group too: '
                             'give at least one of them.')
        if min_distance is not None and (
                isinstance(min_distance, bool)
                or not isinstance(min_distance, numbers.Real)
                or not 0 < min_distance <= 2):
            raise ValueError(
                f'min_distance is {min_distance!r}: give a number above 0 and '
                'up to 2, a distance of embeddings of length 1.')
        self.min_distance = min_distance
        self.max_per_group, self.by = None, None
        if max_per_group is None:
            return
        if not isinstance(max_per_group, Mapping) or \
                set(max_per_group) != {'k', 'by'}:
            raise ValueError(
                f'max_per_group is {max_per_group!r}: give a dict with k and '
                "by, e.g. dict(k=2, by='folder').")
        k, by = max_per_group['k'], max_per_group['by']
        if isinstance(k, bool) or not isinstance(k, numbers.Integral) or k < 1:
            raise ValueError(f'max_per_group.k is {k!r}: give a whole number '
                             'of images of at least 1.')
        if not isinstance(by, str) or not by:
            raise ValueError(f"max_per_group.by is {by!r}: give 'folder' or a "
                             'regular expression on file names.')
        self.max_per_group = int(k)
        if by != 'folder':
            try:
                self.by = re.compile(by)
            except re.error as e:
                raise ValueError(
                    f"max_per_group.by is {by!r}, which is neither 'folder' "
                    f'nor a regular expression ({e}): correct it, e.g. '
                    r"r'(.*)_\d+\.jpg$'.") from e

    @property
    def needs_embeddings(self) -> bool:
        """Whether images are compared by their embeddings."""
        return self.min_distance is not None

    def group(self, file_name: str) -> Optional[str]:
        """The group of an image; None if it is in one of its own."""
        if self.by is None:
            return posixpath.dirname(file_name.replace('\\', '/'))
        match = self.by.search(file_name)
        return match and (match[1] if self.by.groups else match[0])


class Neighbours:
    """What is chosen so far, and which images are too near to it.

    An image is compared with the L labelled and the n chosen ones when it is
    asked for: O((L + n)·D) time for each, O(n·D) memory and blocks of a few
    thousand rows. Whether a distance is large enough is told in float64 where
    float32 leaves a doubt.

    Args:
        spacing (Spacing): The rules.
        ids (sequence[int | str]): N images.
        file_names (sequence[str], optional): Theirs, for groups.
        embeddings (np.ndarray, optional): [N, D], for distances; may be
            memory-mapped.
        labelled (np.ndarray, optional): [L, D] of the labelled images.

    Raises:
        ValueError: If what the rules need is missing or does not fit.

    Examples:
        >>> import numpy as np
        >>> rows = np.array([[1., 0.], [1., .1], [0., 1.]])
        >>> near = Neighbours(Spacing(min_distance=.5), 'abc', None, rows)
        >>> near.take('a')
        >>> near.too_near('b'), near.too_near('c')
        (True, False)
    """

    def __init__(self,
                 spacing: Spacing,
                 ids: Sequence[ImageId],
                 file_names: Optional[Sequence[str]] = None,
                 embeddings: Optional[np.ndarray] = None,
                 labelled: Optional[np.ndarray] = None) -> None:
        self.spacing = spacing
        self._row = {image: n for n, image in enumerate(ids)}
        self._names = file_names
        self._of_group: Counter = Counter()
        self._embeddings = embeddings
        self._labelled = None
        if spacing.max_per_group is not None and (
                file_names is None or len(file_names) != len(self._row)):
            raise ValueError('max_per_group needs the file name of each '
                             'image.')
        if spacing.needs_embeddings:
            shape = np.shape(embeddings)
            if len(shape) != 2 or shape[0] != len(self._row):
                raise ValueError(
                    f'min_distance needs embeddings of shape '
                    f'[{len(self._row)}, D], one row per image, but was given '
                    f'{shape or None}.')
            self._chosen = np.empty((16, shape[1]), np.float32)
            self._number = 0  # of its rows that are in use, of length 1 or 0
            self._chosen_lengths = np.zeros(len(self._chosen))
            if labelled is not None and len(labelled):
                if labelled.shape[1] != shape[1]:
                    raise ValueError(
                        f'the embeddings have {shape[1]} dimensions but those '
                        f'of the labelled images {labelled.shape[1]}: take '
                        'both from one model.')
                self._labelled = labelled
                self._lengths = np.concatenate([
                    _lengths(labelled[start:start + _BLOCK])
                    for start in range(0, len(labelled), _BLOCK)])

    def too_near(self, image: ImageId) -> bool:
        """Whether an image is too near to a chosen or labelled one."""
        k = self.spacing.max_per_group
        if k is not None and self._of_group[self._group(image)] >= k:
            return True
        if not self.spacing.needs_embeddings:
            return False
        row = self._embedding(image)
        chosen = self._chosen[:self._number]
        if self._any_near(row, chosen, self._chosen_lengths[:self._number]):
            return True
        blocks = () if self._labelled is None else (
            slice(start, start + _BLOCK)
            for start in range(0, len(self._labelled), _BLOCK))
        return any(
            self._any_near(row, self._labelled[block], self._lengths[block])
            for block in blocks)

    def take(self, image: ImageId) -> None:
        """An image is chosen: others are compared with it from now on."""
        if self.spacing.max_per_group is not None:
            group = self._group(image)
            if isinstance(group, str):
                self._of_group[group] += 1
        if self.spacing.needs_embeddings:
            if self._number == len(self._chosen):
                self._chosen = np.concatenate(
                    [self._chosen, np.empty_like(self._chosen)])
                self._chosen_lengths = np.concatenate(
                    [self._chosen_lengths, np.zeros(self._number)])
            row = self._embedding(image)
            self._chosen[self._number] = row
            self._chosen_lengths[self._number] = row.any()
            self._number += 1

    def _group(self, image: ImageId) -> Optional[str]:
        return self.spacing.group(self._names[self._row[image]])

    def _embedding(self, image: ImageId) -> np.ndarray:
        """float32 [D], of length 1 or 0."""
        n = self._row[image]
        row = np.asarray(self._embeddings[n], np.float64)
        if not np.isfinite(row).all():
            raise ValueError(
                f'the embedding of image {image} is not finite: the model '
                'overflowed. Check that the training loss is finite.')
        length = np.sqrt(row @ row)
        return (row / length if length else row).astype(np.float32)

    def _any_near(self, row: np.ndarray, others: np.ndarray,
                  lengths: np.ndarray) -> bool:
        """Whether any of n others, scaled to length 1, is nearer than the
        least distance.

        Args:
            row (np.ndarray): float32 [D], of length 1 or 0.
            others (np.ndarray): [n, D].
            lengths (np.ndarray): float64 [n], theirs.
        """
        others = np.asarray(others, np.float32)
        scale = np.where(lengths > 0, lengths, 1)
        # |x - y|² = |x|² + |y|² - 2 x·y, where the lengths are 1 or 0
        excess = (row @ row + (lengths > 0) - 2 * (others @ row) / scale
                  - self.spacing.min_distance**2)
        if (excess < -_DOUBT).any():
            return True
        doubtful = np.abs(excess) <= _DOUBT
        scaled = others[doubtful] / scale[doubtful, None]
        distances = np.sqrt(((scaled - row)**2).sum(1))
        return bool((distances < self.spacing.min_distance).any())


def _lengths(rows: np.ndarray) -> np.ndarray:
    """float64 [n], the lengths of [n, D] rows."""
    rows = np.asarray(rows, np.float64)
    return np.sqrt(np.einsum('nd,nd->n', rows, rows))
