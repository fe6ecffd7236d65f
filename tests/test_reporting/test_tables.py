import pytest

from mmal.reporting import (
    Curve,
    Record,
    comparison_table,
    drawn_at_random,
    round_table,
)
from mmal.reporting.tables import duration


def curve(slope, n=3):
    return Curve([
        Record(r, 40 * (r + 1), 100 * (r + 1),
               {'coco/bbox_mAP': slope * (r + 1)}) for r in range(n)
    ])


def test_round_table_shows_every_number():
    record = Record(
        3,
        1234,
        36604, {
            'coco/bbox_mAP': 0.1283,
            'coco/bbox_mAP_50': 0.25,
            'coco/bbox_mAP_75': 0.111
        },
        train_seconds=3723,
        query_seconds=8.44)
    lines = round_table(Curve([record]), title='isal').splitlines()
    assert lines[0] == 'isal'
    assert lines[1].split() == [
        'round', 'images', 'boxes', 'AP', 'AP50', 'AP75', '10k·AP/boxes',
        'train', 'query'
    ]
    assert lines[3].split() == [
        '3', '1,234', '36,604', '0.128', '0.250', '0.111', '0.0351', '1:02:03',
        '8.4', 's'
    ]
    assert max(map(len, lines)) <= 100


def test_round_table_of_a_classifier_shows_accuracy_alone():
    record = Record(0, 40, 40, {'accuracy/top1': 0.5},
                    train_seconds=12, query_seconds=3)
    lines = round_table(Curve([record])).splitlines()
    assert lines[0].split() == [
        'round', 'images', 'boxes', 'accuracy', 'train', 'query']
    assert lines[2].split() == ['0', '40', '40', '0.500', '12', 's', '3.0',
                                's']


def test_round_table_with_gaps_and_without_rounds():
    lines = round_table(Curve([Record(0, 40, 0)])).splitlines()
    assert lines[-1].split() == ['0', '40', '0'] + ['–'] * 6
    assert 'round' in round_table(Curve())


def test_comparison_uses_the_boxes_all_runs_cover():
    lines = comparison_table({
        '[x] isal': curve(0.2),
        'random': curve(0.1, 2)
    }).splitlines()
    assert 'mean AP, 100–200 boxes' in lines[0]
    assert 'boxes to AP 0.200' in lines[0]
    isal, rand = (line.split() for line in lines[2:])
    assert isal[:2] == ['[x]', 'isal'] and isal[-2:] == ['0.3000', '100']
    assert rand[-2:] == ['0.1500', '200']


def test_comparison_target_out_of_reach_and_no_overlap():
    short = Curve([Record(0, 1, 10, {'coco/bbox_mAP': 0.1})])
    text = comparison_table({'a': short, 'b': curve(0.1), 'c': Curve()}, 0.15)
    a, b, c = (line.split() for line in text.splitlines()[2:])
    assert a[-2:] == ['–', '–'] and b[-2:] == ['–', '150']
    assert c[-2:] == ['–', '–']


@pytest.mark.parametrize('seconds, text', [
    (None, '–'), (0, '0.0 s'), (9.94, '9.9 s'), (9.96, '10 s'), (59, '59 s'),
    (60, '1:00'), (3599.6, '1:00:00'), (7325, '2:02:05')
])
def test_duration(seconds, text):
    assert duration(seconds) == text


def test_a_column_of_repetitions_where_there_may_be_some():
    old = Record(0, 40, 100)
    records = [Record(1, 1060, 150, reselected=1234), Record(2, 1070, 160)]
    header, _, *rows = round_table(Curve([old, *records])).splitlines()
    assert header.split()[:4] == ['round', 'images', 'reselected', 'boxes']
    assert [r.split()[:4] for r in rows] == [
        ['0', '40', '–', '100'], ['1', '1,060', '1,234', '150'],
        ['2', '1,070', '–', '160']]
    assert max(map(len, (header, *rows))) <= 100
    assert 'reselected' not in round_table(Curve([old]))


@pytest.mark.parametrize('shares, sentence, column', [
    ((1.0, 1.0, None), '', []),
    ((None, None, None), '', []),
    ((0.25, 1.0, None), '1 of 2 queries drew images at random',
     ['25%', '100%', '–']),
    ((0.0, 0.0, None), 'No query chose an image by its score',
     ['0%', '0%', '–']),
])
def test_what_was_drawn_at_random_is_said(shares, sentence, column):
    rounds = Curve([Record(r, 40, 100, by_score=s)
                    for r, s in enumerate(shares)])
    said = drawn_at_random(rounds)
    assert said.startswith(sentence) and bool(said) == bool(sentence)
    header, _, *rows = round_table(rounds).splitlines()
    assert header.endswith('by score') == bool(column)
    if column:
        assert [row.split()[-1] for row in rows] == column
    again = Curve([Record.from_dict(r.to_dict()) for r in rounds.records])
    assert [r.by_score for r in again.records] == list(shares)
