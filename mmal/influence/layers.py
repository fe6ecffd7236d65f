"""The layers whose parameters an influence is taken over.

:func:`find_layers` finds them by name, :class:`LayerRecorder` captures their
inputs and outputs while a batch passes through the model.
"""
import difflib
from collections import OrderedDict
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Dict, Iterator, List, Optional, Sequence, Set, Tuple, Union

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmal.recorder import ModuleCall, Recorder

AFFINE_TYPES: Set[type] = {nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d}


def register_affine(layer_type: type) -> type:
    """Treat a subclass of ``nn.Linear`` or ``nn.Conv*d`` as its base class.

    Only for wrappers whose output is that of the base class, such as those of
    mmcv. A layer that changes its weight or input before use (a normalised
    convolution) must not be registered.

    Args:
        layer_type (type): The class. Instances of its own subclasses are not
            included.

    Returns:
        type: ``layer_type``, so that it serves as a decorator.

    Raises:
        TypeError: The class is no kind of linear or convolution layer.
    """
    bases = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
    if not (isinstance(layer_type, type) and issubclass(layer_type, bases)):
        raise TypeError(f'{layer_type!r} is no subclass of nn.Linear or '
                        'nn.Conv1d/2d/3d and cannot be treated as one.')
    AFFINE_TYPES.add(layer_type)
    return layer_type


def is_affine(module: nn.Module) -> bool:
    """Whether the output is linear in ``weight`` and ``bias``, its params."""
    own = {k for k, p in module._parameters.items() if p is not None}
    return type(module) in AFFINE_TYPES and 'weight' in own and own <= {
        'weight', 'bias'
    }


def find_layers(model: nn.Module,
                names: Union[str, Sequence[str]]) -> 'OrderedDict':
    """Modules by name.

    Args:
        model (nn.Module): The model.
        names (str | Sequence[str]): Names as ``model.named_modules()`` gives
            them, or fnmatch patterns of them. A container stands for all
            modules in it that own parameters.

    Returns:
        OrderedDict[str, nn.Module]: Name to module, in the model's order. A
        module reached under several names appears once.

    Raises:
        ValueError: A name matches no module, or only modules without
            parameters. The message has the closest names.

    Example:
        >>> list(find_layers(nn.Sequential(nn.Linear(1, 2), nn.ReLU()), '*'))
        ['0']
    """
    names = [names] if isinstance(names, str) else list(names)
    if not names:
        raise ValueError('no layer names given: name at least one layer.')
    modules = dict(model.named_modules(remove_duplicate=False))
    wanted: Set[int] = set()
    for name in names:
        matched = [m for n, m in modules.items() if fnmatchcase(n, name)]
        owners = [m for top in matched for m in top.modules()
                  if _owns_parameters(m)]
        if not owners:
            what = 'has no parameters' if matched else 'matches no module'
            choices = [n for n, m in modules.items()
                       if n and _owns_parameters(m)]
            close = difflib.get_close_matches(name, choices, n=5, cutoff=0.3)
            close = close or choices[-5:]
            raise ValueError(
                f"layer '{name}' {what} of the model. Closest names: "
                f"{', '.join(close) or 'none, it has no layers'}.")
        wanted |= {id(m) for m in owners}
    # A module that has two names is one layer: twice in the list, each of
    # its calls would be recorded twice.
    layers = OrderedDict()
    for name, module in modules.items():
        if id(module) in wanted:
            wanted.remove(id(module))
            layers[name] = module
    return layers


def _owns_parameters(module: nn.Module) -> bool:
    return any(p is not None for p in module._parameters.values())


@dataclass(eq=False)
class Layer:
    """One chosen layer.

    Attributes:
        name (str): Its name in the model.
        module (nn.Module): The module.
        index (dict[str, int]): The param index of each of its own
            parameters: where it is in ``LayerRecorder.params`` and in every
            parameter vector. Layers that share a parameter have the same one.
        affine (bool): Whether it is a plain convolution or linear layer.
    """
    name: str
    module: nn.Module
    index: Dict[str, int]
    affine: bool

    @property
    def key(self) -> Tuple[Tuple[str, int], ...]:
        """``index`` as a key; equal for layers that share all parameters."""
        return tuple(sorted(self.index.items()))

    def pieces(
            self,
            vector: Sequence[Tensor]) -> Tuple[Tensor, Optional[Tensor]]:
        """An affine layer's (weight, bias) piece of a parameter vector."""
        bias = self.index.get('bias')
        return (vector[self.index['weight']],
                None if bias is None else vector[bias])


@dataclass(eq=False)
class Call:
    """One call of one affine layer.

    Attributes:
        layer (Layer): The layer.
        input (Tensor): Its input, detached.
        output (Tensor): Its output, with the graph that led to it.
        source: The graph node that made the input, None if it is a constant:
            where a walk through the graph goes on that steps over the call.
        batched (bool): Whether dim 0 of both counts samples or rows.
        version (int): How often the input had been changed in place when it
            was recorded.
    """
    layer: Layer
    input: Tensor
    output: Tensor
    source: object
    batched: bool
    version: int

    def check(self) -> None:
        """Raise RuntimeError if the input was changed in place since.

        Autograd tells for what it has saved itself; a detached input is not.
        """
        if self.input._version != self.version:
            raise RuntimeError(
                f"the input of layer '{self.layer.name}' was changed in place "
                'after the call, so its gradient cannot be computed. Set '
                'inplace=False in the operation that follows.')


class LayerRecorder:
    """Captures what goes in and out of the chosen layers.

    Inside the ``with`` block only the chosen parameters require grad, so
    autograd records nothing of the trunk before them; gradients are enabled.
    On leaving, every ``requires_grad`` flag is what it was. Entering again
    forgets the calls of the last time.

    Affine layers (``nn.Linear``, ``nn.Conv1d/2d/3d`` and types given to
    :func:`register_affine`) are recorded call by call. All other layers (norm
    layers, custom ones) are only unfrozen; their products are computed by
    per-image autograd.

    Args:
        model (nn.Module): The model, in eval mode.
        names (str | Sequence[str]): See :func:`find_layers`.
        bias (bool): Whether biases are among the chosen parameters.
        image_dim (int): The dim that counts images in the inputs of linear
            layers with so many dims; calls are recorded with it moved to the
            front. -3 for the ``[..., B, queries, C]`` of detection
            transformers.

    Attributes:
        layers (list[Layer]): The layers, in the model's order.
        params (list[nn.Parameter]): The chosen parameters, each once. A
            parameter vector follows this order.
        calls (list[Call]): The calls of affine layers, in time's order.
        proven (set[int]): Ids of the layers whose calls were seen to have a
            row per image.
        suspect (set[int]): Ids of the layers that were seen without.
        clean_graphs (set[tuple]): Marks of graphs that reach the parameters
            by calls alone, see :func:`mmal.influence.products.graph_mark`.
        always_walk (bool): Whether a graph was seen that does otherwise.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
        >>> recorder = LayerRecorder(model.eval(), '2')
        >>> with recorder:
        ...     losses = model(torch.ones(5, 3)).square().sum(1)
        >>> [tuple(c.input.shape) for c in recorder.calls]
        [(5, 4)]
    """

    def __init__(self,
                 model: nn.Module,
                 names: Union[str, Sequence[str]],
                 bias: bool = True,
                 image_dim: int = 0) -> None:
        self.model = model
        self.bias = bias
        self.image_dim = image_dim
        self.params: List[nn.Parameter] = []
        self.layers: List[Layer] = []
        self.calls: List[Call] = []
        self.proven: Set[int] = set()
        self.suspect: Set[int] = set()
        self.clean_graphs: Set[Tuple] = set()
        self.always_walk = False
        self._flags: List[Tuple[nn.Parameter, bool]] = []
        self._grad_mode: Optional[torch.enable_grad] = None
        for name, module in find_layers(model, names).items():
            index: Dict[str, int] = {}
            for key, param in module._parameters.items():
                if param is None or (key == 'bias' and not bias):
                    continue
                # Tied weights are one parameter, in the vector once; the
                # layers that share it add up what they give to it.
                param_index = next(
                    (i for i, p in enumerate(self.params) if p is param), None)
                if param_index is None:
                    param_index = len(self.params)
                    self.params.append(param)
                index[key] = param_index
            if index:
                affine = is_affine(module) and 'weight' in index
                self.layers.append(Layer(name, module, index, affine))
        if not self.params:
            raise ValueError(f'layers {names} have no parameters left once '
                             'biases are dropped; set bias=True.')
        self._affine = {
            layer.name: layer for layer in self.layers if layer.affine}
        self._recorder = Recorder(
            {name: layer.module for name, layer in self._affine.items()},
            self._record)

    @property
    def num_params(self) -> int:
        """P, the number of chosen parameters."""
        return sum(p.numel() for p in self.params)

    def __enter__(self) -> 'LayerRecorder':
        if self._grad_mode is not None:
            raise RuntimeError('a LayerRecorder cannot be entered twice.')
        self.calls = []
        # Of the whole model, also what is not chosen: a trunk that requires
        # grad would have its whole graph kept until the losses are done.
        self._flags = [(p, p.requires_grad) for p in self.model.parameters()]
        self._grad_mode = torch.enable_grad()
        self._grad_mode.__enter__()
        for param, _ in self._flags:
            param.requires_grad_(False)
        for param in self.params:
            param.requires_grad_(True)
        self._recorder.__enter__()
        return self

    def __exit__(self, *exc) -> None:
        self._recorder.__exit__(*exc)
        for param, flag in self._flags:
            param.requires_grad_(flag)
        self._flags = []
        self._grad_mode.__exit__(*exc)
        self._grad_mode = None

    def clear(self) -> None:
        """Forget the recorded calls, and with them their graph."""
        self.calls = []

    @contextmanager
    def unfrozen(self) -> Iterator[None]:
        """Let the chosen parameters require grad for a moment.

        Autograd refuses to differentiate with respect to a frozen parameter,
        even through a graph made before it was frozen.
        """
        flags = [p.requires_grad for p in self.params]
        try:
            for param in self.params:
                param.requires_grad_(True)
            with torch.enable_grad():
                yield
        finally:
            for param, flag in zip(self.params, flags):
                param.requires_grad_(flag)

    def _record(self, call: ModuleCall) -> Optional[Tensor]:
        x = call.args[0] if call.args else call.kwargs.get('input')
        output = call.output
        if not (isinstance(x, Tensor) and isinstance(output, Tensor)):
            return None
        linear = isinstance(call.module, nn.Linear)
        # Images are counted by dim 0, but for linear layers whose input has
        # image_dim between the first dim and the channels.
        dim = self.image_dim + (x.dim() if self.image_dim < 0 else 0)
        if not (linear and 0 < dim < x.dim() - 1):
            dim = 0
        batched = x.dim() >= 2 if linear \
            else x.dim() == call.module.weight.dim()
        leaf = x.grad_fn is None and x.requires_grad
        if output.dtype != call.module.weight.dtype:
            # Autocast has rounded it; the gradients by it would be, too.
            output = apply_affine(call.module, x, call.module.weight,
                                  call.module.bias)
        output = output.movedim(dim, 0)
        # The input is detached: products take it as a constant, and what was
        # before the layer need not stay in memory for them.
        self.calls.append(
            Call(self._affine[call.name], x.detach().movedim(dim, 0), output,
                 x if leaf else x.grad_fn, batched, x._version))
        # An in-place activation must not change the recorded output.
        return output.movedim(0, dim).clone()


def apply_affine(module: nn.Module, x: Tensor, weight: Tensor,
                 bias: Optional[Tensor]) -> Tensor:
    """The layer's output with other parameters than its own.

    Args:
        module (nn.Module): A linear or convolution layer; gives stride,
            padding (any mode), dilation and groups.
        x (Tensor): Input, cast to the dtype of ``weight``.
        weight (Tensor): Weight; may have more output channels than the
            layer's own.
        bias (Tensor, optional): Bias.

    Returns:
        Tensor: ``[B, C_out, *positions]``, or ``[..., C_out]`` if linear.
    """
    x = x.to(weight.dtype)
    # A recorded input may be in half precision. What is computed from it is
    # summed over thousands of positions, so it is computed in full.
    with torch.autocast(x.device.type, enabled=False):
        if isinstance(module, nn.Linear):
            return F.linear(x, weight, bias)
        return module._conv_forward(x, weight, bias)


def apply_affine_many(module: nn.Module, x: Tensor, weights: Sequence[Tensor],
                      biases: Optional[Sequence[Tensor]]) -> Tensor:
    """:func:`apply_affine` for M sets of parameters in one call.

    The M sets are stacked as output channels of one wider layer, which reads
    the input once instead of M times.

    Returns:
        Tensor: ``[M, *output shape]``.
    """
    count, groups = len(weights), getattr(module, 'groups', 1)

    def interleaved(tensors: Sequence[Tensor]) -> Tensor:
        # Torch gives the first C / groups of all channels to the first group
        # of inputs, so the M sets lie side by side within each group.
        stacked = torch.stack(list(tensors)).unflatten(1, (groups, -1))
        return stacked.transpose(0, 1).flatten(0, 2)

    weight = interleaved(weights)
    bias = None if biases is None else interleaved(biases)
    out = apply_affine(module, x, weight, bias)
    if isinstance(module, nn.Linear):
        return out.unflatten(-1, (count, -1)).movedim(-2, 0)
    # The channels' dim counted from the back: the input of a convolution may
    # come without a batch dim.
    dim = out.dim() - (module.weight.dim() - 1)
    out = out.unflatten(dim, (groups, count, -1)).movedim(dim + 1, 0)
    return out.flatten(dim + 1, dim + 2)


def input_patches(module: nn.Module, x: Tensor,
                  rows: Tensor) -> Optional[Tensor]:
    """What a layer sees at single output positions.

    Args:
        module (nn.Module): A linear or ungrouped 2D convolution layer.
        x (Tensor): Its input.
        rows (Tensor): ``[R]`` positions, counted over all dims of the output
            but the channels.

    Returns:
        Tensor | None: ``[R, K]``, so that its product with the flattened
        weight ``[C_out, K]`` gives the output there; None for other layers.
    """
    if isinstance(module, nn.Linear):
        return x.reshape(-1, x.size(-1))[rows]
    if not isinstance(module, nn.Conv2d) or module.groups != 1:
        return None
    mode = module.padding_mode
    x = F.pad(x, module._reversed_padding_repeated_twice,
              'constant' if mode == 'zeros' else mode)
    # Where the kernel lies along y and along x, for each row. Only the rows
    # are read: unfolded, the input would be k * k times as large.
    sides = list(zip(x.shape[2:], module.kernel_size, module.dilation,
                     module.stride))
    height, width = ((size - dilation * (kernel - 1) - 1) // stride + 1
                     for size, kernel, dilation, stride in sides)
    at_y, at_x = (
        corner[:, None] * stride +
        torch.arange(kernel, device=rows.device) * dilation
        for corner, (_, kernel, dilation, stride) in zip(
            (rows // width % height, rows % width), sides))
    images = rows // (height * width)
    patches = x.permute(0, 2, 3, 1)[images[:, None, None], at_y[:, :, None],
                                    at_x[:, None]]  # [R, k, k, C]
    return patches.permute(0, 3, 1, 2).flatten(1)
