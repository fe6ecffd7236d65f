"""Where a GPU's host would have to wait, found without a GPU."""
import torch
from torch.utils._python_dispatch import TorchDispatchMode

WAITING = ('nonzero', '_local_scalar_dense', 'masked_select', '_unique2',
           'unique_dim', 'bincount', 'equal')


class Waits(TorchDispatchMode):
    """Records the operators inside whose result has a size or a value that
    the host must know before it can go on.

    Copies between devices, and ``tolist`` on the CPU, are not seen.

    Attributes:
        names (list[str]): Their names, in order.

    Examples:
        >>> x = torch.arange(3)
        >>> with Waits() as waits:
        ...     x[x > 0], bool(x.any()), x.where(x > 0, 7)
        (tensor([1, 2]), True, tensor([7, 1, 2]))
        >>> waits.names
        ['index', '_local_scalar_dense']
    """

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func._schema.name.removeprefix('aten::')
        if name in WAITING or name.startswith('index') and masked(args):
            self.names.append(name)
        return func(*args, **(kwargs or {}))


def masked(args):
    """Whether an indexing operator is given a mask."""
    return any(torch.is_tensor(x) and x.dtype == torch.bool
               for arg in args if isinstance(arg, (list, tuple)) for x in arg)
