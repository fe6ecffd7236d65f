"""The libraries of labelling tools, in an environment of their own.

The environment variable ``MMAL_LABEL_TOOLS`` names a python that has
datumaro (CVAT's formats) and label-studio-sdk; both want versions of other
packages than mmdet does.
"""
import os
import subprocess
import sys

import pytest


def ask(code, *args):
    """Run code in that python; returns what it prints.

    A test is skipped where there is none.
    """
    python = os.environ.get('MMAL_LABEL_TOOLS')
    if not python:
        pytest.skip('MMAL_LABEL_TOOLS names no python with datumaro and '
                    'label-studio-sdk')
    env = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}
    done = subprocess.run([python, '-c', code, *map(str, args)],
                          capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    sys.stderr.write(done.stderr[-2000:])
    return done.stdout
