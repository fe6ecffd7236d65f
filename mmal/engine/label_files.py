"""Where a run asks people for labels, and what of: read from its config."""
from __future__ import annotations

import os.path as osp
from collections.abc import Sequence
from dataclasses import dataclass

from mmengine.config import Config

from mmal.pool.coco import CocoData
from mmal.pool.label_request import LabelRequest
from mmal.pool.layout import LabelDir, WorkDir
from mmal.pool.reading import load_with_images


@dataclass(frozen=True)
class LabelFiles:
    """A run that asks people for labels.

    Args:
        work (WorkDir): Its work folder.
        files (LabelDir): Where its files for labelling are.
        pool_file (str): The COCO file of its pool.
        img_prefix (str): The folder of the pool's images.
        pipeline (Sequence[dict]): The steps that load these images.
    """
    work: WorkDir
    files: LabelDir
    pool_file: str
    img_prefix: str
    pipeline: Sequence[dict]

    @classmethod
    def of_run(cls, run: str) -> LabelFiles:
        """Find the files of a run.

        Args:
            run (str): Its work folder.

        Raises:
            FileNotFoundError: If there is no run.
            ValueError: If nobody is asked for labels in it.
        """
        work = WorkDir(run)
        if not osp.exists(work.config):
            raise FileNotFoundError(
                f'there is no run in {run}: it has no '
                f'{osp.basename(work.config)}. Give the work folder of '
                '`mmal train`.')
        # The run has checked its settings. To check them again, here, would
        # import a detector library for the sake of four paths.
        cfg = Config.fromfile(work.config, import_custom_modules=False)
        block = cfg.get('active_learning') or {}
        oracle = block.get('oracle') or {}
        # one of your own may ask people too, and has then written a request
        kind = str(oracle.get('type', 'mmal.CocoOracle'))
        if kind.split('.')[-1] == 'CocoOracle':
            raise ValueError(
                f'{run} looks labels up, with the oracle {kind}: it waits for '
                'nobody. To ask people, set '
                "active_learning.oracle=dict(type='mmal.ManualOracle') in "
                'its config and start a run in another work folder.')
        folder = oracle.get('folder')
        dataset = cfg.train_dataloader.dataset
        while 'dataset' in dataset:
            dataset = dataset['dataset']
        dataset = {**dataset, **block['data']}
        root = dataset.get('data_root') or ''
        prefix = dataset.get('data_prefix') or {}
        return cls(work, LabelDir(folder) if folder else work.labels,
                   osp.join(root, dataset['ann_file']), osp.join(
                       root, prefix.get('img', prefix.get('img_path', ''))),
                   dataset.get('pipeline') or ())

    def request(self) -> LabelRequest:
        """What it waits for; see :meth:`LabelRequest.open`."""
        return LabelRequest.open(self.files)

    def pool(self) -> CocoData:
        """The images of its pool, as the run reads them."""
        # here, for the sake of commands that do not need the detector library
        from .dataset_config import image_loader
        if any(step.get('imdecode_backend') == 'turbojpeg'
               for step in self.pipeline):
            # a module of its custom_imports has to start this decoder
            Config.fromfile(self.work.config)
        return load_with_images(self.pool_file, self.img_prefix,
                                need_annotations=False,
                                loader=image_loader(self.pipeline))
