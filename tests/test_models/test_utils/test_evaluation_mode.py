"""What forward passes are computed in: TensorFloat-32 by either of torch's
APIs, or autocast; and all is as it was after."""
import copy
from functools import partial

import pytest
import torch
from helpers.forks import fork_run
from helpers.runs import succeeded
from helpers.tiny import tiny_fcos
from helpers.tiny_classifier import tiny_classifier
from helpers.tiny_detr import tiny_detr
from helpers.tiny_faster_rcnn import tiny_faster_rcnn
from helpers.tiny_one_stage import tiny_one_stage
from helpers.tiny_ssd import tiny_mdn_ssd

from mmal.models.utils import blank_image, last_layers
from mmal.models.utils.evaluation_mode import forward_precision, full_precision
from mmal.recorder import Recorder

BACKENDS = torch.backends
HAS_NEW = hasattr(BACKENDS.cuda.matmul, 'fp32_precision')


def both(**values):
    """Set the old switches."""
    BACKENDS.cudnn.allow_tf32 = values['cudnn']
    BACKENDS.cuda.matmul.allow_tf32 = values['matmul']


USERS = {
    'nothing': lambda: None,
    'old, on': lambda: both(cudnn=True, matmul=True),
    'old, off': lambda: both(cudnn=False, matmul=False),
    'high': lambda: torch.set_float32_matmul_precision('high'),
}
NEW = {
    'everything': lambda: setattr(BACKENDS, 'fp32_precision', 'tf32'),
    'everything ieee': lambda: setattr(BACKENDS, 'fp32_precision', 'ieee'),
    'matmul': lambda: setattr(BACKENDS.cuda.matmul, 'fp32_precision', 'tf32'),
    'conv': lambda: setattr(BACKENDS.cudnn.conv, 'fp32_precision', 'ieee'),
}


def read(get):
    try:
        return get()
    except RuntimeError:  # torch says that the two kinds are mixed
        return 'mixed'


def switches():
    values = [read(lambda: BACKENDS.cudnn.allow_tf32),
              read(lambda: BACKENDS.cuda.matmul.allow_tf32)]
    if HAS_NEW:
        values += [part.fp32_precision for part in (
            BACKENDS, BACKENDS.cudnn.conv, BACKENDS.cudnn.rnn,
            BACKENDS.cuda.matmul)]
    # what nobody has set is precise, or as BACKENDS says
    return ['ieee' if value == 'none' else value for value in values]


ALL_USERS = pytest.mark.parametrize('user', [
    *USERS, *(pytest.param(name, marks=pytest.mark.skipif(
        not HAS_NEW, reason='this torch has no fp32_precision'))
        for name in NEW)])


@ALL_USERS
def test_off_inside_and_as_before_after(user):
    def child():
        torch.cuda.is_available = lambda: True  # the switches are there
        {**USERS, **NEW}[user]()
        before = switches()
        with full_precision():
            inside = switches()
            assert True not in inside and 'tf32' not in inside[3:]
        assert switches() == before

    succeeded(fork_run(child))


@ALL_USERS
def test_tf32_is_on_inside_and_as_before_after(user):
    def child():
        torch.cuda.is_available = lambda: True
        {**USERS, **NEW}[user]()
        before = switches()
        with forward_precision([], 'tf32'):
            old, new = switches()[:2], switches()[4:]
            assert old == [True, True] or new == ['tf32'] * 2 + new[2:] and \
                BACKENDS.cuda.matmul.fp32_precision == 'tf32'
        assert switches() == before

    succeeded(fork_run(child))


MODELS = dict(
    fcos=tiny_fcos, yolov3=partial(tiny_one_stage, 'yolov3'),
    mdn_ssd=tiny_mdn_ssd, faster_rcnn=tiny_faster_rcnn,
    deformable_detr=partial(tiny_detr, 'deformable_detr'),
    classifier=tiny_classifier)


def tensors(outputs):
    if torch.is_tensor(outputs):
        return [outputs]
    return [t for o in outputs for t in tensors(o)]


def autocast_is_off():
    ones = torch.ones(2, 2)
    return (ones @ ones).dtype == torch.float32


@pytest.mark.parametrize('name', MODELS)
@torch.no_grad()
def test_bf16_but_for_the_layers_that_give_outputs(mmdet_scope, name):
    model = MODELS[name]()
    inputs, sample = blank_image(model)
    torch.manual_seed(0)
    inputs = torch.randn_like(inputs)
    layers = {n: m for n, m in model.named_modules()
              if isinstance(m, (torch.nn.Conv2d, torch.nn.Linear))}
    last = last_layers(model)
    seen = []

    def look(call):
        forward = type(call.module).forward
        with torch.autocast('cpu', enabled=False):
            exact = forward(call.module, call.args[0].float())
        # a copy, as some detectors change what a layer returns
        seen.append((call.name, call.output.clone(), exact))

    with forward_precision([model], 'bf16'):
        with Recorder(layers, look):
            inside = tensors(model(inputs, [sample], mode='tensor'))
        model.predict(inputs, [sample.new()])
    assert {t.dtype for t in inside} == {torch.float32}
    assert {name for name, *_ in seen}.issuperset(last)
    for name, output, exact in seen:
        # outputs, and what the detector itself has of layers
        if name in last or '.' not in name:
            assert torch.equal(output, exact), name
            continue
        assert output.dtype == torch.bfloat16, name
        torch.testing.assert_close(output.float(), exact, rtol=0.02,
                                   atol=0.02 * float(exact.abs().max()))

    assert autocast_is_off()
    seen.clear()
    with Recorder(layers, look):
        model(inputs, [sample], mode='tensor')
    assert all(torch.equal(output, exact) for _, output, exact in seen)


@torch.no_grad()
def test_copies_made_inside_have_weights_of_their_own(mmdet_scope):
    model = tiny_fcos()
    inputs = torch.randn(1, 3, 64, 64,
                         generator=torch.Generator().manual_seed(0))
    with forward_precision([model], 'bf16'):
        other = copy.deepcopy(model)
        for part in other.backbone, other.bbox_head:
            for parameter in part.parameters():
                parameter.zero_()
        with Recorder(dict(conv=other.backbone.conv1)) as recorder:
            outputs = tensors(other.bbox_head(other.extract_feat(inputs)))
        assert recorder.calls[0].output.dtype == torch.bfloat16
        assert all((t == t.flatten()[0]).all() for t in outputs)
        outputs = tensors(model.bbox_head(model.extract_feat(inputs)))
        assert outputs[0].std() > 0


def test_a_failed_pass_leaves_nothing_behind(mmdet_scope):
    model = tiny_fcos()
    before = {n: dict(vars(m)) for n, m in model.named_modules()}
    with pytest.raises(RuntimeError), forward_precision([model], 'bf16'):
        model.extract_feat(torch.zeros(1, 5, 64, 64))
    assert autocast_is_off()
    assert before == {n: dict(vars(m)) for n, m in model.named_modules()}


def test_other_precisions_are_refused(mmdet_scope):
    with pytest.raises(ValueError, match="'fp16': choose one of 'fp32', 'tf"):
        with forward_precision([tiny_fcos()], 'fp16'):
            pass
