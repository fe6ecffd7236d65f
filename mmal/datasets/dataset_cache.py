"""Folders of data that appear as a whole or not at all, and stay for ever.

Nothing in them is ever changed or removed: whoever wants other data makes
them in another folder.
"""
from __future__ import annotations

import contextlib
import os
import os.path as osp
import shutil
import tempfile
from collections.abc import Callable
from typing import Optional

from mmengine.logging import print_log

from mmal.fileio import read_json, write_json

# what a folder was made of, by whom, and which files it has
MANIFEST = 'parameters.json'


def build_once(root: str,
               parameters: dict,
               fill: Callable[[str], None],
               maker: str) -> str:
    """Make a folder unless it is there, made with the same parameters.

    Several processes may make it at once.

    Args:
        root (str): The folder.
        parameters (dict): What its content depends on.
        fill (callable): Writes the content into an empty folder.
        maker (str): Who makes it, for messages.

    Returns:
        str: ``root``, absolute.

    Raises:
        FileExistsError: If ``root`` holds something else, was made with other
            parameters or lacks files; nothing in it is touched.
    """
    root = osp.abspath(root)
    if _is_free(root):
        print_log(f'{maker} makes a data set in {root}', 'current')
        os.makedirs(osp.dirname(root), exist_ok=True)
        # beside its place, on the same disk, where renaming is one step
        made = tempfile.mkdtemp(
            prefix=f'.{osp.basename(root)}.', dir=osp.dirname(root))
        try:
            fill(made)
            write_json(
                osp.join(made, MANIFEST),
                dict(made_by=f'mmal: {maker}', parameters=parameters,
                     files=_sizes(made)))
            os.chmod(made, 0o755)  # mkdtemp's is for its owner alone
            # fails where another process was faster, whose folder is as good
            with contextlib.suppress(OSError):
                os.rename(made, root)
        finally:
            shutil.rmtree(made, ignore_errors=True)  # gone if it was renamed
    problem = _problem(root, parameters, maker)
    if problem:
        raise FileExistsError(
            f'{root} {problem}. Nothing in it was changed: move it away, or '
            "give another folder in the config's prepare_data.root.")
    return root


def _is_free(root: str) -> bool:
    return not osp.lexists(root) or (osp.isdir(root) and not os.listdir(root))


def _problem(root: str, parameters: dict, maker: str) -> Optional[str]:
    """Why a folder is not the one that is wanted; None if it is."""
    path = osp.join(root, MANIFEST)
    try:
        manifest = read_json(path) if osp.isfile(path) else None
    except ValueError:
        manifest = None
    if manifest == parameters:
        return None  # made before there were manifests
    if not isinstance(manifest, dict) or \
            manifest.get('made_by') != f'mmal: {maker}':
        return f'exists and was not made by {maker}'
    if manifest.get('parameters') != parameters:
        return (f'was made by {maker} with other arguments '
                f'({manifest.get("parameters")}, not {parameters})')
    here = _sizes(root)
    lacking = [name for name, size in manifest['files'].items()
               if here.get(name) != size]
    if lacking:
        return (f'was made by {maker}, but {len(lacking)} of its files are '
                f'missing or changed, e.g. {lacking[0]}')
    return None


def _sizes(folder: str) -> dict[str, int]:
    """Size in bytes of each file below a folder, by its relative path."""
    return {
        osp.relpath(osp.join(parent, name), folder).replace(os.sep, '/'):
        osp.getsize(osp.join(parent, name))
        for parent, _, names in sorted(os.walk(folder))
        for name in sorted(names) if name != MANIFEST
    }
