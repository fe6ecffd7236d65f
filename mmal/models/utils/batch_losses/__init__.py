"""The loss of each image of a batch, in one call of the head's own loss.

mmdet divides each loss by a number of the whole batch, so the loss that an
image has alone takes a call for each image, hundreds of small operations
each time. Here the head is called once, for all images, and its loss modules
give what each image adds to the sum, divided by the image's own number.
"""
from .dense import (
    batch_losses,
    factor_ratios,
    has_factors,
    loss_factors,
    takes_batches,
)
from .reductions import REDUCTIONS
from .regions import region_losses, takes_regions

__all__ = [
    'REDUCTIONS', 'batch_losses', 'factor_ratios', 'has_factors',
    'loss_factors', 'region_losses', 'takes_batches', 'takes_regions'
]
