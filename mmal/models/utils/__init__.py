"""What detectors and scorers share."""
from .blank_image import blank_image
from .evaluation_mode import evaluation_mode
from .last_layers import last_layers
from .level_grid import flatten_levels, level_grid
from .loading import load_weights
from .patch_forward import patch_forward
from .per_image import head_outputs, image_losses, training_outputs
from .random_state import preserve_rng_state

__all__ = [
    'blank_image', 'evaluation_mode', 'flatten_levels', 'head_outputs',
    'image_losses', 'last_layers', 'level_grid', 'load_weights',
    'patch_forward', 'preserve_rng_state', 'training_outputs'
]
