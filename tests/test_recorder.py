"""The recorder of what goes in and out of modules."""
import copy

import pytest
import torch
from torch import nn

from mmal.recorder import Recorder, is_hooked


class Scaled(nn.Module):
    """Takes a keyword; its first part is called twice."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(2, 2)
        self.second = nn.ReLU()

    def forward(self, x, scale=1.):
        return self.second(self.first(self.first(x))) * scale


@pytest.fixture
def model():
    torch.manual_seed(0)
    return Scaled()


def hooked(model):
    return [m for m in model.modules() if is_hooked(m)]


def test_calls_have_what_went_in_and_out(model):
    x = torch.ones(3, 2)
    with Recorder({'first': model.first, 'all': model}) as recorder:
        output = model(x, scale=2.)
    names = [call.name for call in recorder.calls]
    assert names == ['first', 'first', 'all']  # as they returned
    one, two, whole = recorder.calls
    assert one.module is model.first and whole.module is model
    assert one.args == (x, ) and two.args[0] is one.output
    assert one.kwargs == {} and whole.kwargs == {'scale': 2.}
    assert whole.output is output


def test_nothing_is_attached_outside(model):
    recorder = Recorder({'first': model.first})
    model(torch.ones(1, 2))
    with recorder:
        assert hooked(model) == [model.first]
    model(torch.ones(1, 2))
    assert not hooked(model) and not recorder.calls


def test_exceptions_leave_nothing_attached(model):
    with pytest.raises(RuntimeError, match='shapes'):
        with Recorder(dict(model.named_modules())) as recorder:
            model(torch.ones(1, 3))
    assert not hooked(model) and not recorder.calls

    def fails(call):
        raise KeyError(call.name)

    with pytest.raises(KeyError, match='first'), \
            Recorder({'first': model.first}, fails):
        model(torch.ones(1, 2))
    assert not hooked(model)


def test_what_cannot_be_attached_leaves_nothing_attached(model):
    with pytest.raises(AttributeError), \
            Recorder({'first': model.first, 'wrong': 1}):
        pass
    assert not hooked(model)


def test_entering_again_forgets(model):
    recorder = Recorder({'first': model.first})
    for rows in 1, 2:
        with recorder:
            model(torch.ones(rows, 2))
        assert [len(c.output) for c in recorder.calls] == [rows, rows]


def test_it_cannot_be_entered_twice(model):
    recorder = Recorder({'first': model.first})
    with recorder:
        with pytest.raises(RuntimeError, match='twice'):
            recorder.__enter__()
        model(torch.ones(1, 2))
        assert len(recorder.calls) == 2
    assert not hooked(model)


def test_outputs_are_replaced(model):
    seen = []

    def zeros(call):
        seen.append(call.output)
        return torch.zeros_like(call.output)

    with Recorder({'second': model.second}, zeros) as recorder:
        assert not model(torch.ones(1, 2)).any()
    assert len(seen) == 1 and not recorder.calls


def test_none_leaves_an_output_as_it_is(model):
    x = torch.ones(1, 2)
    expected = model(x)
    with Recorder({'first': model.first}, lambda call: None):
        assert torch.equal(model(x), expected)


def test_nested_ones_see_what_those_outside_made_of_it(model):
    x = torch.ones(1, 2)
    with Recorder({0: model.first}) as outside, \
            Recorder({0: model.first}, lambda call: call.output + 1), \
            Recorder({0: model.first}) as inside:
        model(x)
    before, after = outside.calls[0].output, inside.calls[0].output
    assert torch.equal(before + 1, after)
    assert not hooked(model)


def test_leaving_the_inner_one_keeps_the_outer_one(model):
    with Recorder({0: model.first}) as outside:
        with Recorder({0: model.first}) as inside:
            model(torch.ones(1, 2))
        model(torch.ones(1, 2))
    assert len(inside.calls) == 2 and len(outside.calls) == 4


def test_starts_come_before_what_is_inside(model):
    events = []
    with Recorder(
            dict(model=model, first=model.first),
            on_return=lambda call: events.append(('return', call.name)),
            on_start=lambda call: events.append(
                ('start', call.name, call.kwargs, call.output))) as recorder:
        model(torch.ones(1, 2), scale=3.)
    start, end = ('start', 'first', {}, None), ('return', 'first')
    assert events == [('start', 'model', {'scale': 3.}, None), start, end,
                      start, end, ('return', 'model')]
    assert not recorder.calls and not hooked(model)


def test_one_that_waits_for_starts_keeps_nothing(model):
    with Recorder({0: model}, on_start=lambda call: None) as recorder:
        model(torch.ones(1, 2))
    assert not recorder.calls


def test_copies_are_not_recorded(model):
    with Recorder({0: model.first}) as recorder:
        copied = copy.deepcopy(model)
        copied(torch.ones(1, 2))
        assert not recorder.calls
        model(torch.ones(1, 2))
    assert len(recorder.calls) == 2


def test_gradients_pass_through_what_is_recorded(model):
    with Recorder({'first': model.first}) as recorder:
        model(torch.ones(1, 2)).sum().backward()
    assert model.first.weight.grad is not None
    assert recorder.calls[0].output.requires_grad


def test_hooks_of_others_are_told_apart(model):
    with Recorder({0: model.first}) as one, \
            Recorder({0: model.first}, on_start=lambda c: None) as two:
        assert is_hooked(model.first, apart_from=[one])
        assert is_hooked(model.first, apart_from=[two])
        assert not is_hooked(model.first, apart_from=[one, two])
        assert not is_hooked(model.second)
