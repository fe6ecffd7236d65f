"""TensorFloat-32 is off inside and as it was after, by either of torch's
APIs."""
import pytest
import torch
from helpers.forks import fork_run
from helpers.runs import succeeded

from mmal.models.utils.evaluation_mode import full_precision

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


@pytest.mark.parametrize('user', [
    *USERS, *(pytest.param(name, marks=pytest.mark.skipif(
        not HAS_NEW, reason='this torch has no fp32_precision'))
        for name in NEW)])
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
