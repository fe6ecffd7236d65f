"""Data sets of images with one class, as COCO files, and how to read them."""
from .cifar import make_cifar
from .image_labels import ImageLabels, write_image_labels
from .padded_crop import PaddedCrop
from .svhn import make_svhn

__all__ = [
    'ImageLabels', 'PaddedCrop', 'make_cifar', 'make_svhn',
    'write_image_labels'
]
