"""What the docs say of scores, measured where rounding differs: on a GPU."""
import numpy as np
import torch
from common import PRETENDED, Batches, detector, finish, random_batch, row

from mmal.models.utils.evaluation_mode import evaluation_mode
from mmal.random_tensors import TensorStreams
from mmal.scoring import (
    DetectionEntropyScorer,
    EntropyScorer,
    GradScorer,
    InfluenceScorer,
    LocalizationStabilityScorer,
)

SIZE = (96, 128) if PRETENDED else (480, 640)
IMAGES = 4 if PRETENDED else 16
SCORERS = dict(
    entropy=EntropyScorer,
    detection_entropy=DetectionEntropyScorer,
    gradient=GradScorer,
    stability=LocalizationStabilityScorer,
    isal=lambda: InfluenceScorer(empty='background'))


def part(batch, rows):
    """Some images of a batch, as a batch."""
    return type(batch)(batch.ids[rows], batch.inputs[rows],
                       batch.samples[rows])


def prepared(model, make, batch):
    """A scorer that has seen two images."""
    scorer, data = make(), Batches(part(batch, slice(0, 2)))
    scorer.check(model, data)
    scorer.prepare(model, data)
    return scorer


def scores(model, scorer, batch, size):
    """The scores of a batch's images, so many at a time."""
    columns = [scorer.process(model, part(batch, slice(n, n + size)))
               for n in range(0, len(batch), size)]
    return scorer.compute({
        k: np.concatenate([torch.as_tensor(c[k]).cpu().numpy()
                           for c in columns]) for k in columns[0]})


def change(a, b):
    """The largest difference as a share of the largest score."""
    finite = np.isfinite(a) & np.isfinite(b)
    assert (np.isfinite(a) == np.isfinite(b)).all()
    return float(np.abs(a - b)[finite].max() / np.abs(a[finite]).max())


def main():
    """All rows."""
    model = detector('fcos_isal_coco.py')
    batch = random_batch(model, IMAGES, SIZE, seed=1)
    for name, make in SCORERS.items():
        with evaluation_mode(model), row(f'scores of {name}') as values:
            scorer = prepared(model, make, batch)
            first = scores(model, scorer, batch, 2)
            values['spread'] = float(np.ptp(first[np.isfinite(first)]) /
                                     np.abs(first).max())
            again = scores(model, prepared(model, make, batch), batch, 2)
            values['same_bits_twice'] = bool((first == again).all())
            for size in (1, 8):
                other = scores(model, scorer, batch, size)
                values[f'change_at_batch_{size}'] = change(first, other)
                values[f'same_order_at_batch_{size}'] = bool(
                    (np.argsort(first) == np.argsort(other)).all())

    with row('random tensors') as values:
        cuda = torch.device('cuda')
        on = TensorStreams(range(3), 0), TensorStreams(range(3), 0)
        values['masks_equal'] = torch.equal(
            on[0].bernoulli(0.3, (999, ), cuda).cpu(),
            on[1].bernoulli(0.3, (999, )))
        values['normal_equal'] = torch.equal(
            on[0].normal((999, ), cuda).cpu(), on[1].normal((999, )))
        assert all(values.values())

    with row('TensorFloat-32') as values:
        x = random_batch(model, 1, SIZE).inputs
        conv = torch.nn.Conv2d(3, 64, 7, device='cuda')
        exact = torch.nn.functional.conv2d(
            x.double(), conv.weight.double(), conv.bias.double())

        def error():
            with torch.no_grad():
                return float((conv(x) - exact).abs().max() /
                             exact.abs().max())

        values['error_outside'] = error()
        with evaluation_mode(model):
            values['error_inside'] = error()
        assert values['error_inside'] < 1e-5
    finish()


if __name__ == '__main__':
    main()
