"""What runs chose, and the command that shows it, on work folders by hand."""
import os.path as osp

import numpy as np
import pytest

from mmal.analysis.selected_boxes import selections, shared_images
from mmal.commands import main
from mmal.fileio import write_json
from mmal.pool import load_coco
from mmal.reporting import Curve, Record

IMAGES = range(1, 13)


def coco(ids):
    """Image i has i boxes, the last of them a crowd, of side 10 i."""
    return dict(
        images=[dict(id=i, file_name=f'{i}.png', width=200, height=100)
                for i in ids],
        categories=[dict(id=1, name='thing')],
        annotations=[dict(
            id=100 * i + n, image_id=i, category_id=1, area=1,
            bbox=[0, 0, min(10 * i, 90), min(10 * i, 90)],
            iscrowd=int(n == i - 1)) for i in ids for n in range(i)])


@pytest.fixture
def make(tmp_path):
    """A run that began with images 1 and 2 and then chose others."""

    def write(name, seed, *queries):
        path = tmp_path / name
        labelled = [1, 2]
        records = []
        for number, ids in enumerate([*queries, None]):
            folder = path / f'round_{number:02d}'
            folder.mkdir(parents=True)
            write_json(str(folder / 'labelled.json'), coco(labelled))
            records.append(Record(number, len(labelled), 9,
                                  {'coco/bbox_mAP': .1}))
            if ids:
                write_json(str(folder / 'selected.json'), dict(ids=ids))
                labelled = [*labelled, *ids]
        Curve(records, 'rounds').save(str(path / 'curve.json'))
        write_json(str(path / 'identity.json'), {
            'active_learning.scorer.type': name[0],
            'active_learning.seed': seed})
        return str(path)

    return write


@pytest.fixture
def runs(make):
    return [make('a_0', 0, [3, 4], [5, 6]), make('a_1', 1, [4, 5], [3]),
            make('b_0', 0, [4, 7, 8], [9]), make('c_5', 5, [3, 4], [11])]


def test_boxes_are_those_of_the_images_chosen(runs):
    a, b, _ = selections(runs).values()
    assert [s.ids for s in a] == [{3, 4}, {4, 5}]
    # of 3 boxes one is a crowd, and of 4 as well
    assert (a[0].boxes.images, len(a[0].boxes.areas)) == (2, 2 + 3)
    assert sorted(a[0].boxes.shares) == [900 / 20_000] * 2 + [
        1600 / 20_000] * 3
    assert a[0].boxes.overlaps.tolist() == [1] * 5
    assert b[0].chance is None
    both, = selections(runs[:1], rounds=(0, 1)).values()
    assert both[0].ids == {3, 4, 5, 6} and both[0].boxes.images == 4
    later, = selections(runs[:1], rounds=(1, )).values()
    assert later[0].ids == {5, 6}


def test_runs_of_equal_seed_share_images(runs):
    methods = selections(runs)
    assert list(methods) == ['a', 'b', 'c']
    matrix = shared_images(methods)
    # a_0 and b_0 have image 4 of two; c has no seed of the others
    np.testing.assert_array_equal(matrix, [
        [100, 50, np.nan], [50, 100, 50], [np.nan, 50, 100]])


def test_a_pool_gives_boxes_and_what_chance_shares(runs, tmp_path):
    write_json(str(tmp_path / 'pool.json'), coco(IMAGES))
    pool = load_coco(str(tmp_path / 'pool.json'))
    a, *_ = selections(runs, pool=pool).values()
    found = selections(runs)['a']
    np.testing.assert_array_equal(a[0].boxes.shares, found[0].boxes.shares)
    assert a[0].chance == 100 * 2 / 10


def test_what_is_missing_is_told(runs, tmp_path):
    with pytest.raises(ValueError, match='a_0 has made no query in round 2'):
        selections(runs, rounds=(2, ))
    write_json(str(tmp_path / 'pool.json'), coco([1, 2, 3]))
    with pytest.raises(ValueError, match='image 4, which is not in'):
        selections(runs, pool=load_coco(str(tmp_path / 'pool.json')))
    last = osp.join(runs[0], 'round_01', 'labelled.json')
    (tmp_path / 'a_0' / 'round_01' / 'labelled.json').unlink()
    with pytest.raises(FileNotFoundError, match=f'no {last}.*--pool'):
        selections(runs)


def test_the_command_prints_draws_and_writes(runs, tmp_path, capsys):
    write_json(str(tmp_path / 'pool.json'), coco(IMAGES))
    out, table = str(tmp_path / 'out.png'), str(tmp_path / 'out.md')
    assert main(['analysis', 'selected-boxes', *runs[:2], '--group',
                 f'mine={runs[2]}', '--pool', str(tmp_path / 'pool.json'),
                 '--out', out, '--save', table]) == 0
    printed = capsys.readouterr().out
    assert 'percent (up to 30 by chance)' in printed
    lines = [line.split() for line in printed.splitlines()]
    assert ['(pool)', '1', '12', '5.50'] in [line[:4] for line in lines]
    assert ['mine', '50', '100'] in lines
    assert osp.getsize(out) > 1000 and osp.getsize(table) > 100
    assert main(['analysis', 'selected-boxes']) == 1
