"""A pool of a few images, and scoring it as two processes would."""
from helpers.tiny import tiny_config
from mmal.scoring import ScoringData, Split, loop, score_pool
from mmal.scoring import data as data_module


def pool(root, batch_size=2, **kwargs):
    """Twelve images of several sizes as the split ``unlabelled``."""
    config = tiny_config(str(root))
    dataset = dict(
        config.train_dataloader.dataset,
        pipeline=config.test_dataloader.dataset.pipeline)
    return ScoringData(
        dict(unlabelled=Split(dataset, labels=False)),
        batch_size=batch_size,
        num_workers=0,
        progress=False,
        **kwargs)


def partly_labelled_pool(root, batch_size=2, labelled=slice(0, 5), **kwargs):
    """:func:`pool`, and some of its images as the split ``labelled``."""
    data = pool(root, batch_size, **kwargs)
    images = data.splits['unlabelled'].dataset
    ids = data.ids('unlabelled')[labelled]
    data.splits['labelled'] = Split(images, labels=True, ids=ids)
    return data


def score_in_two_processes(monkeypatch, root, model, scorer, make=pool,
                           **kwargs):
    """Score the share of process 1, then that of process 0, which has both."""
    parts = []

    def gather(part):
        parts.append(part)
        return list(parts)

    monkeypatch.setattr(loop, 'all_gather_object', gather)
    for rank in (1, 0):
        monkeypatch.setattr(
            data_module, 'get_dist_info', lambda rank=rank: (rank, 2))
        scores = score_pool(model, scorer, make(root, **kwargs))
    assert all(rows['ids'] for rows, _ in parts)
    return scores
