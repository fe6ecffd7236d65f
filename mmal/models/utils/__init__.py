"""What detectors and scorers share."""
from .per_image import head_outputs, image_losses, training_outputs

__all__ = ['head_outputs', 'image_losses', 'training_outputs']
