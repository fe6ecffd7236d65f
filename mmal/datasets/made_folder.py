"""Folders of data that appear as a whole or not at all."""
from __future__ import annotations

import contextlib
import os
import os.path as osp
import shutil
import tempfile
from typing import Callable

from mmengine.logging import print_log

from mmal.fileio import read_json, write_json

PARAMETERS = 'parameters.json'


def make_folder(root: str, parameters: dict, fill: Callable[[str], None],
                title: str) -> str:
    """Make a folder unless it is there, made with the same parameters.

    Several processes may make it at once. One made with other parameters is
    made anew.

    Args:
        root (str): The folder.
        parameters (dict): What its content depends on; written into it.
        fill (callable): Writes the content into an empty folder.
        title (str): What it is, for the log.

    Returns:
        str: ``root``, absolute.

    Raises:
        FileExistsError: If ``root`` holds something else.
    """
    root = osp.abspath(root)
    if _is_made(root, parameters):
        return root
    _refuse_foreign(root)
    print_log(f'Making {title} in {root}', 'current')
    os.makedirs(osp.dirname(root), exist_ok=True)
    made = tempfile.mkdtemp(
        prefix=f'.{osp.basename(root)}.', dir=osp.dirname(root))
    try:
        fill(made)
        write_json(osp.join(made, PARAMETERS), parameters)
        os.chmod(made, 0o755)
        _move_into_place(made, root, parameters)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return root


def _is_made(root: str, parameters: dict) -> bool:
    path = osp.join(root, PARAMETERS)
    return osp.exists(path) and read_json(path) == parameters


def _refuse_foreign(root: str) -> None:
    ours = osp.exists(osp.join(root, PARAMETERS))
    if osp.exists(root) and not ours and (osp.isfile(root)
                                          or os.listdir(root)):
        raise FileExistsError(
            f'{root} exists and was not made by mmal. Move it away, or give '
            "another folder in the config's prepare_data.root.")


def _move_into_place(made: str, root: str, parameters: dict) -> None:
    """Rename ``made`` to ``root``, or leave it if another process did."""
    for _ in range(10):
        if _is_made(root, parameters):
            return
        _refuse_foreign(root)
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
