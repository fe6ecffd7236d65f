"""How difficult each class is, followed while a detector is trained."""
from __future__ import annotations

from typing import Optional

import torch
from mmengine.dist import all_reduce
from mmengine.hooks import Hook
from mmengine.runner import Runner
from torch import Tensor, nn

from mmal.models.utils.match_recorder import MatchRecorder, class_sums
from mmal.registry import HOOKS
from mmal.scoring.detector import final_head
from mmal.uncertainty import match_quality
from .runner_model import unwrapped

# In a checkpoint, beside the weights: a model that is built anew has no place
# for it among them.
_KEY = 'mmal_class_difficulty'


@HOOKS.register_module()
class ClassDifficultyHook(Hook):
    r"""An exponential average of the difficulty of each class's matches.

    Yang et al., "Plug and Play Active Learning for Object Detection", CVPR
    2024. In each iteration, with the :math:`N_c` matches j of class c, all
    processes together,

    .. math:: d_c \leftarrow m_c d_c + (1 - m_c) \frac{1}{N_c} \sum_j
        (1 - p_j^\xi \, IoU_j^{1 - \xi})

    from :math:`d_c = 1`. :math:`m_c` is ``momentum``, to the power of the
    iterations since the class was last matched, so that a rare class learns
    as much from one match as the time between is long. The d of a class
    that is not matched stays as it is. (In the code that the authors
    published it rises: the average of no matches counts as a quality of 0.)

    The final head of the detector carries the result as
    ``class_difficulty``, float64 [C], for
    :class:`~mmal.scoring.DifficultyCalibratedScorer`; it is saved in
    checkpoints and read again on resume, and is no weight of the model.

    Cost: nothing but sums over matches; p and IoU are read from what the
    head gives its losses, see
    :class:`~mmal.models.utils.match_recorder.MatchRecorder`.

    Args:
        momentum (float): In [0, 1); the paper's is 0.999 a step.
        xi (float): Share of the class, in [0, 1].

    Raises:
        ValueError: If a number is out of its range, or, when training starts,
            the head has no losses that can be read.
    """

    def __init__(self, momentum: float = 0.999, xi: float = 0.6) -> None:
        if not 0 <= momentum < 1:
            raise ValueError(f'ClassDifficultyHook.momentum is {momentum}: '
                             'give a number of at least 0 and below 1.')
        if not 0 <= xi <= 1:
            raise ValueError(f'ClassDifficultyHook.xi is {xi}: give a number '
                             'from 0 to 1.')
        self.momentum = momentum
        self.xi = xi
        self._head: Optional[nn.Module] = None
        self._recorder: Optional[MatchRecorder] = None
        # float64 [2, C]: difficulty, and iterations since the last match
        self._state: Optional[Tensor] = None
        self._sums: Optional[Tensor] = None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Go on from where a training was left."""
        # a detector that begins with the weights of another does not
        if runner.cfg.get('resume'):
            self._state = checkpoint.get(_KEY)

    def rehearse(self, runner: Runner) -> None:
        """Give an untrained detector what a training would, and find heads
        that cannot be read."""
        self.before_train(runner)
        self.after_train(runner)

    def before_train(self, runner: Runner) -> None:
        """Begin to watch the head."""
        model = unwrapped(runner)
        head = self._head = final_head(model)
        device = next(model.parameters()).device
        if self._state is None:
            self._state = torch.stack([
                torch.ones(head.num_classes, dtype=torch.float64),
                torch.zeros(head.num_classes, dtype=torch.float64)])
        self._state = self._state.to(device)
        self._sums = torch.zeros_like(self._state)
        self._show()
        self._recorder = MatchRecorder(head, self._add)
        self._recorder.__enter__()

    def after_train_iter(self,
                         runner: Runner,
                         batch_idx: int,
                         data_batch=None,
                         outputs: Optional[dict] = None) -> None:
        """Let the matches of one iteration count."""
        all_reduce(self._sums)
        quality, number = self._sums
        difficulty, since = self._state
        memory = self.momentum ** (since + 1)
        updated = memory * difficulty + (1 - memory) * (
            1 - quality / number.clamp(min=1))
        seen = number > 0
        self._state = torch.stack([torch.where(seen, updated, difficulty),
                                   torch.where(seen, 0, since + 1)])
        self._sums = torch.zeros_like(self._sums)
        self._show()

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep the state beside the weights."""
        if self._state is not None:
            checkpoint[_KEY] = self._state.cpu()

    def after_train(self, runner: Runner) -> None:
        """Let go of the head."""
        if self._recorder is not None:
            self._recorder.__exit__(None, None, None)
            self._recorder = None

    def _add(self, labels: Tensor, probs: Tensor, ious: Tensor) -> None:
        if self._head.training:
            quality = match_quality(probs, ious, self.xi)
            self._sums += class_sums(labels, quality, self._sums.size(1))

    def _show(self) -> None:
        # No weight and no buffer: a checkpoint fits the model with and without
        # the hook, and averages of models (EMA) pair buffers by their places.
        self._head.class_difficulty = self._state[0].clone()
