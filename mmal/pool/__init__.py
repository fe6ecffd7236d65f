"""What is labelled, what is left, and who labels it."""
from mmal.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(__name__, {
    'budget': [
        'BUDGETS', 'Acquisition', 'BaseBudget', 'BoxBudget', 'ImageBudget',
        'SecondsBudget', 'build_budget',
    ],
    'coco': [
        'CocoData', 'check_classes', 'is_box', 'load_coco',
        'merge_annotations', 'write_split',
    ],
    'costs': ['CostModel', 'count_by_class'],
    'data_record': ['DataRecord', 'ImageTable'],
    'duplicates': ['duplicate_photos', 'duplicates_note'],
    'image_loader': ['ImageLoader'],
    'images': [
        'ImageFiles', 'UnreadableImage', 'UnreadableImagesError',
        'check_images', 'load_images', 'read_size', 'verify_image',
    ],
    'initial': ['Initial', 'initial_ids'],
    'oracle': [
        'BaseOracle', 'CocoOracle', 'LabelsPending', 'ManualOracle',
        'count_boxes',
    ],
    'pool': ['Pool', 'State', 'draw_initial'],
    'reading': ['load_with_images', 'refuse_addresses'],
    'repeat_images': ['RepeatImages'],
    'splits': ['write_labelled', 'write_repeats'],
    'training_rule': ['TrainingRule', 'check_boxes', 'ignore_untrained'],
    'verified_images': ['ExpectedImage', 'VerifiedImages', 'file_mark'],
})
