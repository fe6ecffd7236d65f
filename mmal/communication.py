"""Doing a thing once for all processes."""
from __future__ import annotations

from typing import Any, Callable

from mmengine.dist import (
    broadcast_object_list,
    is_distributed,
    is_main_process,
)


def on_main(work: Callable[[], Any]) -> Any:
    """Do something in process 0 and give every process its result.

    An error in process 0 is raised in all of them, so that none waits for
    ever.

    Args:
        work (callable): Takes nothing; its result must be picklable.
    """
    if not is_distributed():
        return work()
    outcome = [None, None]
    if is_main_process():
        try:
            outcome[0] = work()
        except Exception as e:
            outcome[1] = e
    try:
        broadcast_object_list(outcome)
    except Exception:
        if outcome[1] is not None:
            raise outcome[1]  # noqa: B904
        raise
    if outcome[1] is not None:
        outcome[1].everywhere = True
        raise outcome[1]
    return outcome[0]
