import numpy as np
import pytest

from mmal.evaluation import cost_needed
from mmal.reporting import (
    Curve,
    MergedCurve,
    Record,
    Run,
    common_span,
    merged_saving,
    seed_difference,
    seed_savings,
)


def run(name, boxes, values, seed=None, stopped='rounds'):
    """A run of 50 images a round; None is a round without metrics."""
    return Run(name, Curve([
        Record(r, 50 * (r + 1), b,
               {} if v is None else {'coco/bbox_mAP': v})
        for r, (b, v) in enumerate(zip(boxes, values))], stopped), seed)


def merged(name, *runs):
    return MergedCurve(name, runs)


A = run('a_0', [100, 200, 300], [.1, .3, .5], 0)
B = run('a_1', [110, 240, 310], [.2, .3, .6], 1)


def test_rounds_are_means_and_sample_deviations():
    found = merged('a', A, B)
    assert [r.round for r in found.rounds] == [0, 1, 2]
    for i, got in enumerate(found.rounds):
        boxes = [r.curve.records[i].boxes for r in (A, B)]
        values = [r.curve.records[i].value('AP') for r in (A, B)]
        assert got.boxes.mean == np.mean(boxes)
        assert got.boxes.std == pytest.approx(np.std(boxes, ddof=1))
        assert got.value.mean == pytest.approx(np.mean(values))
        assert got.value.std == pytest.approx(np.std(values, ddof=1))
        assert (got.images.mean, got.images.std) == (50 * (i + 1), 0)
    assert found.series('images')[0] == [50, 100, 150]
    assert found.series()[1] == pytest.approx([.15, .3, .55])
    assert found.notes == []


def test_efficiency_is_that_of_the_means():
    # ISAL, table 8: rounds 1 and 2 of core-set
    found = merged('core-set', *(
        run('', [1338, boxes], [.0236667, ap])
        for boxes, ap in ((2600, .12), (2620, .13), (2654, .14))))
    assert [r.efficiency for r in found.rounds] == pytest.approx(
        [.17688, .49530], abs=1e-4)
    empty = merged('', run('', [0], [.1]))
    assert empty.last.efficiency is None


def test_only_rounds_of_all_runs_count():
    short = run('a_2', [90, 210], [.1, .2], 2, stopped=None)
    gap = run('a_3', [90, 210, 290], [.1, None, .2], 3)
    found = merged('a', A, short)
    assert [r.round for r in found.rounds] == [0, 1]
    assert found.run_series(A)[0] == [100, 200]
    assert found.notes == [
        'a_2 is not finished: it has 2 rounds.',
        'a_0: round 2 left out, which not every run of a has with AP.']
    assert [r.round for r in merged('a', A, gap).rounds] == [0, 2]
    with pytest.raises(ValueError, match='no round with AP in common'):
        merged('a', run('x', [1, 2], [None, .1]), run('y', [1], [.1]))


def test_what_cannot_be_merged_is_named():
    with pytest.raises(ValueError, match='nobody has no runs'):
        merged('nobody')
    with pytest.raises(ValueError, match='new has no finished round'):
        merged('a', A, Run('new', Curve()))
    with pytest.raises(ValueError, match='a_0 has no round with the metric '
                       'acc. It has coco/bbox_mAP'):
        MergedCurve('a', [A], 'acc')


def test_a_single_run_has_no_spread():
    found = merged('a', A)
    assert found.last.value.std is None
    assert found.notes == ['a is a single run: it has no spread.']


def test_area_is_one_of_each_run():
    found = merged('a', A, B)
    assert common_span([found]) == (110, 300)
    areas = [r.curve.area(low=110, high=300) for r in (A, B)]
    area = found.area(110, 300)
    assert area.mean == pytest.approx(np.mean(areas))
    assert area.std == pytest.approx(np.std(areas, ddof=1))
    far = merged('far', run('far', [900], [.1]))
    assert common_span([found, far]) is None
    assert common_span([found, far], 'images') == (50, 50)


def test_saving_is_that_of_the_mean_curves():
    ours = merged('a', A, B)
    other = merged('b', run('b_0', [100, 400], [.1, .4], 0),
                   run('b_1', [100, 440], [.1, .5], 1))
    found = merged_saving(ours, other)
    assert found.target == pytest.approx(.45) and found.other == 420
    assert found.cost == pytest.approx(
        cost_needed([105, 220, 305], [.15, .3, .55], .45))
    assert merged_saving(ours, other, target=.7).cost is None
    assert merged_saving(ours, other, 'images').other == 100


def test_savings_by_seed_pair_equal_seeds():
    ours = merged('a', A, B)
    other = merged('b', run('b_1', [100, 400], [.1, .45], 1),
                   run('b_7', [100, 400], [.1, .4], 7),
                   run('b_0', [100, 500], [.1, .9], 0))
    first, second = seed_savings(ours, other)
    assert (first.target, first.cost, first.other) == (.9, None, 500)
    assert second.target == .45 and second.other == 400
    assert second.cost == pytest.approx(240 + 70 * .5)


@pytest.mark.parametrize('seeds', [(None, None), (3, 3), (5, 6)])
def test_unknown_and_repeated_seeds_make_no_pairs(seeds):
    runs = [run('x', [1, 2], [.1, .2], seed) for seed in seeds]
    other = run('y', [1, 2], [.1, .2], 3)
    assert seed_savings(merged('x', *runs), merged('y', other)) == []
    assert seed_difference(
        merged('x', *runs), merged('y', other), 1, 2) is None


def test_differences_pair_equal_seeds_at_equal_costs():
    ours = merged('a', A, B)
    other = merged('b', run('b_1', [100, 400], [.1, .4], 1),
                   run('b_7', [100, 400], [.9, .9], 7),
                   run('b_0', [100, 300], [.1, .3], 0))
    # at 150 boxes: seed 0 has .2 and .15, seed 1 .2 + .1 * 40 / 130 and .15
    single = [.2 - .15, .2 + .1 * 40 / 130 - .15]
    found = seed_difference(ours, other, 150, 150)
    assert (found.mean, found.count) == (pytest.approx(np.mean(single)), 2)
    assert found.std == pytest.approx(np.std(single, ddof=1))
    # from 150 to 250: of seed 0 straight lines, whose middle is at 200
    areas = [.3 - .2, B.curve.area(low=150, high=250) - .2]
    found = seed_difference(ours, other, 150, 250)
    assert found.mean == pytest.approx(np.mean(areas))
    back = seed_difference(other, ours, 150, 250)
    assert (back.low, back.high) == pytest.approx((-found.high, -found.low))
    assert back.p == pytest.approx(found.p)
    by_images = seed_difference(ours, other, 100, 100, 'images')
    assert by_images.mean == pytest.approx(np.mean([.3 - .3, .3 - .4]))
    with pytest.raises(ValueError, match='is not inside'):
        seed_difference(ours, other, 100, 250)
