"""The loss prediction head: its formula, what it learns, gradient stops."""
import pytest
import torch

from mmal.models import LossPredictionHead

CHANNELS = [4, 6]


def maps(batch, seed=0, dtype=torch.float32):
    g = torch.Generator().manual_seed(seed)
    sizes = ((8, 5), (4, 3))
    return [
        torch.randn(batch, c, *size, generator=g).to(dtype)
        for c, size in zip(CHANNELS, sizes)
    ]


def gradients(head, features, losses):
    features = [x.clone().requires_grad_() for x in features]
    head.loss(features, losses)['loss_rank'].backward()
    return [x.grad for x in features]


def test_equals_the_formula_for_each_image():
    head, features = LossPredictionHead(CHANNELS, hidden=3), maps(5)
    found = head(features)
    assert found.shape == (5, )
    for i in range(5):
        joined = []
        for branch, x in zip(head.branches, features):
            mean = x[i].flatten(1).sum(1) / x[i, 0].numel()
            joined.append((branch.weight @ mean + branch.bias).clamp(min=0))
        expected = head.fc.weight[0] @ torch.cat(joined) + head.fc.bias[0]
        torch.testing.assert_close(found[i], expected)


def test_learns_the_order_of_losses_in_a_few_steps():
    torch.manual_seed(0)
    head = LossPredictionHead(CHANNELS, hidden=16)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.01)

    def losses(features):  # what the maps say, on an arbitrary scale
        return (features[0][:, 1].mean((1, 2)) -
                features[1][:, 2].mean((1, 2))).exp()

    def ordered(seed):
        features = maps(64, seed)
        return rank_correlation(head(features), losses(features))

    assert ordered(999) < 0.5
    for step in range(100):
        features = maps(32, step)
        optimizer.zero_grad()
        head.loss(features, losses(features))['loss_rank'].backward()
        optimizer.step()
    assert ordered(999) > 0.9


def rank_correlation(a, b):
    ranks = torch.stack([x.argsort().argsort().float() for x in (a, b)])
    return float(torch.corrcoef(ranks)[0, 1])


def test_by_default_no_gradient_reaches_the_maps():
    head = LossPredictionHead(CHANNELS)
    assert gradients(head, maps(4), torch.arange(4.)) == [None, None]
    assert all(p.grad is not None for p in head.parameters())


def test_gradient_flows_to_the_maps_if_wanted():
    head = LossPredictionHead(CHANNELS, detach=False)
    for _ in range(2):
        for grad in gradients(head, maps(4), torch.arange(4.)):
            assert grad.abs().sum() > 0


def test_gradient_stops_after_n_iterations_and_goes_on_from_a_checkpoint():
    head, features = LossPredictionHead(CHANNELS, detach=3), maps(4)

    def flows(head):
        return gradients(head, features, torch.arange(4.))[0] is not None

    assert [flows(head), flows(head)] == [True, True]
    resumed = LossPredictionHead(CHANNELS, detach=3)
    resumed.load_state_dict(head.state_dict())
    for one in (head, resumed):
        assert [flows(one), flows(one), flows(one)] == [True, False, False]
        assert one.iterations == 5


def test_only_training_counts_iterations():
    head = LossPredictionHead(CHANNELS, detach=1)
    head(maps(2))
    head.eval().loss(maps(2), torch.arange(2.))
    assert head.iterations == 0


@pytest.mark.parametrize('detach', [True, False, 1])
def test_every_weight_has_a_gradient_for_a_single_image(detach):
    head = LossPredictionHead(CHANNELS, detach=detach)
    loss = head.loss(maps(1), torch.ones(1))['loss_rank']
    loss.backward()
    assert loss == 0
    assert all((p.grad == 0).all() for p in head.parameters())


def test_mixed_precision_ranks_in_float32():
    head = LossPredictionHead(CHANNELS)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        features = maps(4, dtype=torch.bfloat16)
        loss = head.loss(features, torch.arange(4.))['loss_rank']
    assert loss.dtype == torch.float32
    exact = head.loss([x.float() for x in features], torch.arange(4.))
    torch.testing.assert_close(loss, exact['loss_rank'], atol=0.02, rtol=0.02)
    loss.backward()
    assert all(p.grad.isfinite().all() for p in head.parameters())


def test_the_loss_is_a_choice():
    head = LossPredictionHead(
        CHANNELS,
        loss=dict(type='mmal.PairwiseRankingLoss', margin=0.5, loss_weight=2))
    head.fc.weight.data.zero_()
    loss = head.loss(maps(2), torch.tensor([0., 1.]))['loss_rank']
    torch.testing.assert_close(loss, torch.tensor(1.))


@pytest.mark.parametrize('channels', [[], 256, [0], ['a'], None])
def test_channels_are_checked(channels):
    with pytest.raises(ValueError, match='model.loss_head.in_channels is'):
        LossPredictionHead(channels)


@pytest.mark.parametrize('detach', [-1, 0.8, 'backbone', None])
def test_detach_is_checked(detach):
    with pytest.raises(ValueError, match='model.loss_head.detach is'):
        LossPredictionHead(CHANNELS, detach=detach)


@pytest.mark.parametrize('features', [maps(2)[::-1], maps(2)[:1]])
def test_other_maps_are_refused(features):
    with pytest.raises(ValueError, match=r'in_channels is \[4, 6\], but'):
        LossPredictionHead(CHANNELS)(features)
