"""Mistakes found before any training."""
import pytest
from helpers.tiny import tiny_config

from mmal.engine.checks import check_model


@pytest.mark.parametrize('size, fine', [(1, False), (2, True)])
def test_a_learned_loss_needs_pairs_of_images(tmp_path, mmdet_scope, size,
                                              fine):
    cfg = tiny_config(str(tmp_path))
    cfg.model.type = 'mmal.LearningLossDetector'
    cfg.train_dataloader.batch_size = size
    dataset = cfg.train_dataloader.dataset
    if fine:
        assert check_model(cfg, dataset).loss_head is not None
        return
    with pytest.raises(ValueError, match='train_dataloader.batch_size is 1'):
        check_model(cfg, dataset)
