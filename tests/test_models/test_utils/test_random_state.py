import torch

from mmal.models.utils import kept_random_state


def test_numbers_drawn_inside_change_none_outside():
    torch.manual_seed(3)
    with kept_random_state(torch.device('cpu')):
        torch.randn(5)
    found = torch.randn(4)
    torch.manual_seed(3)
    assert torch.equal(found, torch.randn(4))
