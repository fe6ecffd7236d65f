"""Samples of a batch with random boxes, and boxes to leave out."""
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData


def random_labels(counts, ignored, size, generator, least=1., classes=3):
    """Samples and labels of images of ``size`` x ``size`` pixels.

    Args:
        counts (sequence[int]): How many boxes each image has.
        ignored (sequence[int | None]): How many to leave out; None for a
            sample that knows of none.
        size (int): Height and width.
        generator (torch.Generator): Draws boxes and classes.
        least (float): The shortest side of a box in pixels.
        classes (int): How many classes there are.

    Returns:
        tuple: Lists of B samples and of B ``InstanceData``.
    """
    def boxes(number):
        corners = torch.rand(number, 2, generator=generator) * size * 0.7
        sides = least + torch.rand(number, 2, generator=generator) * size / 2
        return torch.cat([corners, corners + sides], 1)

    samples, labels = [], []
    for n, (count, left_out) in enumerate(zip(counts, ignored)):
        sample = DetDataSample(metainfo=dict(
            img_id=n, img_shape=(size, size), pad_shape=(size, size),
            batch_input_shape=(size, size), scale_factor=(1., 1.)))
        if left_out is not None:
            sample.ignored_instances = InstanceData(bboxes=boxes(left_out))
        samples.append(sample)
        labels.append(InstanceData(
            bboxes=boxes(count),
            labels=torch.randint(classes, (count, ), generator=generator)))
    return samples, labels
