"""What a number of boxes buys, by brute force."""
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from lift import bought, lift


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5)), min_size=1,
                max_size=30), st.integers(0, 60))
def test_the_best_images_are_bought_while_boxes_last(images, budget):
    values, boxes = np.array(images).T
    mine = bought(values, boxes, budget).tolist()
    assert boxes[mine].sum() <= budget
    order = sorted(range(len(values)), key=lambda n: (-values[n], n))
    assert mine == order[:len(mine)]
    if len(mine) < len(order):
        assert boxes[mine].sum() + boxes[order[len(mine)]] > budget


def test_random_choices_have_a_lift_of_none_and_the_best_the_highest():
    generator = np.random.default_rng(1)
    worth, boxes = generator.normal(size=200), np.ones(200, int)
    lifts = [lift(generator.random(200), worth, boxes, 40, 500)[0]
             for _ in range(200)]
    assert abs(np.mean(lifts)) < 0.3 and 0.8 < np.std(lifts) < 1.2
    best, images = lift(worth, worth, boxes, 40, 500)
    assert images == 40 and best > max(lifts)
    # the mean and the deviation of drawing 40 of 200 without replacement
    expected = (np.sort(worth)[-40:].sum() - 40 * worth.mean()) / (
        worth.std(ddof=1) * (40 * (1 - 40 / 200))**0.5)
    assert abs(best - expected) < 0.1 * expected
