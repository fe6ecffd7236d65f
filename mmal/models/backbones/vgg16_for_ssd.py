"""The weights that SSD starts from, made from a VGG16 that classifies."""
from typing import Dict

from mmengine.model.weight_init import update_init_info
from mmengine.runner.checkpoint import CheckpointLoader
from torch import Tensor, nn

from mmal.registry import WEIGHT_INITIALIZERS


def decimate_vgg16(weights: Dict[str, Tensor]) -> Dict[str, Tensor]:
    """Weights of ``mmdet.SSDVGG`` from those of torchvision's VGG16.

    Source: Liu et al., SSD, ECCV 2016, section 3, after Chen et al. (DeepLab),
    ICLR 2015: fc6 and fc7 become the convolutions conv6 and conv7. Of their
    4,096 channels every 4th is kept, and of fc6's window of 7 x 7 every 3rd
    row and column, which are 6 pixels apart in the map of twice the
    resolution: hence conv6's dilation of 6.

    Args:
        weights (dict): ``features.0.weight`` to ``features.28.bias``, and
            fc6 and fc7 as ``classifier.0`` [4096, 512 * 7 * 7] and
            ``classifier.3`` [4096, 4096]; others are ignored.

    Returns:
        dict: The same ``features``, conv6 as ``features.31``
        [1024, 512, 3, 3], conv7 as ``features.33`` [1024, 1024, 1, 1].

    Raises:
        KeyError: If a weight is missing.
    """
    fc6 = weights['classifier.0.weight'].view(4096, 512, 7, 7)
    fc7 = weights['classifier.3.weight'].view(4096, 4096, 1, 1)
    features = {name: value for name, value in weights.items()
                if name.startswith('features.')}
    return {
        **features,
        'features.31.weight': fc6[::4, :, ::3, ::3],
        'features.31.bias': weights['classifier.0.bias'][::4],
        'features.33.weight': fc7[::4, ::4],
        'features.33.bias': weights['classifier.3.bias'][::4],
    }


@WEIGHT_INITIALIZERS.register_module()
class VGG16ForSSD:
    """``init_cfg`` of a ``SSDVGG`` of depth 16: all its weights from a VGG16.

    With ``type='Pretrained'`` the same checkpoint leaves conv6 and conv7
    random. See :func:`decimate_vgg16`.

    Args:
        checkpoint (str): A VGG16 for ImageNet as torchvision saves it: a
            file, an address or ``torchvision://vgg16``. Code pickled in it is
            never run.

    Examples:
        >>> backbone = dict(
        ...     type='mmdet.SSDVGG', depth=16, init_cfg=dict(
        ...         type='mmal.VGG16ForSSD', checkpoint='torchvision://vgg16'))
    """

    def __init__(self, checkpoint: str) -> None:
        self.checkpoint = checkpoint

    def __call__(self, module: nn.Module) -> None:
        """Give the module its weights.

        Raises:
            FileNotFoundError: If the checkpoint is missing.
            CheckpointError: If it is damaged, or holds more than data.
            ValueError: If it holds no such VGG16, or the module is another.
        """
        content = CheckpointLoader.load_checkpoint(
            self.checkpoint, map_location='cpu')
        try:
            module.load_state_dict(
                decimate_vgg16(content.get('state_dict', content)))
        except (KeyError, RuntimeError) as error:  # missing; other shapes
            raise ValueError(
                f'{self.checkpoint}: init_cfg of type mmal.VGG16ForSSD wants '
                f'the VGG16 of torchvision with its classifier, and a '
                f'backbone SSDVGG of depth 16 ({error}). Give this file, or '
                f'load weights of another kind with type Pretrained.'
            ) from error
        if hasattr(module, '_params_init_info'):  # mmengine's record
            update_init_info(
                module, f'VGG16ForSSD: decimated from {self.checkpoint}')
