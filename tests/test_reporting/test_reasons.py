import pytest

from mmal.reporting.reasons import how_chosen, reason
from mmal.reporting.score_summary import ScoreSummary
from mmal.reporting.work_folder import (
    FIRST_SET,
    Chosen,
    ChosenImage,
    Method,
)


def why(place=1, cut=1.0, score=2.0, reselected=False, by_score=1.0,
        scorer='InfluenceScorer', selector='TopN', position=1, round=0,
        **method):
    image = ChosenImage(7, score=score, reselected=reselected)
    places = {7: place} if place else {}
    chosen = Chosen(round, [image], by_score=by_score, scores=ScoreSummary(
        1812, cut=cut, places=places))
    method = Method(scorer, selector, **method)
    return (reason(image, position, chosen, method),
            how_chosen(image, chosen, method))


@pytest.mark.parametrize('more, sentence, how', [
    (dict(), 'Highest influence of 1,812 candidates.', 'method'),
    (dict(place=2), '2nd highest influence of 1,812 candidates.', 'method'),
    (dict(place=113), '113th highest influence of 1,812 candidates.',
     'method'),
    (dict(place=23, cut=None, selector='CoreSet', position=3),
     '3rd pick of CoreSet; its influence ranks 23 of 1,812 candidates.',
     'method'),
    (dict(place=None, score=None),
     'Drawn at random: its influence is the least there is (nothing was '
     'detected, for most scorers).', 'random'),
    (dict(place=None, score=None, by_score=None, selector='KMeansPlusPlus'),
     '1st pick of KMeansPlusPlus, among embeddings.', 'method'),
    (dict(place=9, by_score=None, selector='CoreSet', cut=None,
          scorer='RandomScorer'),
     '1st pick of CoreSet, among embeddings.', 'method'),
    (dict(scorer='RandomScorer'),
     'Drawn at random: every candidate had the same chance.', 'random'),
    (dict(scorer='RandomScorer', is_bounded=True), 'Drawn at random.',
     'random'),
    (dict(scorer='RandomScorer', per_cost=True), 'Drawn at random.',
     'random'),
    (dict(per_cost=True),
     'Highest influence per cost of 1,812 candidates.', 'method'),
    (dict(reselected=True),
     'Labelled already and chosen once more. Highest influence of 1,812 '
     'candidates.', 'reselected'),
    (dict(round=FIRST_SET),
     'Part of the first set, which is labelled before any round.', 'first'),
])
def test_one_sentence_says_why(more, sentence, how):
    assert why(**more) == (sentence, how)
