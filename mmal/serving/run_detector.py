"""The newest detector of a run, which may go on meanwhile."""
from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Sequence
from typing import Union

import numpy as np
import torch
from mmcv.transforms import Compose
from mmdet.models.detectors import BaseDetector
from mmengine.structures import InstanceData

from mmal.analysis.finished_round import FinishedRound, trained_rounds
from mmal.engine.dataset_config import image_loader
from mmal.engine.round_config import classes_of, test_pipeline
from mmal.engine.settings import Settings, image_prefix, pool_dataset
from mmal.pool import load_with_images, verify_image
from mmal.scoring import scoring_pipeline
from mmal.scoring.batch import collate
from mmal.scoring.data import plan_batches


class RunDetector:
    """Detects with the last trained round of a run.

    The model is loaded once, and anew when a later round is trained.

    Args:
        run (str): The work folder.
        batch_size (int): Images of a forward pass.

    Attributes:
        pool (CocoData): The images of the run, without annotations.
        folder (str): The folder of these images.
        classes (tuple[str, ...]): What it detects.

    Raises:
        FileNotFoundError: If no round is trained, or its files are missing.
        ValueError: If it is no detector.
    """

    def __init__(self, run: str, batch_size: int = 8) -> None:
        self.run = run
        self.batch_size = batch_size
        self._lock = threading.Lock()
        cfg = FinishedRound(run, self.newest()).run_config()
        settings = Settings.from_config(cfg)
        dataset = pool_dataset(cfg, settings)
        self.folder = image_prefix(dataset)
        self.classes = classes_of(dataset)
        self.loader = image_loader(test_pipeline(cfg))
        if self.loader.backend_args is not None:
            raise ValueError(
                'the images of the run are fetched with backend_args, but '
                'only those in a folder of this machine can be served: copy '
                'them, and set data_root.')
        self.pool = load_with_images(
            dataset['ann_file'], self.folder, need_annotations=False,
            loader=self.loader, crowd=settings.data.crowd
        ).without_annotations()
        self._load(self.newest())

    def newest(self) -> int:
        """The last round that is trained by now."""
        return max(trained_rounds(self.run))

    def detect(self, files: Sequence[tuple[str, tuple[int, int]]]
               ) -> tuple[int, list[Union[InstanceData, str]]]:
        """Detect in some images, with the newest detector.

        One forward pass for each batch of images of a size; one thread at a
        time.

        Args:
            files (sequence[tuple]): Path, and the (width, height) that the
                pool gives it, of each of N images.

        Returns:
            tuple[int, list]: The round of the detector, and for each image
            its detections, ``bboxes`` [n, 4] as x1, y1, x2, y2 in pixels of
            the image, inside of it, ``scores`` [n], ``labels`` [n] and what
            else the head gives, on the CPU; or a text, why it is unreadable.
        """
        results: list[Union[InstanceData, str]] = [''] * len(files)
        sizes = np.array([size for _, size in files], float).reshape(-1, 2)
        with self._lock:
            newest = self.newest()
            if newest != self.round:
                self._load(newest)
            for rows in plan_batches(sizes, self.batch_size):
                by_shape = defaultdict(list)
                for row in rows:
                    path, size = files[row]
                    reason = verify_image(path, size, self.loader)
                    if reason is None:
                        try:
                            item = self.pipeline(dict(
                                img_path=path, img_id=row, instances=[]))
                        except Exception as e:  # decoders have kinds of theirs
                            reason = verify_image(
                                path, size, self.loader, load=True) or str(e)
                    if reason is not None:
                        results[row] = reason
                    else:
                        by_shape[item['inputs'].shape].append(item)
                for items in by_shape.values():
                    for row, found in self._predict(items):
                        results[row] = found
            return self.round, results

    @torch.no_grad()
    def _predict(self, items: list[dict]):
        batch = collate(items, self.model)
        samples = self.model.predict(batch.inputs, batch.samples, rescale=True)
        for row, sample in zip(batch.ids, samples):
            found = sample.pred_instances.cpu()
            height, width = sample.ori_shape[:2]
            limit = found.bboxes.new_tensor([width, height, width, height])
            found.bboxes = found.bboxes.clamp(min=0).minimum(limit)
            yield row, found

    def _load(self, number: int) -> None:
        model, cfg = FinishedRound(self.run, number).model()
        if not isinstance(model, BaseDetector):
            raise ValueError('mmal serve gives boxes, but the model of '
                             f'{self.run} is a {type(model).__name__}, which '
                             'detects none.')
        self.model = model
        self.pipeline = Compose(
            scoring_pipeline(test_pipeline(cfg), labels=False))
        self.round = number
