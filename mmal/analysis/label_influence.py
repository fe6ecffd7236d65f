"""Labels of a run whose influence on the reference loss is bad."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mmal.engine.dataset_config import image_loader
from mmal.engine.round_config import scoring_splits, test_pipeline
from mmal.engine.settings import Settings
from mmal.models.utils.assigned_boxes import assigns_boxes
from mmal.models.utils.evaluation_mode import evaluation_mode
from mmal.pool import CocoData, Pool
from mmal.pool.verified_images import VerifiedImages
from mmal.reporting.tables import render
from mmal.scoring import ScoringData
from mmal.scoring.isal import InfluenceScorer
from mmal.scoring.isal.box_influence import box_influences
from mmal.types import ImageId
from .finished_round import find_round


@dataclass(frozen=True)
class InfluentialBox:
    """A label, and what it does to the reference loss.

    Args:
        value (float): By how much that grows for each unit of weight of the
            box's own loss; a box with a large value is suspicious.
        image_id (int | str): The image.
        file_name (str): Its file.
        annotation_id (int | str): The box.
        given_class (str): Its class.
        given_box (list[float]): x, y, width and height in pixels.
    """
    value: float
    image_id: ImageId
    file_name: str
    annotation_id: ImageId
    given_class: str
    given_box: list[float]


def rank_by_influence(run: str, hessian_images: int = 5000,
                      progress: bool = True) -> list[InfluentialBox]:
    """Rank the labels that the last detector of a run was trained on.

    The detector is that of the last round, the reference set the validation
    images, whose labels should be right. Objects without a box have no
    influence. See :func:`mmal.scoring.isal.box_influence.box_influences` for
    what is computed. One forward pass of each validation image and each
    labelled one, and of the latter two more for the Hessian.

    Args:
        run (str): The work folder.
        hessian_images (int): So many labelled images, drawn at random, stand
            for all of them in the Hessian.
        progress (bool): Whether there are progress bars.

    Returns:
        list[InfluentialBox]: The most suspicious first; those that training
        leaves out (crowd regions, boxes outside of the image) are not among
        them.

    Raises:
        FileNotFoundError, ValueError: If there is no such run, no trained
            round or no validation images, or the detector has a head of
            another kind.
    """
    last = find_round(run)
    model, cfg = last.model()
    head = getattr(model, 'bbox_head', None)
    if head is None or not assigns_boxes(head):
        raise ValueError(
            f'the influence of boxes on a {type(model).__name__} with a '
            f'{type(head).__name__} is not known: it needs the FCOSHead, '
            'ATSSHead or RetinaHead of mmdet. Leave out --by influence.')
    if not cfg.get('val_dataloader'):
        raise ValueError(f'{last.folder.config} has no val_dataloader: there '
                         'is no reference set.')
    run_cfg = last.run_config()
    run_cfg.work_dir = run
    coco, options = last.labelled(), Settings.from_config(run_cfg)
    data = ScoringData(
        scoring_splits(run_cfg, options, last.folder, coco, Pool(coco.ids)),
        seed=options.seed, round=last.number,
        check_image=VerifiedImages(image_loader(test_pipeline(cfg))),
        progress=progress, **options.score_dataloader.to_dict())
    names = {c['id']: c['name'] for c in coco.categories}
    boxes = []
    with evaluation_mode(model):
        scorer = InfluenceScorer(hessian_images=hessian_images)
        scorer.prepare(model, data)
        for batch in data.batches('labelled', model,
                                  data.trained_ids('labelled'),
                                  desc='influence of boxes'):
            labels = [sample.gt_instances for sample in batch.samples]
            influences = box_influences(
                model, scorer.recorder, scorer.s_test, batch, labels,
                scorer.adapter.factors)
            for image, sample, values in zip(batch.ids, batch.samples,
                                             influences):
                for row, value in zip(_annotations(coco, image, sample),
                                      values.tolist()):
                    boxes.append(InfluentialBox(
                        value, image, coco.images[image]['file_name'],
                        row['id'], names[row['category_id']],
                        list(map(float, row['bbox']))))
    return sorted(boxes, key=lambda box: -box.value)


def _annotations(coco: CocoData, image: ImageId, sample) -> list[dict]:
    """The annotations of an image that mmdet has read as labels: all but
    some, in their order."""
    scale = np.array(sample.metainfo.get('scale_factor', (1., 1.)))
    # Resize cuts boxes at the border of the image, the file does not
    border = np.tile(sample.metainfo['ori_shape'][1::-1], 2)
    loaded = np.clip(
        sample.gt_instances.bboxes.cpu().numpy() / np.tile(scale, 2), 0,
        border)
    left, read = iter(coco.annotations_of([image])), []
    for box in loaded:
        for row in left:
            x, y, width, height = row['bbox']
            corners = np.clip([x, y, x + width, y + height], 0, border)
            if np.allclose(corners, box, atol=1e-2, rtol=1e-4):
                read.append(row)
                break
        else:
            raise ValueError(
                f'the boxes of image {image} are not read as they are in the '
                "file: remove what moves boxes from the test pipeline's steps "
                'but Resize.')
    return read


def influence_table(boxes: Sequence[InfluentialBox]) -> str:
    """The boxes as text, a line each."""
    return render(('image', 'given', 'box', 'influence'), [[
        b.file_name, b.given_class,
        ' '.join(f'{v:.0f}' for v in b.given_box), f'{b.value:.3g}'
    ] for b in boxes])
