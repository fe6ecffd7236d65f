"""The weights of a file into a model."""
from __future__ import annotations

from typing import Optional

from torch import nn
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

from mmal.compat.checkpoints import load_checkpoint


def load_weights(model: nn.Module,
                 path: str,
                 config: Optional[str] = None,
                 mmap: bool = False) -> dict:
    """Give a model the weights of a checkpoint: all of its own, no others.

    Code pickled in the file is never run, see
    :func:`mmal.compat.checkpoints.load_checkpoint`.

    Args:
        model (nn.Module): On any device; changed in place.
        path (str): A checkpoint of mmengine, or weights alone.
        config (str, optional): What the model was built from, for the error.
        mmap (bool): Read from the file while copying, not before.

    Returns:
        dict: What else is in the checkpoint, ``meta`` for one, and the
        weights.

    Raises:
        FileNotFoundError: If there is no such file.
        CheckpointError: If it is damaged, or holds more than data.
        ValueError: If weights are missing, left over or of other shapes.
    """
    content = load_checkpoint(path, mmap=mmap)
    weights = content.get('state_dict', content)
    # a model that was wrapped for several GPUs when it was saved
    consume_prefix_in_state_dict_if_present(weights, 'module.')
    try:
        model.load_state_dict(weights)
    except RuntimeError as e:
        raise ValueError(f'{path} does not fit the detector of '
                         f'{config or "the config"}: {e}') from e
    return content
