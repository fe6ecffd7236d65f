"""Why a query chose an image, in words."""
from __future__ import annotations

import re

from .work_folder import FIRST_SET, Chosen, ChosenImage, Method


def score_name(method: Method) -> str:
    """What the values of a scorer are.

    Args:
        method (Method): How the queries of a run choose.

    Examples:
        >>> score_name(Method('MixtureUncertaintyScorer'))
        'mixture uncertainty'
        >>> score_name(Method('BALDScorer', per_cost=True))
        'BALD per cost'
        >>> score_name(Method('RandomScorer')), score_name(Method())
        ('random number', 'score')
    """
    words = re.findall(r'[A-Z]{2,}(?=[A-Z][a-z]|$)|[A-Z][a-z0-9]*',
                       method.scorer.removesuffix('Scorer'))
    name = 'random number' if method.scorer == 'RandomScorer' else ' '.join(
        w if w.isupper() and len(w) > 1 else w.lower()
        for w in words) or 'score'
    return f'{name} per cost' if method.per_cost else name


def how_chosen(image: ChosenImage, chosen: Chosen, method: Method) -> str:
    """In which way a query chose an image.

    Args:
        image (ChosenImage): The image.
        chosen (Chosen): The query.
        method (Method): How the queries of the run choose.

    Returns:
        str: 'first', 'reselected', 'random' or 'method': by its score, or by
        what the selector looks at instead.
    """
    if chosen.round == FIRST_SET:
        return 'first'
    if image.reselected:
        return 'reselected'
    is_random = _looks_at_scores(chosen, method) and (
        image.score is None or method.scorer == 'RandomScorer')
    return 'random' if is_random else 'method'


def _looks_at_scores(chosen: Chosen, method: Method) -> bool:
    # a query says so; those of old runs do not
    return chosen.by_score is not None or \
        method.selector in ('', 'TopN')


def reason(image: ChosenImage, position: int, chosen: Chosen,
           method: Method) -> str:
    """One sentence on one image.

    Args:
        image (ChosenImage): The image.
        position (int): Which of the query's images it was, from 1.
        chosen (Chosen): The query.
        method (Method): How the queries of the run choose.
    """
    if chosen.round == FIRST_SET:
        return 'Part of the first set, which is labelled before any round.'
    again = 'Labelled already and chosen once more. ' if image.reselected \
        else ''
    if method.scorer == 'RandomScorer' and _looks_at_scores(chosen, method):
        if method.per_cost or method.is_bounded:
            return again + 'Drawn at random.'
        return again + 'Drawn at random: every candidate had the same chance.'
    scores = chosen.scores
    place = scores.places.get(image.id) if scores else None
    of = f' of {scores.candidates:,} candidates' if scores else ''
    name = score_name(method)
    pick = f'{_ordinal(position)} pick of {method.selector or "the query"}'
    if not _looks_at_scores(chosen, method):
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


def _ordinal(number: int) -> str:
    """``1st``, ``2nd``, ``11th``."""
    ending = 'th' if 10 <= number % 100 <= 20 else {
        1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')
    return f'{number:,}{ending}'
