"""The layers that give a detector's outputs."""
import pytest
import torch
from helpers.tiny import build_detector, tiny_fcos, tiny_fcos_config
from helpers.tiny_detr import TRANSFORMERS as DETRS
from helpers.tiny_detr import tiny_detr
from helpers.tiny_faster_rcnn import tiny_faster_rcnn, tiny_mdn_faster_rcnn
from helpers.tiny_mdn_fcos import tiny_mdn_fcos
from helpers.tiny_one_stage import HEADS, tiny_one_stage
from helpers.tiny_ssd import tiny_mdn_ssd, tiny_ssd

from mmal.models.utils import last_layers
from mmal.recorder import is_hooked

FCOS = ('bbox_head.conv_cls', 'bbox_head.conv_reg',
        'bbox_head.conv_centerness')
FASTER_RCNN = ('rpn_head.rpn_cls', 'rpn_head.rpn_reg',
               'roi_head.bbox_head.fc_cls', 'roi_head.bbox_head.fc_reg')


def in_head(*names, levels=None):
    if levels is None:
        return tuple(f'bbox_head.{n}' for n in names)
    return tuple(f'bbox_head.{n}' % i for n in names for i in range(levels))


SSD = in_head('cls_convs.%d.0', 'reg_convs.%d.0', levels=3)
EXPECTED = dict(
    retina=in_head('retina_cls', 'retina_reg'),
    retina_softmax=in_head('retina_cls', 'retina_reg'),
    atss=in_head('atss_cls', 'atss_reg', 'atss_centerness'),
    gfl=in_head('gfl_cls', 'gfl_reg'),
    yolov3=in_head('convs_pred.%d', levels=2),
    yolox=in_head('multi_level_conv_cls.%d', 'multi_level_conv_reg.%d',
                  'multi_level_conv_obj.%d', levels=2))


BRANCHES = in_head('cls_branches.%d', 'reg_branches.%d.4', levels=2)
TRANSFORMERS = dict(
    detr=in_head('fc_cls', 'fc_reg'),
    conditional_detr=in_head('fc_cls', 'fc_reg'),
    dab_detr=in_head('fc_cls', 'fc_reg.layers.2'),
    deformable_detr=in_head('cls_branches.0', 'reg_branches.0.4'),
    deformable_detr_refined=BRANCHES,
    deformable_detr_two_stage=BRANCHES,
    dino=BRANCHES)


@pytest.mark.parametrize('build, expected', [
    (tiny_fcos, FCOS),
    (tiny_ssd, SSD),
    (tiny_mdn_ssd, SSD),
    (tiny_faster_rcnn, FASTER_RCNN),
    (tiny_mdn_faster_rcnn, FASTER_RCNN),
])
def test_layers_of_this_package_and_of_the_paper(build, expected):
    assert last_layers(build()) == expected


@pytest.mark.parametrize('head', sorted(EXPECTED))
def test_layers_of_mmdets_heads(head):
    assert last_layers(tiny_one_stage(head)) == EXPECTED[head]


@pytest.mark.parametrize('kind', sorted(TRANSFORMERS))
def test_layers_of_transformers(kind):
    assert last_layers(tiny_detr(kind)) == TRANSFORMERS[kind]


@pytest.mark.parametrize('head, type', [('retina', 'mmal.BayesRetinaHead'),
                                        ('yolov3', 'mmal.BayesYOLOV3Head')])
def test_a_branch_of_training_alone_is_not_among_them(head, type):
    assert last_layers(tiny_one_stage(head, type=type)) == EXPECTED[head]


def test_layers_of_mixture_fcos():
    extras = ('cls_deltas', 'cls_weights', 'reg_deltas', 'reg_variances',
              'reg_weights')
    found = last_layers(tiny_mdn_fcos())
    assert found[:3] == FCOS
    assert sorted(found[3:]) == sorted(
        in_head(*(f'conv_{x}' for x in extras)))


def test_stacked_convolutions_of_ssd_are_not_last():
    model = tiny_ssd(stacked_convs=1, feat_channels=8)
    assert last_layers(model) == in_head(
        'cls_convs.%d.1', 'reg_convs.%d.1', levels=3)


def test_the_head_that_predicts_losses_is_not_among_them():
    config = dict(tiny_fcos_config(), type='mmal.LearningLossDetector')
    assert last_layers(build_detector(config)) == FCOS


def test_mode_weights_buffers_and_random_state_are_left_alone():
    model = build_detector(tiny_fcos_config()).train()
    model.backbone.conv1.eval()
    model.backbone.conv1.weight.requires_grad_(False)
    modes = [m.training for m in model.modules()]
    state = {k: v.clone() for k, v in model.state_dict().items()}
    random = torch.get_rng_state()
    with torch.no_grad():
        assert last_layers(model) == FCOS
    assert modes == [m.training for m in model.modules()]
    assert not any(is_hooked(m) for m in model.modules())
    assert torch.equal(random, torch.get_rng_state())
    for key, value in model.state_dict().items():
        assert torch.equal(value, state[key])


def test_frozen_layers_are_found():
    model = tiny_fcos()
    model.requires_grad_(False)
    assert last_layers(model) == FCOS


def test_a_head_may_answer_for_itself():
    model = tiny_fcos()
    model.bbox_head.last_layer_names = lambda: ('conv_cls', )
    assert last_layers(model) == ('bbox_head.conv_cls', )
    model.bbox_head.last_layer_names = lambda: ('conv_clss', )
    with pytest.raises(ValueError, match="'conv_clss'"):
        last_layers(model)


def test_no_layer_at_all_is_an_error():
    model = tiny_one_stage('retina')
    model.bbox_head.forward = lambda maps: ([m * 2 for m in maps], )
    model.neck.forward = lambda maps: [m.detach() for m in maps]
    with pytest.raises(ValueError, match='name the layers'):
        last_layers(model)


def test_tiny_heads_are_all_named_here():
    assert sorted(EXPECTED) == sorted(HEADS)
    assert sorted(TRANSFORMERS) == sorted(DETRS)
