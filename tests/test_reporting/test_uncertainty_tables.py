import csv

import numpy as np
import pytest

from mmal.evaluation import Shift
from mmal.reporting import (
    PlainTable,
    overlap_table,
    save_tables,
    shift_table,
)

NAMES = ('box_aleatoric', 'cls_epistemic')


def shift(first=(0.301, 2e-6), second=(0.332, 1e-6), common=1234):
    return Shift(np.array(first), np.array(second), common, (5000, 6000))


def test_overlap_table_shows_every_number():
    table = overlap_table(NAMES, np.array([[100, 47.6], [47.6, 100]]), 'T')
    lines = table.text().splitlines()
    assert lines[0] == 'T'
    assert lines[1].split() == ['box', 'aleatoric', 'cls', 'epistemic']
    assert lines[-2].split() == ['box', 'aleatoric', '100', '48']
    assert lines[-1].split() == ['cls', 'epistemic', '48', '100']


def test_shift_table_shows_means_and_change():
    table = shift_table(NAMES, shift(), ('round 0', 'round 3'), 'More data')
    assert 'over 1,234 detections in common' in table.title
    assert table.rows == (
        ('round 0', '5,000', '3.01e-01', '2.00e-06'),
        ('round 3', '6,000', '3.32e-01', '1.00e-06'),
        ('change', '', '+10%', '-50%'))


def test_nothing_in_common_is_a_dash():
    nothing = shift([np.nan] * 2, [np.nan] * 2, 0)
    rows = shift_table(NAMES, nothing, ('a', 'b'), 'T').rows
    assert [row[2:] for row in rows] == [('–', '–')] * 3


def test_signs_of_markdown_end_no_cell():
    lines = PlainTable('T', ('run', 'error'), (
        ('a|b', 'int | None\nis no size'), )).markdown().splitlines()
    assert lines[2:] == ['| run | error |', '| --- | ---: |',
                         r'| a\|b | int \| None is no size |']


def test_markdown_and_csv(tmp_path):
    table = PlainTable('T', ('', 'a'), (('x, y', '1'), ('z', '2')))
    save_tables([table], str(tmp_path / 't.csv'))
    with open(tmp_path / 't.csv', newline='') as f:
        assert list(csv.reader(f)) == [['', 'a'], ['x, y', '1'], ['z', '2']]
    save_tables([table, table], str(tmp_path / 't.md'))
    lines = (tmp_path / 't.md').read_text().splitlines()
    assert lines[:5] == ['**T**', '', '|  | a |', '| --- | ---: |',
                         '| x, y | 1 |']
    assert lines.count('**T**') == 2
    with pytest.raises(ValueError, match='ends with .csv or .md'):
        save_tables([table], str(tmp_path / 't.xlsx'))
