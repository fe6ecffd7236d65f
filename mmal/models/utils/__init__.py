"""What detectors and scorers share."""
from .level_grid import flatten_levels, level_grid
from .per_image import head_outputs, image_losses, training_outputs

__all__ = [
    'flatten_levels', 'head_outputs', 'image_losses', 'level_grid',
    'training_outputs'
]
