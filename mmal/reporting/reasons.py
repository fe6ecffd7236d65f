"""Why a query chose an image, in words."""
from __future__ import annotations

import re
from typing import Optional

from .work_folder import FIRST_SET, Chosen, ChosenImage


def score_name(scorer: str) -> str:
    """What a scorer's values are.

    Examples:
        >>> score_name('MixtureUncertaintyScorer'), score_name('')
        ('mixture uncertainty', 'score')
        >>> score_name('RandomScorer')
        'random number'
        >>> score_name('BALDScorer')
        'BALD'
    """
    if scorer == 'RandomScorer':
        return 'random number'
    words = re.findall(r'[A-Z]{2,}(?=[A-Z][a-z]|$)|[A-Z][a-z0-9]*',
                       scorer.removesuffix('Scorer'))
    return ' '.join(w if w.isupper() and len(w) > 1 else w.lower()
                    for w in words) or 'score'


def how_chosen(image: ChosenImage, chosen: Chosen, scorer: str,
               selector: str) -> str:
    """'first', 'reselected', 'random' or 'method': by its score, or by what
    the selector looks at instead."""
    if chosen.round == FIRST_SET:
        return 'first'
    if image.reselected:
        return 'reselected'
    is_random = _looks_at_scores(chosen, selector) and (
        image.score is None or scorer == 'RandomScorer')
    return 'random' if is_random else 'method'


def _looks_at_scores(chosen: Chosen, selector: str) -> bool:
    # a query says so; those of old runs do not
    return chosen.by_score is not None or selector in ('', 'TopN')


def reason(image: ChosenImage, position: int, chosen: Chosen, scorer: str,
           selector: str) -> str:
    """One sentence on one image.

    Args:
        image (ChosenImage): The image.
        position (int): Which of the query's images it was, from 1.
        chosen (Chosen): The query.
        scorer (str): Type of the scorer.
        selector (str): Type of the selector.
    """
    if chosen.round == FIRST_SET:
        return 'Part of the first set, which is labelled before any round.'
    again = 'Labelled already and chosen once more. ' if image.reselected \
        else ''
    if scorer == 'RandomScorer' and _looks_at_scores(chosen, selector):
        return again + 'Drawn at random: every candidate had the same chance.'
    scores = chosen.scores
    place = scores.places.get(image.id) if scores else None
    of = f' of {scores.candidates:,} candidates' if scores else ''
    name = score_name(scorer)
    pick = f'{_ordinal(position)} pick of {selector or "the query"}'
    if not _looks_at_scores(chosen, selector):
        return f'{again}{pick}, among embeddings.'
    if image.score is None:
        return (f'{again}Drawn at random: its {name} is the least there is '
                '(nothing was detected, for most scorers).')
    if place is None:
        return f'{again}{pick}; {name} {image.score:.4g}.'
    if scores.cut is not None:
        rank = 'Highest' if place == 1 else f'{_ordinal(place)} highest'
        return f'{again}{rank} {name}{of}.'
    return (f'{again}{pick}; its {name} ranks {place:,}{of}.')


def _ordinal(number: Optional[int]) -> str:
    """``1st``, ``2nd``, ``11th``."""
    ending = 'th' if 10 <= number % 100 <= 20 else {
        1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')
    return f'{number:,}{ending}'
