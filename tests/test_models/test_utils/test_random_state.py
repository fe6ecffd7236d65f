import torch

from mmal.models.utils.random_state import preserve_rng_state


def test_numbers_drawn_inside_change_none_outside():
    torch.manual_seed(3)
    with preserve_rng_state(torch.device('cpu')):
        torch.randn(5)
    found = torch.randn(4)
    torch.manual_seed(3)
    assert torch.equal(found, torch.randn(4))
