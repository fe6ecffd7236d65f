"""Every detector that the docs call supported: predicted and trained."""
import re

import pytest
import torch
from helpers.detectors import DETECTORS
from mmdet.models.detectors import DetectionTransformer

pytestmark = pytest.mark.cuda

NAMES = pytest.mark.parametrize('name', sorted(DETECTORS))


@pytest.fixture
def labelled(data):
    """The largest batch of labelled images, on the device of a model."""
    return lambda model: max(
        data(batch_size=3).batches('labelled', model), key=len)


@pytest.fixture(autouse=True)
def same_noise(device, monkeypatch):
    """Losses with mixtures draw noise: here the same on every device."""
    randn = torch.randn

    def draw(shape, device=None):
        return randn(shape, generator=noise).to(device)

    noise = torch.Generator()
    monkeypatch.setattr(torch, 'randn', draw)
    monkeypatch.setattr(torch, 'randn_like',
                        lambda x: draw(x.shape).to(x))
    return noise


def to_training(model):
    """Training without other random numbers.

    Samplers take all there is; a transformer's layers, which have dropout,
    stay as they are.
    """
    if isinstance(model, DetectionTransformer):
        model.training = True
        for module in model.modules():
            if hasattr(module, 'sampling_offsets'):
                # between pixels: on them the derivative by a position jumps
                bias = module.sampling_offsets.bias.data
                bias += .3 * torch.arange(1., len(bias) + 1).sin().to(bias)
        return model
    if hasattr(model, 'roi_head'):
        model.rpn_head.sampler.num = 10**6
        model.roi_head.bbox_sampler.num = 10**6
    return model.train()


def losses_of(model, batch):
    """Its terms, but for those of denoising queries, which are random."""
    losses = model.loss(batch.inputs, batch.samples)
    return {k: v for k, v in losses.items() if not re.search(r'\bdn_', k)}


@NAMES
def test_predictions(device, detector, labelled, close, name):
    results = []
    for where in (device, 'cpu'):
        model = detector(name, where)
        batch = labelled(model)
        with torch.no_grad():
            samples = model.predict(batch.inputs, batch.samples,
                                    rescale=False)
        results.append([dict(s.pred_instances.items()) for s in samples])
    close(*results)
    assert any(len(fields['scores']) for fields in results[1])


@NAMES
def test_losses_and_gradients(device, detector, labelled, close, same_noise,
                              name):
    terms, gradients = [], []
    for where in (device, 'cpu'):
        model = to_training(detector(name, where))
        batch = labelled(model)
        same_noise.manual_seed(0)
        losses = losses_of(model, batch)
        model.parse_losses(losses)[0].backward()
        terms.append(losses)
        # as one vector: some are 0 but for rounding, as those of a bias
        # behind which batch norm or a softmax stands
        gradients.append(torch.cat([
            p.grad.flatten() for p in model.parameters()
            if p.grad is not None]))
    close(*terms)
    close(*gradients)
    assert len(gradients[1]) > 1000


@NAMES
@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16],
                         ids=['float16', 'bfloat16'])
def test_mixed_precision(device, detector, labelled, same_noise, name, dtype):
    model = to_training(detector(name, device))
    batch = labelled(model)
    same_noise.manual_seed(0)
    exact = model.parse_losses(losses_of(model, batch))[0].item()
    scaler = torch.amp.GradScaler(
        'cuda', init_scale=1., enabled=dtype == torch.float16)
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    before = [p.clone() for p in model.parameters()]
    same_noise.manual_seed(0)
    with torch.autocast('cuda', dtype):
        loss = model.parse_losses(losses_of(model, batch))[0]
    assert loss.item() == pytest.approx(exact, rel=.2)
    scaler.scale(loss).backward()
    scaler.step(optimizer)
    scaler.update()
    assert scaler.get_scale() == 1  # nothing was infinite
    moved = [(p - q).abs().max().item()
             for p, q in zip(model.parameters(), before)]
    assert max(moved) > 0 and all(map(torch.isfinite, torch.tensor(moved)))
