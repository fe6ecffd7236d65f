"""Configs with mistakes in them end in success, or in one clear error."""
import pytest
from helpers.config_fuzz import BLOCKS, LONGEST, fuzz, outcome_of
from helpers.tiny import tiny_active_learning, tiny_config

COUNT = 400


@pytest.mark.parametrize('block', BLOCKS)
def test_without_a_mistake_they_are_planned(tmp_path, block):
    tree = tiny_config(str(tmp_path)).to_dict()
    tree.update(active_learning=tiny_active_learning(**block), work_dir='w')
    assert outcome_of(tree, tree) == ('success', None)


def test_mistakes(tmp_path, record_property, capsys):
    outcomes, failures = fuzz(str(tmp_path), range(COUNT))
    for name, count in sorted(outcomes.items()):
        record_property(name, count)
    with capsys.disabled():
        print(f' {COUNT} configs with mistakes: {dict(outcomes)}', end='')
    shown = '\n'.join(f'seed {seed}: {outcome}: {type(e).__name__}: '
                      f'{str(e)[:300]}' for outcome, seed, e in failures[:10])
    assert not failures, shown
    assert outcomes['error'] > COUNT / 2 and outcomes['success'] > COUNT / 10
    assert LONGEST == 1500
    assert not (tmp_path / 'work').exists()  # a plan writes nothing
