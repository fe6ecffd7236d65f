"""Where a run asks people for labels, and what of: read from its config."""
from __future__ import annotations

import os.path as osp
from dataclasses import dataclass

from mmengine.config import Config
from mmengine.registry import init_default_scope

from mmal.pool import CocoData
from mmal.pool.label_request import LabelRequest
from mmal.pool.layout import LabelDir, WorkDir
from mmal.pool.reading import load_with_images
from .settings import Settings, image_prefix, pool_dataset


@dataclass(frozen=True)
class LabelFiles:
    """A run that asks people for labels.

    Args:
        work (WorkDir): Its work folder.
        files (LabelDir): Where its files for labelling are.
        pool_file (str): The COCO file of its pool.
        img_prefix (str): The folder of the pool's images.
    """
    work: WorkDir
    files: LabelDir
    pool_file: str
    img_prefix: str

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
        cfg = Config.fromfile(work.config)
        init_default_scope(cfg.get('default_scope') or 'mmdet')
        settings = Settings.from_config(cfg)
        if 'ManualOracle' not in str(settings.oracle['type']):
            raise ValueError(
                f'{run} looks labels up, with the oracle '
                f'{settings.oracle["type"]}: it waits for nobody. People are '
                "asked with oracle=dict(type='mmal.ManualOracle').")
        folder = settings.oracle.get('folder')
        dataset = pool_dataset(cfg, settings)
        return cls(work, LabelDir(folder) if folder else work.labels,
                   dataset['ann_file'], image_prefix(dataset))

    def request(self) -> LabelRequest:
        """What it waits for; see :meth:`LabelRequest.open`."""
        return LabelRequest.open(self.files)

    def pool(self) -> CocoData:
        """The images of its pool, as the run reads them."""
        return load_with_images(self.pool_file, self.img_prefix,
                                need_annotations=False)
