"""Reading the config of a data set."""
from __future__ import annotations


def innermost_dataset(cfg: dict) -> dict:
    """The dataset inside wrappers such as RepeatDataset.

    Raises:
        ValueError: If several datasets are joined.
    """
    while 'dataset' in cfg:
        cfg = cfg['dataset']
    if 'datasets' in cfg:
        raise ValueError(
            f'{cfg["type"]} joins several datasets, but active learning needs '
            'one pool: merge their json files into one COCO file.')
    return cfg
