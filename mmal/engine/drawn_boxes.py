"""What was expected of the images of a round, and what people drew."""
from __future__ import annotations

import os.path as osp
from collections.abc import Iterable, Mapping, Sequence
from typing import Optional

from mmal.fileio import read_json
from mmal.pool import Pool, count_by_class
from mmal.pool.coco import group_by_image
from mmal.pool.layout import WorkDir


def compare_expected(work: WorkDir, round: int, pool: Pool,
                     annotations: Iterable[Mapping],
                     categories: Sequence[Mapping]) -> Optional[str]:
    """Compare the boxes a query expected with those that were drawn since.

    Args:
        work (WorkDir): The work folder.
        round (int): The round whose images are labelled now.
        pool (Pool): Which they are.
        annotations (iterable[dict]): Those of all labelled images.
        categories (sequence[dict]): COCO categories.

    Returns:
        str | None: A sentence without a full stop; None where nothing was
        expected.
    """
    selected = round and work.round(round - 1).selected
    if not selected or not osp.exists(selected):
        return None
    try:
        expected = read_json(selected).get('expected_boxes')
        number = sum(expected.values()) if expected else 0.
    except (ValueError, TypeError, AttributeError):
        return None  # damaged: it is for readers alone
    if not expected:
        return None
    before = set(pool.labelled(round - 1))
    new = [i for i in pool.labelled(round) if i not in before]
    by_image = group_by_image(annotations)
    drawn = dict(zip((c['name'] for c in categories), count_by_class(
        [a for i in new for a in by_image.get(i, ())], new,
        categories).sum(0).tolist()))
    text = (f'{number:,.1f} boxes were expected on its {len(new):,} images '
            f'and {sum(drawn.values()):,} drawn')
    if len(expected) == 1:
        return text
    # classes with the largest differences first; a data set may have 80
    names = sorted(expected, key=lambda name: -abs(
        expected[name] - drawn.get(name, 0)))[:5]
    classes = ', '.join(f'{name} {expected[name]:,.1f} and '
                        f'{drawn.get(name, 0):,}' for name in names)
    return f'{text} ({classes})'
