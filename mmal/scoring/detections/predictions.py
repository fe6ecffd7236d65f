"""What a detector finds on a few images, for people to look at."""
from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Optional

import torch
from mmengine.dist import all_gather_object
from mmengine.logging import print_log
from mmengine.structures import InstanceData
from torch import nn

from mmal.models.utils.evaluation_mode import evaluation_mode
from mmal.scoring.data import ScoringData
from mmal.types import ImageId

# A hundredth of a pixel and a ten-thousandth of a score are more than a
# person sees, and a file of full digits is twice as long.
_DIGITS = 2
_SCORE_DIGITS = 4


def predict_chosen(model: nn.Module, data: ScoringData, split: str,
                   ids: Sequence[ImageId],
                   category_ids: Sequence[ImageId]) -> Optional[list[dict]]:
    """The final detections on some images, as COCO results.

    One forward pass of these images, shared over the processes. It serves
    people who look at them, so an error in it is a warning and not the end of
    a run whose images are chosen.

    Args:
        model (nn.Module): The trained detector.
        data (ScoringData): The images.
        split (str): The split that they are in.
        ids (sequence[int | str]): Which images, in the order of the results.
        category_ids (sequence[int | str]): Of each label of the model, the
            category in the pool's file.

    Returns:
        list[dict]: ``image_id``, ``category_id``, ``bbox`` ([x, y, width,
        height] in pixels of the photo), ``score``; and where the head gives
        them ``bbox_std``, the standard deviations of x1, y1, x2, y2. The best
        of an image come first. The same in every process; None if an error
        came up.
    """
    of_image: dict[ImageId, list[dict]] = {}
    problem = None
    try:
        with evaluation_mode(model, data.precision), torch.no_grad():
            for batch in data.batches(split, model, ids, desc='predicting'):
                samples = model.predict(batch.inputs, batch.samples,
                                        rescale=True)
                for i, sample in zip(batch.ids, samples):
                    of_image[i] = results_of(sample.pred_instances, i,
                                             category_ids)
    except Exception as e:  # of any model; the other processes wait below
        problem = f'{type(e).__name__}: {e}'
    gathered = all_gather_object((of_image, problem))
    problems = [p for _, p in gathered if p]
    if problems:
        print_log(f'The boxes on the chosen images are not predicted, so '
                  f'people begin without: {problems[0]}', 'current',
                  logging.WARNING)
        return None
    joined: Mapping[ImageId, list[dict]] = {
        i: rows for part, _ in gathered for i, rows in part.items()}
    return [row for i in ids for row in joined.get(i, ())]


def results_of(detections: InstanceData, image_id: ImageId,
               category_ids: Sequence[ImageId]) -> list[dict]:
    """The detections of one image as COCO results, the best first.

    Args:
        detections (InstanceData): ``bboxes`` [n, 4], ``scores`` [n],
            ``labels`` [n] and perhaps ``box_std`` [n, 4].
        image_id (int | str): The image.
        category_ids (sequence[int | str]): The category of each label.
    """
    boxes = detections.bboxes.detach().cpu().double().clone()
    boxes[:, 2:] -= boxes[:, :2]
    scores, labels = detections.scores.tolist(), detections.labels.tolist()
    stds = detections.get('box_std')
    stds = None if stds is None else stds.cpu().double().tolist()
    rows = []
    for n, bbox in enumerate(boxes.tolist()):
        row = dict(image_id=image_id, category_id=category_ids[labels[n]],
                   bbox=[round(v, _DIGITS) for v in bbox],
                   score=round(scores[n], _SCORE_DIGITS))
        if stds is not None:
            row['bbox_std'] = [round(v, _DIGITS) for v in stds[n]]
        rows.append(row)
    return sorted(rows, key=lambda row: -row['score'])
