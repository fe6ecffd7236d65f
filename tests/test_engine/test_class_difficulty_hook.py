"""The difficulty of classes, followed in training."""
import os
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.forks import Kill
from helpers.runs import TRAIN, ids_of, killed, make_config, succeed
from helpers.tiny import tiny_fcos
from mmengine.model import ExponentialMovingAverage
from torch import nn

from mmal.engine.hooks import ClassDifficultyHook
from mmal.engine.hooks import class_difficulty_hook as module
from mmal.scores import Scores


def runner_of(model, resume=False):
    return SimpleNamespace(model=model, cfg=dict(resume=resume))


class Matches:
    """Stands for the head's losses: the test says what is matched."""

    def __init__(self, head, on_matches):
        self.tell = on_matches

    def __enter__(self):
        Matches.last = self

    def __exit__(self, *exc):
        Matches.last = None


def step(hook, runner, matches):
    for label, p, iou in matches:
        Matches.last.tell(torch.tensor([label]), torch.tensor([p]),
                          torch.tensor([iou]))
    hook.after_train_iter(runner, 0)


def by_hand(steps, momentum, xi, classes):
    difficulty, memory = [1.0] * classes, [momentum] * classes
    for matches in steps:
        for c in range(classes):
            own = [p**xi * iou**(1 - xi) for k, p, iou in matches if k == c]
            if not own:
                memory[c] *= momentum
                continue
            difficulty[c] = memory[c] * difficulty[c] + (
                1 - memory[c]) * (1 - np.mean(own))
            memory[c] = momentum
    return difficulty


def random_steps(number, rng):
    return [[(int(rng.integers(3)), rng.uniform(), rng.uniform())
             for _ in range(rng.integers(4))] for _ in range(number)]


def test_equals_an_average_by_hand(mmdet_scope, monkeypatch):
    monkeypatch.setattr(module, 'MatchRecorder', Matches)
    model = tiny_fcos().train()
    hook, runner = ClassDifficultyHook(.7, xi=.3), runner_of(model)
    steps = random_steps(40, np.random.default_rng(0))
    hook.before_train(runner)
    assert model.bbox_head.class_difficulty.tolist() == [1, 1, 1]
    for n, matches in enumerate(steps):
        step(hook, runner, matches)
        assert model.bbox_head.class_difficulty.tolist() == pytest.approx(
            by_hand(steps[:n + 1], .7, .3, 3), rel=1e-5)
    hook.after_train(runner)
    assert Matches.last is None
    assert 'bbox_head.class_difficulty' not in model.state_dict()


def test_a_checkpoint_keeps_it(mmdet_scope, monkeypatch):
    monkeypatch.setattr(module, 'MatchRecorder', Matches)
    steps = random_steps(20, np.random.default_rng(1))
    for resume, expected in ((True, steps), (False, steps[9:])):
        first, checkpoint = ClassDifficultyHook(.8), {}
        runner = runner_of(tiny_fcos().train())
        first.before_train(runner)
        for matches in steps[:9]:
            step(first, runner, matches)
        first.before_save_checkpoint(runner, checkpoint)

        second = ClassDifficultyHook(.8)
        runner = runner_of(tiny_fcos().train(), resume)
        second.after_load_checkpoint(runner, checkpoint)
        second.before_train(runner)
        for matches in steps[9:]:
            step(second, runner, matches)
        head = runner.model.bbox_head
        assert head.class_difficulty.tolist() == pytest.approx(
            by_hand(expected, .8, .6, 3), rel=1e-5)


def test_averages_of_models_pair_their_buffers(mmdet_scope, monkeypatch):
    """An average begins before the hook, and pairs buffers by place."""
    monkeypatch.setattr(module, 'MatchRecorder', Matches)
    model = tiny_fcos().train()
    model.bbox_head.norm = nn.BatchNorm1d(5)
    average = ExponentialMovingAverage(model)
    hook, runner = ClassDifficultyHook(.7), runner_of(model)
    hook.before_train(runner)
    model.bbox_head.norm.running_mean.fill_(3)
    average.update_parameters(model)
    assert average.module.bbox_head.norm.running_mean.tolist() == [3] * 5


def test_validation_does_not_count(mmdet_scope, monkeypatch):
    monkeypatch.setattr(module, 'MatchRecorder', Matches)
    model = tiny_fcos().eval()
    hook, runner = ClassDifficultyHook(.5), runner_of(model)
    hook.before_train(runner)
    step(hook, runner, [(0, 1., 1.)])
    assert model.bbox_head.class_difficulty.tolist() == [1, 1, 1]


@pytest.mark.parametrize('kwargs, message', [
    (dict(momentum=1), 'momentum is 1'), (dict(xi=-.1), 'xi is -0.1')])
def test_mistakes_are_named(kwargs, message):
    with pytest.raises(ValueError, match=message):
        ClassDifficultyHook(**kwargs)


def test_heads_without_losses_are_named(mmdet_scope):
    model = tiny_fcos()
    model.bbox_head.loss_cls = None
    with pytest.raises(ValueError, match='FCOSHead has no modules loss_cls'):
        ClassDifficultyHook().before_train(runner_of(model))
    with pytest.raises(ValueError, match='neither bbox_head'):
        ClassDifficultyHook().before_train(runner_of(nn.Linear(1, 1)))


def difficulty_of(work_dir, number):
    folder = os.path.join(work_dir, f'round_{number:02d}')
    name = max(f for f in os.listdir(folder) if f.endswith('.pth'))
    return torch.load(os.path.join(folder, name), weights_only=False)[
        'mmal_class_difficulty']


@pytest.mark.run
def test_a_run_of_ppal_killed_in_training_ends_the_same(tmp_path):
    config = make_config(
        str(tmp_path),
        custom_hooks=[dict(type='mmal.ClassDifficultyHook', momentum=.5)],
        # two epochs teach too little to detect anything surely
        model=dict(test_cfg=dict(score_thr=.001)),
        active_learning=dict(
            rounds=2,
            scorer=dict(type='mmal.DifficultyCalibratedScorer',
                        score_thr=.001, max_detections=8),
            selector=dict(type='mmal.TwoStage', keep=2.,
                          first=dict(type='mmal.TopN'),
                          then=dict(type='mmal.CategoryMatching'))))
    whole, other = str(tmp_path / 'whole'), str(tmp_path / 'other')
    succeed(TRAIN, config, '--work-dir', whole)
    killed(Kill('mmengine.runner.loops', 'EpochBasedTrainLoop.run_iter', 2),
           TRAIN, config, '--work-dir', other, '--resume')
    succeed(TRAIN, config, '--work-dir', other, '--resume')
    assert ids_of(other) == ids_of(whole)
    assert [len(ids) for ids in ids_of(whole)] == [4, 3]
    for number in range(2):
        ours, theirs = (difficulty_of(d, number) for d in (whole, other))
        assert torch.equal(ours, theirs)
        assert (ours[0] < 1).any() and (ours[0] >= 0).all()
    scores = [Scores.load(os.path.join(d, 'round_00', 'scores.npz'))
              for d in (whole, other)]
    np.testing.assert_array_equal(scores[0].values, scores[1].values)
    assert np.isfinite(scores[0].values).any()
