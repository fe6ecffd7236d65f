"""Numbers that are the same on every device, in few kernels."""
import pytest
import torch

from mmal.random_tensors import TensorStreams

pytestmark = pytest.mark.cuda


@pytest.mark.parametrize('call', [
    lambda s, device: s.bits((3, 5), device),
    lambda s, device: s.uniform((7, ), device),
    lambda s, device: s.bernoulli(0.3, (4, 1001), device),
    lambda s, device: s.normal((3, 50, 41), device)])
def test_numbers_are_those_of_the_cpu(device, call):
    here, there = TensorStreams([3, 'a'], 1), TensorStreams([3, 'a'], 1)
    for _ in range(2):  # goes on alike
        expected, found = call(here, torch.device('cpu')), call(there, device)
        assert found.device.type == device.type
        assert torch.equal(found.cpu(), expected)
