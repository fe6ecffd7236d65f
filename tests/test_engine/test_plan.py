import pytest
from mmengine.config import Config

from mmal.engine.plan import iterations, plan_rounds, plan_table


def config(**train_cfg):
    return Config(
        dict(
            train_cfg=train_cfg or dict(max_epochs=3),
            train_dataloader=dict(
                batch_size=4, dataset=dict(type='CocoDataset'))))


def test_iterations_of_epochs_steps_repeats_and_processes():
    assert iterations(config(), 9) == 3 * 3
    assert iterations(config(), 9, world_size=2) == 2 * 3
    assert iterations(config(max_iters=50), 9) == 50
    cfg = config()
    cfg.train_dataloader.dataset = dict(
        type='RepeatDataset', times=5, dataset=dict(type='CocoDataset'))
    assert iterations(cfg, 9) == 12 * 3


def test_images_budget_ends_with_the_pool():
    rows = plan_rounds(config(), 9, dict(size=40), 100, 20, 60, 300)
    assert [r.images for r in rows] == [20, 60, 100]
    assert [r.boxes for r in rows] == [60, 180, 300]
    assert [r.exact for r in rows] == [True, False, False]
    assert rows[-1].note == 'the pool is used up'


def test_boxes_budget_uses_the_density_of_the_rest():
    budget = dict(size=30, unit='boxes')
    rows = plan_rounds(config(), 3, budget, 100, 20, 60, 300)
    assert [r.images for r in rows] == [20, 30, 40]


def test_members_of_an_ensemble_train_where_a_query_follows():
    def plan(rounds, pool):
        rows = plan_rounds(config(max_iters=50), rounds, dict(size=40), pool,
                           20, 60, 300, members=2)
        return [(r.iterations, r.note) for r in rows]

    query, last = (150, '3 models'), (50, '')
    assert plan(3, 1000) == [query, query, last]
    assert plan(9, 60) == [query, (50, 'the pool is used up')]
    assert plan(1, 1000) == [last]


def test_unknown_boxes():
    rows = plan_rounds(config(), 2, dict(size=5), 100, 20, None, None)
    assert [r.boxes for r in rows] == [None, None]
    table = plan_table(rows)
    assert '?' in table and table.splitlines()[0].split()[:3] == [
        'round', 'images', 'boxes'
    ]


@pytest.mark.parametrize('rounds', [1, 200])
def test_long_plans_are_cut(rounds):
    rows = plan_rounds(config(), rounds, dict(size=1), 1000, 20, 60, 3000)
    assert len(plan_table(rows).splitlines()) <= 54


@pytest.mark.parametrize('repeats, note', [
    ('free', 'longer if images are reselected'),
    ('counted', 'fewer images if some are reselected')])
def test_reselected_images_are_noted(repeats, note):
    rows = plan_rounds(config(), 9, dict(size=40, repeats=repeats), 100, 20,
                       60, 300, reselects=True)
    assert [r.note for r in rows] == [
        '', note, f'the pool is used up; {note}']
