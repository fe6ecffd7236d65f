"""The options of a head's weighting by eq. 9."""
from __future__ import annotations

from typing import Optional

DEFAULTS = dict(alpha=4.0, detach=True, box=True)


def weighting_options(weighting: Optional[dict], cls_components: int,
                      box_components: int) -> dict:
    """Check and complete the ``weighting`` of a head.

    Args:
        weighting (dict, optional): Some of ``alpha`` (4.0, >= 0), ``detach``
            (True), see :func:`mmal.models.losses.uncertainty_weight`, and
            ``box`` (True), whether the box loss is weighted too.
        cls_components (int): K of the classes, 0 for no mixture.
        box_components (int): K of the boxes, 0 for no mixture.

    Returns:
        dict: All three, or empty for None.

    Raises:
        ValueError: If a key is unknown, ``alpha`` is negative or one side
            has no mixture.
    """
    if weighting is None:
        return {}
    unknown = sorted(set(weighting) - set(DEFAULTS))
    if unknown:
        raise ValueError(f'bbox_head.weighting has the unknown key '
                         f'{unknown[0]!r}: give {", ".join(DEFAULTS)}.')
    if not cls_components or not box_components:
        raise ValueError(
            'bbox_head.weighting (eq. 9) needs the uncertainties of boxes and '
            f'classes, but box_components is {box_components} and '
            f'cls_components is {cls_components}: raise them or set '
            'weighting=None.')
    options = {**DEFAULTS, **weighting}
    if not options['alpha'] >= 0:  # or NaN
        raise ValueError(
            f'bbox_head.weighting.alpha is {options["alpha"]}, which would '
            'favour uncertain classes: give a number >= 0, e.g. 4.0.')
    return options
