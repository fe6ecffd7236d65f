"""Labels of other forms, and photos without labels, as COCO files."""
from .classes import VOC_CLASSES, read_classes
from .conversion import Conversion, Notes
from .folder import folder_to_coco
from .source import read_pool, recognise
from .voc import choose_classes, merge_voc, read_voc, voc_to_coco
from .voc_folder import VocFolder
from .yolo import YoloFolder, yolo_to_coco

__all__ = [
    'Conversion', 'Notes', 'VOC_CLASSES', 'VocFolder', 'YoloFolder',
    'choose_classes', 'folder_to_coco', 'merge_voc', 'read_classes',
    'read_pool', 'read_voc', 'recognise', 'voc_to_coco', 'yolo_to_coco'
]
