"""What detectors and scorers share."""
from .blank_image import blank_image
from .last_layers import last_layers
from .level_grid import flatten_levels, level_grid
from .per_image import head_outputs, image_losses, training_outputs
from .random_state import kept_random_state
from .replaced_forwards import replaced_forwards

__all__ = [
    'blank_image', 'flatten_levels', 'head_outputs', 'image_losses',
    'kept_random_state', 'last_layers', 'level_grid', 'replaced_forwards',
    'training_outputs'
]
