"""Networks of timm and torchvision that give one vector of an image."""
from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, Union

from torch import Tensor, nn

from mmal.compat.checkpoints import check_exists, load_checkpoint
from mmal.registry import MODELS

# Under which files keep the weights beside other things, e.g. an optimizer's
# state; of DINO's two networks it is the teacher that is used.
_NESTED = ('state_dict', 'model', 'teacher')


class ImageNetwork(nn.Module):
    """A network of another library, without its last layer.

    Args:
        network (nn.Module): Takes images [B, 3, H, W], gives [B, D].
        mean, std (sequence[float]): What its images are normalised with, RGB
            from 0 to 1.
        input_size (tuple[int, int]): Their height and width.

    Attributes:
        data_preprocessor (dict): The same for images as mmcv reads them.
    """

    def __init__(self, network: nn.Module, mean, std,
                 input_size: tuple[int, int]) -> None:
        super().__init__()
        self.network = network
        self.input_size = tuple(input_size)
        self.data_preprocessor = dict(
            mean=[255 * float(x) for x in mean],
            std=[255 * float(x) for x in std], bgr_to_rgb=True)

    def init_weights(self) -> None:
        """Nothing: weights are loaded, or drawn, when it is made."""

    def forward(self, images: Tensor) -> Tensor:
        """[B, D] of images [B, 3, H, W]."""
        return self.network(images)


@MODELS.register_module()
class TimmBackbone(ImageNetwork):
    """A network of timm (PyTorch Image Models), e.g. DINOv2.

    Its embedding is what its last layer reads: a class token, or an average
    over the image, as timm's model does it.

    Args:
        name (str): A name of timm, e.g. 'vit_small_patch14_dinov2.lvd142m'.
        pretrained (bool | str): True downloads timm's weights; a path reads
            them from a file (``.pth`` or ``.safetensors``) of timm or of those
            who trained it, as far as timm can convert it (DINOv2's from
            torch.hub); False draws them at random.
        **kwargs: Of ``timm.create_model``, e.g. ``img_size=224``.

    Raises:
        ValueError: If timm is not installed, has no such model, or the
            weights cannot be downloaded or do not fit.
        FileNotFoundError: If there is no such file.
    """

    def __init__(self,
                 name: str,
                 pretrained: Union[bool, str] = True,
                 **kwargs: Any) -> None:
        try:
            import timm
        except (ImportError, RuntimeError) as e:  # of its torchvision
            raise _not_importable('timm', name, e) from e
        # made without weights: a file's are checked, timm's own call loads
        # what fits and says nothing
        network = _made(
            f'timm has no model {name!r} with {kwargs}',
            lambda: timm.create_model(
                name, pretrained=pretrained is True, num_classes=0, **kwargs),
            downloads=pretrained is True)
        if isinstance(pretrained, str):
            weights = _weights(pretrained)
            convert = getattr(sys.modules[type(network).__module__],
                              'checkpoint_filter_fn', None)
            if convert is not None:
                weights = convert(weights, network)
            _load(network, weights, pretrained, name)
        config = timm.data.resolve_model_data_config(network)
        size = kwargs.get('img_size') or config['input_size'][-2:]
        super().__init__(network, config['mean'], config['std'],
                         (size, size) if isinstance(size, int) else size)


@MODELS.register_module()
class TorchvisionBackbone(ImageNetwork):
    """A classifier of torchvision; its embedding is what its last linear layer
    reads.

    Args:
        name (str): A name of torchvision, e.g. 'resnet50' or 'vit_b_16'.
        pretrained (bool | str): True downloads torchvision's default weights;
            a path reads them from a file; False draws them at random.
        **kwargs: Of ``torchvision.models.get_model``.

    Raises:
        ValueError: If torchvision cannot be imported, has no such classifier,
            or the weights cannot be downloaded or do not fit.
        FileNotFoundError: If there is no such file.
    """

    def __init__(self,
                 name: str,
                 pretrained: Union[bool, str] = True,
                 **kwargs: Any) -> None:
        try:
            from torchvision import models
        except (ImportError, RuntimeError) as e:
            raise _not_importable('torchvision', name, e) from e
        what = f'torchvision has no classifier {name!r}'
        default = _made(what, lambda: models.get_model_weights(name).DEFAULT)
        network = _made(
            what, lambda: models.get_model(
                name, weights=default if pretrained is True else None,
                **kwargs), downloads=pretrained is True)
        if isinstance(pretrained, str):
            _load(network, _weights(pretrained), pretrained, name)
        linear = [n for n, module in network.named_modules()
                  if isinstance(module, nn.Linear)]
        images = default.transforms()
        if not linear or not hasattr(images, 'crop_size'):
            raise ValueError(f'{what} that ends with a linear layer: choose '
                             'another, e.g. resnet50.')
        owner, _, last = linear[-1].rpartition('.')
        setattr(network.get_submodule(owner), last, nn.Identity())
        size, = images.crop_size
        super().__init__(network, images.mean, images.std, (size, size))


def _not_importable(package: str, name: str, error: Exception) -> ValueError:
    return ValueError(
        f'{name!r} is a model of {package}, which cannot be imported '
        f'({type(error).__name__}: {error}). Install it: pip install '
        '"mmdet-al[timm]". Its torchvision has to fit the torch that is '
        'installed.')


def _made(what: str, make: Callable[[], Any],
          downloads: bool = False) -> Any:
    """What a function of another library makes.

    Args:
        what (str): What is wrong if it fails.
        make (callable): The function.
        downloads (bool): Whether it downloads weights.

    Raises:
        ValueError: If it fails, whatever it raises.
    """
    try:
        return make()
    except Exception as e:  # whatever these libraries raise
        advice = ''
        if downloads:
            what = f'{what}, or its weights cannot be downloaded'
            advice = (' Without internet, copy the file of the weights to '
                      "this machine and set pretrained='/path/to/the/file'.")
        raise ValueError(
            f'{what} ({type(e).__name__}: {str(e)[:300]}).{advice}') from e


def _weights(path: str) -> dict[str, Tensor]:
    """The weights in a file; code pickled in it is never run."""
    check_exists(path)
    if path.endswith('.safetensors'):
        from safetensors.torch import load_file
        return load_file(path)
    weights: Mapping = load_checkpoint(path)
    for key in _NESTED:
        if isinstance(weights.get(key), Mapping):
            weights = weights[key]
    return {name.removeprefix('module.'): value
            for name, value in weights.items()}


def _load(network: nn.Module, weights: Mapping[str, Tensor], path: str,
          name: str) -> None:
    """Load all weights of a network; the file may have more."""
    try:
        missing = network.load_state_dict(weights, strict=False).missing_keys
    except RuntimeError as e:  # shapes differ
        raise ValueError(f'the weights in {path} do not fit {name}: '
                         f'{str(e)[:300]}. Name the model that they are '
                         'of.') from e
    if missing:
        raise ValueError(
            f'{path} lacks {len(missing)} of {len(network.state_dict())} '
            f'weights of {name}, e.g. {missing[0]}: name the model that they '
            'are of.')
