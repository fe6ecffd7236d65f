"""Data sets that are made or read here, as COCO files."""
from .cifar import make_cifar
from .digit_images import make_digit_images
from .digits import make_digits
from .image_labels import ImageLabels, write_image_labels
from .padded_crop import PaddedCrop
from .svhn import make_svhn

__all__ = [
    'ImageLabels', 'PaddedCrop', 'make_cifar', 'make_digit_images',
    'make_digits', 'make_svhn', 'write_image_labels'
]
