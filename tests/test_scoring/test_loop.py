import numpy as np
import pytest
import torch
from helpers.tiny import tiny_config, tiny_fcos

from mmal.randomness import seeded_uniform
from mmal.scoring import (
    BaseScorer,
    RandomScorer,
    ScoringData,
    Split,
    score_pool,
)


class MeanScorer(BaseScorer):
    """A score that a test can compute by itself."""

    def process(self, model, batch):
        assert not model.training
        mean = batch.inputs.flatten(1).double().mean(1)
        return dict(score=mean, embedding=mean[:, None].float())


@pytest.fixture
def data(tmp_path, mmdet_scope):

    def make(batch_size=2, **kwargs):
        config = tiny_config(str(tmp_path))
        dataset = dict(
            config.train_dataloader.dataset,
            pipeline=config.test_dataloader.dataset.pipeline)
        return ScoringData(
            dict(unlabelled=Split(dataset, labels=False)),
            batch_size=batch_size,
            num_workers=0,
            **kwargs)

    return make


def test_scores_are_in_pool_order_whatever_the_batch_size(data):
    model = tiny_fcos().train()
    one, four = (
        score_pool(model, MeanScorer(), data(size)) for size in (1, 4))
    assert one.ids == four.ids == data().ids('unlabelled')
    np.testing.assert_allclose(one.values, four.values, rtol=1e-12)
    np.testing.assert_array_equal(one.tiebreak, four.tiebreak)
    np.testing.assert_allclose(
        one.embeddings[:, 0], one.values, rtol=1e-6, atol=1e-6)
    assert model.training


def test_random_scores_depend_on_seed_round_and_id_alone(data):
    model = tiny_fcos()
    scores = score_pool(model, RandomScorer(), data(seed=3, round=1))
    expected = seeded_uniform(scores.ids, 3, 1, 'random')
    np.testing.assert_array_equal(scores.values, expected)
    other = score_pool(model, RandomScorer(), data(seed=3, round=2))
    assert (other.values != scores.values).all()


def test_random_reads_no_image(data):
    scoring = data(check_image=lambda path, size: 1 / 0)
    assert len(score_pool(tiny_fcos(), RandomScorer(), scoring)) == 12


def bad(path, size):
    return 'it is truncated' if path.endswith('3.png') else None


def test_unreadable_images_have_no_score_and_are_named(data):
    scores = score_pool(tiny_fcos(), MeanScorer(), data(check_image=bad))
    assert len(scores) == 11
    assert list(scores.unreadable.values()) == ['it is truncated']
    assert set(scores.unreadable).isdisjoint(scores.ids)


def test_known_scores_are_taken_over(data):
    model = tiny_fcos()
    whole = score_pool(model, MeanScorer(), data())
    some = whole.take([0, 1, *range(5, len(whole))])
    seen = []

    class Watched(MeanScorer):

        def process(self, model, batch):
            seen.extend(batch.ids)
            return super().process(model, batch)

    again = score_pool(model, Watched(), data(), known=some)
    assert sorted(seen) == sorted(whole.ids[2:5])
    assert again.ids == whole.ids
    np.testing.assert_array_equal(again.values, whole.values)
    np.testing.assert_array_equal(again.embeddings, whole.embeddings)


def test_nan_scores_are_an_error(data):

    class Broken(MeanScorer):

        def process(self, model, batch):
            return dict(score=torch.full((len(batch), ), float('nan')))

    with pytest.raises(ValueError, match='12 of 12 scores are NaN'):
        score_pool(tiny_fcos(), Broken(), data())


def test_a_scorer_must_give_a_row_for_each_image(data):

    class Short(MeanScorer):

        def process(self, model, batch):
            return dict(score=torch.zeros(len(batch) + 1))

    with pytest.raises(ValueError, match="rows of 'score'"):
        score_pool(tiny_fcos(), Short(), data())


def test_compute_sees_the_whole_pool(data):

    class Standardised(MeanScorer):

        def compute(self, columns):
            raw = columns['score']
            return (raw - raw.mean()) / raw.std()

    scores = score_pool(tiny_fcos(), Standardised(), data(batch_size=3))
    assert abs(scores.values.mean()) < 1e-9
    assert scores.values.std() == pytest.approx(1)
