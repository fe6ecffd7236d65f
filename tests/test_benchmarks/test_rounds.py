"""The figures of many rounds, over three of them."""
import os

import pytest
from helpers.forks import ROOT
from helpers.runs import succeed


@pytest.mark.run
def test_table_over_three_rounds():
    done = succeed(os.path.join(ROOT, 'benchmarks', 'rounds.py'),
                   '--rounds', 3)
    header, first, last, slope = done.stdout.splitlines()
    names = header.replace('KB ', 'KB_').split()
    rows = [dict(zip(names, map(float, row.split())))
            for row in (first, last)]
    assert [row['round'] for row in rows] == [1, 3]
    for row in rows:
        assert row['hubs'] == row['visualizers'] == row['figures'] == 0
        assert row['RSS'] > 100 and row['KB_round'] > 1
    # some of the process that this one is a fork of may be closed meanwhile
    assert 2 < rows[1]['handles'] <= rows[0]['handles']
    assert 'a round over the later half' in slope
