"""The influence of single labels: whose removal lowers the reference loss?"""
from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Optional

from mmengine.structures import InstanceData
from torch import Tensor, nn

from mmal.influence import LayerRecorder
from mmal.influence.position_products import position_products
from mmal.influence.vectors import ParamVector
from mmal.models.utils.assigned_boxes import assigned_boxes, assigns_boxes
from mmal.models.utils.per_image import head_outputs, image_losses
from mmal.scoring.batch import Batch


def box_influences(model: nn.Module,
                   recorder: LayerRecorder,
                   s_test: ParamVector,
                   batch: Batch,
                   labels: Sequence[InstanceData],
                   factors: Optional[Mapping[str, float]] = None
                   ) -> list[Tensor]:
    r"""How much each labelled box raises the reference loss.

    Koh and Liang, "Understanding Black-box Predictions via Influence
    Functions" (ICML 2017), eq. 2, with the terms of one box in the place of a
    training example: :math:`-s_{test} \cdot \nabla l_b`. The loss of a dense
    head is a sum over rows (a position, or an anchor at it), and each row
    with an object is trained on one box, whose class, sides and centerness
    give its terms. :math:`l_b` is the sum over the rows of box b; what the
    rows would be trained on without the box does not count, nor do rows of
    the background.

    One forward pass, one backward pass to the outputs of the last layers and
    one more application of these; O(rows · width) for an image, whatever the
    number of its boxes.

    Args:
        model (nn.Module): A detector in eval mode with a head that
            :func:`~mmal.models.utils.assigned_boxes.assigns_boxes` accepts.
        recorder (LayerRecorder): Of layers that are called once for each
            level, as the head's last ones.
        s_test (ParamVector): (H + damping I)^-1 ∇l(R).
        batch (Batch): B images.
        labels (sequence[InstanceData]): B sets of ``bboxes``, in the pixels
            of ``batch.inputs``, and ``labels``.
        factors (mapping[str, float], optional): What divides the losses, see
            :func:`~mmal.models.utils.batch_losses.batch_losses`.

    Returns:
        list[Tensor]: [n_i] for each image, by how much the reference loss
        grows for each unit of weight of the box; 0 for a box that no row is
        trained on. Large numbers are suspicious.

    Raises:
        ValueError: If the head or its layers are of another kind.
    """
    head = model.bbox_head
    if not assigns_boxes(head):
        raise ValueError(
            f'which box each output of {type(head).__name__} is trained on '
            'is not known: the influence of boxes needs an FCOSHead, an '
            'ATSSHead or a RetinaHead of mmdet with its usual losses.')
    with recorder:
        outputs = head_outputs(model, batch.inputs)
        losses = image_losses(model, outputs, batch.samples, labels, factors)
    boxes = assigned_boxes(head, outputs, batch.samples, labels)
    level, calls = {}, defaultdict(int)
    for call in recorder.calls:
        level[call] = calls[call.layer.name]
        calls[call.layer.name] += 1
    wrong = [name for name, number in calls.items() if number != len(boxes)]
    if wrong:
        raise ValueError(
            f'the layers {", ".join(wrong)} are not called once for each of '
            f'the {len(boxes)} levels: choose the last layers of the head.')

    most = max((len(label.bboxes) for label in labels), default=0)
    total = losses.new_zeros(len(losses), most + 1)
    for call, products in position_products(losses, recorder, s_test):
        of_row = boxes[level[call]]
        # the channels of an anchor lie side by side, and so do the anchors
        # of a position among the rows
        anchors = of_row.size(1) // products[0, 0].numel()
        by_row = products.unflatten(1, (anchors, -1)).sum(2)
        by_row = by_row.permute(0, 2, 3, 1).flatten(1)
        # the last column takes the background
        total.scatter_add_(1, of_row.remainder(most + 1), by_row)
    recorder.clear()
    return [-row[:len(label.bboxes)].detach()
            for row, label in zip(total, labels)]
