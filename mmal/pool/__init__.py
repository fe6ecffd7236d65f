"""What is labelled, what is left, and who labels it."""
from .budget import (
    BUDGETS,
    Acquisition,
    BaseBudget,
    BoxBudget,
    ImageBudget,
    build_budget,
)
from .coco import (
    CocoData,
    check_classes,
    is_box,
    load_coco,
    merge_annotations,
    write_split,
)
from .data_record import DataRecord, ImageTable
from .duplicates import duplicate_photos, duplicates_note
from .image_loader import ImageLoader
from .images import (
    ImageFiles,
    UnreadableImage,
    UnreadableImagesError,
    check_images,
    load_images,
    read_size,
    verify_image,
)
from .initial import Initial, initial_ids
from .oracle import (
    BaseOracle,
    CocoOracle,
    LabelsPending,
    ManualOracle,
    count_boxes,
)
from .pool import Pool, State, draw_initial
from .reading import load_with_images, refuse_addresses
from .repeat_images import RepeatImages
from .splits import write_candidates, write_repeats, write_round_splits
from .training_rule import (
    TrainingRule,
    check_boxes,
    ignore_untrained,
)

__all__ = [
    'Acquisition', 'BUDGETS', 'BaseBudget', 'BaseOracle', 'BoxBudget',
    'CocoData', 'CocoOracle', 'DataRecord', 'ImageBudget', 'ImageFiles',
    'ImageLoader', 'ImageTable', 'Initial', 'LabelsPending', 'ManualOracle',
    'Pool', 'RepeatImages', 'State', 'TrainingRule', 'UnreadableImage',
    'UnreadableImagesError', 'build_budget', 'check_boxes', 'check_classes',
    'check_images', 'count_boxes', 'draw_initial', 'duplicate_photos',
    'duplicates_note', 'ignore_untrained', 'initial_ids', 'is_box',
    'load_coco', 'load_images', 'load_with_images', 'merge_annotations',
    'read_size', 'refuse_addresses', 'verify_image', 'write_candidates',
    'write_repeats', 'write_round_splits', 'write_split'
]
