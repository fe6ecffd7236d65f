import pytest
import torch

from mmal.models import BayesClsHead, LinearClsHead
from mmal.uncertainty import bald, difficulty

SIGMOID = dict(type='mmdet.CrossEntropyLoss', use_sigmoid=True)


@pytest.fixture
def maps(mmdet_scope):
    torch.manual_seed(0)
    return [torch.randn(5, 6, 4, 4)]


def built(kind, **kwargs):
    torch.manual_seed(1)
    head = kind(4, 6, loss_cls=SIGMOID, **kwargs)
    head.init_weights()
    return head


def test_predictions_weights_and_eval_losses_are_the_plain_heads(maps):
    plain, bayes = built(LinearClsHead).eval(), built(BayesClsHead).eval()
    labels = torch.tensor([0, 1, 2, 3, 0])
    torch.testing.assert_close(plain(maps), bayes(maps), rtol=0, atol=0)
    logits = plain(maps)
    assert torch.equal(
        plain.image_losses(logits, labels), bayes.image_losses(logits, labels))
    extra = set(bayes.state_dict()) - set(plain.state_dict())
    assert extra and all(k.startswith('branch.') for k in extra)


def test_the_loss_is_rescaled_by_the_difficulty_of_each_class(maps):
    head = built(BayesClsHead).train()
    labels = torch.tensor([0, 1, 2, 3, 0])
    (mean, std), = head.branch_moments(maps)
    logits = head(maps)
    own = torch.nn.functional.one_hot(labels, 4)
    factor = difficulty(
        bald(mean, std).flatten(1), (logits > 0) == own.bool())
    plain = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, own.float(), reduction='none')
    expected = (plain * factor).sum() / 5
    losses = head.loss(maps, labels)
    torch.testing.assert_close(losses['loss_cls'], expected)
    assert {n for n in losses if 'loss' in n} == {'loss_cls', 'loss_branch'}
    torch.testing.assert_close(
        losses['branch_factor'], expected / (plain.sum() / 5))
    # the only loss of the head, whatever its size
    assert losses['branch_share'] == losses['plain_share'] == 1
    sum(losses['loss_branch']).backward()
    assert head.branch[0][0].weight.grad.abs().sum() > 0


def test_without_rescaling_the_branch_only_learns(maps):
    head = built(BayesClsHead, branch=dict(rescale=False)).train()
    labels = torch.tensor([0, 1, 2, 3, 0])
    losses = head.loss(maps, labels)
    torch.testing.assert_close(
        losses['loss_cls'], head.image_losses(head(maps), labels).mean())
    assert 'loss_branch' in losses


def test_a_softmax_is_refused(mmdet_scope):
    with pytest.raises(ValueError, match='use_sigmoid'):
        BayesClsHead(4, 6)
