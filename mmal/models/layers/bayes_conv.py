"""The Bayesian convolution of convBayes."""
import math
from typing import Any, Tuple, Union

import torch
from torch import Tensor, nn

from mmal.registry import MODELS
from mmal.uncertainty import at_least_float32


@MODELS.register_module()
class BayesConv2d(nn.Conv2d):
    """A convolution whose weights are normal: w ~ N(k, λ k²).

    Li et al., "Loss Rescaling by Uncertainty Inference for Single-stage
    Object Detection", ICIP 2020, eq. 1. Of an input x the output is normal
    with μ = x * k + b and σ = sqrt(x² * λk²): one kernel k gives both, the
    bias b is no random variable. The weights themselves are never drawn:
    every output element gets noise of its own, which has the right
    distribution for each element, though not between elements.

    In training mode the output is a draw of that, otherwise it is μ, which is
    what ``nn.Conv2d`` gives with the same weights.

    Args:
        *args: Of ``nn.Conv2d``, as are all other keywords: stride, padding,
            padding_mode, dilation, groups, bias ...
        scale (float): λ, >= 0. The weights' standard deviation is sqrt(λ)|k|.
        learn_scale (bool): Whether λ > 0 is learned, as the parameter
            ``log_scale``, from ``scale`` on.
        samples (int): K >= 1, the draws of which the output is the mean.

    Raises:
        ValueError: If ``scale`` or ``samples`` is out of range.

    Example:
        >>> conv = BayesConv2d(1, 1, 1, bias=False, scale=0.25)
        >>> _ = torch.nn.init.constant_(conv.weight, 2.)
        >>> mean, std = conv.moments(torch.full((1, 1, 1, 1), 3.))
        >>> mean.item(), std.item()
        (6.0, 3.0)
    """

    def __init__(self,
                 *args: Any,
                 scale: float = 0.1,
                 learn_scale: bool = False,
                 samples: int = 1,
                 **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not 0 <= scale < math.inf or (learn_scale and scale == 0):
            raise ValueError(
                f'BayesConv2d.scale is {scale}, must be finite and >= 0, and '
                '> 0 where it is learned.')
        if samples < 1 or samples != int(samples):
            raise ValueError(f'BayesConv2d.samples is {samples}, must be an '
                             'integer >= 1.')
        self._scale = scale
        self.samples = samples
        self.register_parameter(
            'log_scale',
            nn.Parameter(torch.tensor(math.log(scale)))
            if learn_scale else None)

    @property
    def scale(self) -> Union[float, Tensor]:
        """λ, a scalar tensor with a gradient where it is learned."""
        if self.log_scale is None:
            return self._scale
        return at_least_float32(self.log_scale).exp()

    def moments(self, x: Tensor) -> Tuple[Tensor, Tensor]:
        """μ and σ of the output; σ >= 0, with a finite gradient at 0.

        Args:
            x (Tensor): [B, in_channels, H, W] or without B.

        Returns:
            tuple[Tensor, Tensor]: Two of [B, out_channels, H', W']. σ is
            float32 or better.
        """
        mean = super().forward(x)
        # squares of float16 would overflow
        with torch.autocast(x.device.type, enabled=False):
            x, weight = at_least_float32(x), at_least_float32(self.weight)
            variance = self._conv_forward(x.square(), weight.square(), None)
            # The root has no finite slope at 0, and rounding may leave less
            # than 0: neither gets a gradient.
            positive = variance > 0
            root = torch.where(
                positive, variance.where(positive, 1).sqrt(), 0)
            return mean, self.scale**0.5 * root

    def sample(self, mean: Tensor, std: Tensor) -> Tensor:
        """The mean of K draws μ + εσ, which is one draw μ + εσ / sqrt(K)."""
        noise = torch.randn_like(std) / math.sqrt(self.samples)
        return mean + (noise * std).to(mean.dtype)

    def forward(self, x: Tensor) -> Tensor:
        """A draw in training mode, μ otherwise; of the shape of μ."""
        if self.training:
            return self.sample(*self.moments(x))
        return super().forward(x)

    def extra_repr(self) -> str:
        """The arguments of ``nn.Conv2d`` and those of this class."""
        return (f'{super().extra_repr()}, scale={float(self.scale):.4g}, '
                f'learn_scale={self.log_scale is not None}, '
                f'samples={self.samples}')


def log_uniform_kl(scale: Tensor) -> Tensor:
    """KL(N(k, λk²) || p) of a weight, for the log-uniform prior p(w) ∝ 1/|w|.

    The weights of eq. 1 are those of Gaussian dropout, and this is the term of
    its variational bound (Kingma et al., "Variational Dropout and the Local
    Reparameterization Trick", NIPS 2015), by the approximation of Molchanov
    et al., "Variational Dropout Sparsifies Deep Neural Networks", ICML 2017,
    eq. 14. It does not depend on k.

    Args:
        scale (Tensor): λ > 0, any shape.

    Returns:
        Tensor: In nats, >= 0, the same shape; falls with λ, to 0. The prior
        has no norm, so 0 is set there, at infinity.

    Example:
        >>> log_uniform_kl(torch.tensor([0.1, 1., 10.]))
        tensor([1.7564, 0.4300, 0.0509])
    """
    log = at_least_float32(scale).log()
    k1, k2, k3 = 0.63576, 1.87320, 1.48695
    return (k1 * torch.sigmoid(-(k2 + k3 * log)) +
            nn.functional.softplus(-log) / 2)
