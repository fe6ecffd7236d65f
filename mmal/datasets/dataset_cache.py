"""Folders of data that appear as a whole or not at all."""
from __future__ import annotations

import contextlib
import os
import os.path as osp
import shutil
import tempfile
from collections.abc import Callable

from mmengine.logging import print_log

from mmal.fileio import read_json, write_json

PARAMETERS = 'parameters.json'


def build_once(root: str,
               parameters: dict,
               fill: Callable[[str], None],
               maker: str,
               complete: Callable[[str], bool] = osp.isdir) -> str:
    """Make a folder unless it is there, made with the same parameters.

    Several processes may make it at once. One made with other parameters is
    made anew.

    Args:
        root (str): The folder.
        parameters (dict): What its content depends on; written into it.
        fill (callable): Writes the content into an empty folder.
        maker (str): Who makes it, for messages.
        complete (callable): Whether a folder with these parameters still has
            all of its files; otherwise it is made anew.

    Returns:
        str: ``root``, absolute.

    Raises:
        FileExistsError: If ``root`` holds something else.
    """
    root = osp.abspath(root)

    def is_made() -> bool:
        path = osp.join(root, PARAMETERS)
        return (osp.exists(path) and read_json(path) == parameters
                and complete(root))

    if is_made():
        return root
    _refuse_foreign(root, maker)
    print_log(f'{maker} makes a data set in {root}', 'current')
    os.makedirs(osp.dirname(root), exist_ok=True)
    # beside its place, on the same disk, where renaming is one step
    made = tempfile.mkdtemp(
        prefix=f'.{osp.basename(root)}.', dir=osp.dirname(root))
    try:
        fill(made)
        write_json(osp.join(made, PARAMETERS), parameters)
        os.chmod(made, 0o755)  # mkdtemp's is for its owner alone
        _move_into_place(made, root, maker, is_made)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return root


def _refuse_foreign(root: str, maker: str) -> None:
    """Raise FileExistsError for a folder that was not made here."""
    ours = osp.exists(osp.join(root, PARAMETERS))
    if osp.exists(root) and not ours and (osp.isfile(root)
                                          or os.listdir(root)):
        raise FileExistsError(
            f'{root} exists and was not made by {maker}. Move it away, or '
            "give another folder in the config's prepare_data.root.")


def _move_into_place(made: str, root: str, maker: str,
                     is_made: Callable[[], bool]) -> None:
    """Rename ``made`` to ``root``, or leave it if another process did."""
    # Between any two of these steps another process may take the place, which
    # makes the last one fail: look again.
    for _ in range(10):
        if is_made():
            return
        _refuse_foreign(root, maker)
        if osp.exists(root):
            old = f'{made}.old'
            with contextlib.suppress(FileNotFoundError):
                os.rename(root, old)
            shutil.rmtree(old, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.rename(made, root)
            return
    raise FileExistsError(f'{root} keeps being made with other arguments by '
                          'another process; give each its own folder.')
