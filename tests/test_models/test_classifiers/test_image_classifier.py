import pytest
import torch
from helpers.tiny import build_detector
from helpers.tiny_classifier import (
    tiny_classifier,
    tiny_classifier_config,
)
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData

from mmal.models import LearningLossClassifier, SmallImageResNet
from mmal.models.classifiers.image_classifier import labels_of
from mmal.models.utils import last_layers


def sample(*labels):
    one = DetDataSample(metainfo=dict(img_id=7, ori_shape=(16, 16)))
    one.gt_instances = InstanceData(
        bboxes=torch.zeros(len(labels), 4), labels=torch.tensor(labels).long())
    return one


def test_predictions_are_boxes_around_the_image():
    model, images = tiny_classifier(), torch.randn(2, 3, 16, 16)
    found = model(images, [sample(0), sample(1)], mode='predict')
    probs = model(images).softmax(1)
    for i, one in enumerate(found):
        instances = one.pred_instances
        assert instances.bboxes.tolist() == [[0, 0, 16, 16]]
        assert int(instances.labels) == int(probs[i].argmax())
        torch.testing.assert_close(instances.scores, probs[i].max()[None])
        torch.testing.assert_close(instances.class_probs, probs[i:i + 1])


def test_loss_is_the_cross_entropy_of_the_only_label():
    model, images = tiny_classifier(), torch.randn(2, 3, 16, 16)
    loss = model(images, [sample(2), sample(0)], mode='loss')['loss_cls']
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(
        model(images), torch.tensor([2, 0])))


@pytest.mark.parametrize('labels', [(), (0, 1)])
def test_an_image_needs_exactly_one_label(labels):
    with pytest.raises(ValueError, match=f'image 7 has {len(labels)} labels'):
        labels_of([sample(*labels)])


def test_an_unknown_mode_is_refused():
    with pytest.raises(ValueError, match="mode is 'train'"):
        tiny_classifier()(torch.zeros(1, 3, 16, 16), mode='train')


def test_its_last_layer_is_found():
    assert last_layers(tiny_classifier()) == ('cls_head.fc', )


@pytest.mark.parametrize('depth, last', [(18, 512), (50, 2048)])
def test_resnet_keeps_the_resolution_of_small_images(depth, last):
    with torch.device('meta'):
        maps = SmallImageResNet(depth)(torch.zeros(1, 3, 32, 32))
    assert [m.shape[-1] for m in maps] == [32, 16, 8, 4]
    assert maps[-1].shape[1] == last


def test_batch_norm_is_trained():
    net = SmallImageResNet(18, base_channels=4)
    net.train()
    assert net.bn1.training and net.layer4[0].bn1.training
    with pytest.raises(ValueError, match='deep_stem'):
        SmallImageResNet(18, deep_stem=True)


def learning_loss(**head):
    cfg = dict(tiny_classifier_config(), type='mmal.LearningLossClassifier',
               loss_head=dict(in_channels=[4, 8, 16], **head))
    return build_detector(cfg)


def test_learning_loss_leaves_the_classifier_as_it_is():
    model, plain = learning_loss(), build_detector(tiny_classifier_config())
    assert isinstance(model, LearningLossClassifier)
    weights = model.state_dict()
    for name, value in plain.state_dict().items():
        assert torch.equal(weights[name], value)
    images, samples = torch.randn(4, 3, 16, 16), [sample(i % 3)
                                                  for i in range(4)]
    ours, theirs = model.loss(images, samples), plain.loss(images, samples)
    assert torch.equal(ours['loss_cls'], theirs['loss_cls'])
    ours['loss_rank'].backward()
    assert model.backbone.conv1.weight.grad is None
    assert model.predict_losses(images).shape == (4, )


def test_learning_loss_trains_the_blocks_unless_detached():
    model = learning_loss(detach=False)
    samples = [sample(i % 3) for i in range(4)]
    model.loss(torch.randn(4, 3, 16, 16), samples)['loss_rank'].backward()
    assert model.backbone.conv1.weight.grad.abs().sum() > 0


def test_learning_loss_needs_the_channels():
    cfg = dict(tiny_classifier_config(), type='mmal.LearningLossClassifier',
               loss_head=dict(hidden=8))
    with pytest.raises(ValueError, match='loss_head.in_channels'):
        build_detector(cfg)
