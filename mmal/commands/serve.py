"""Serve a run's newest detector to Label Studio, which shows its boxes."""
from __future__ import annotations

import argparse

from .options import real, whole

EXAMPLES = """examples:
  mmal serve work_dirs/my_config
  mmal serve work_dirs/my_config --score-thr 0.5 --port 9091

In Label Studio: Settings, Model, Connect Model, http://localhost:9090. To ask
its own machine, Label Studio must be started with
USE_DEFAULT_BANNED_SUBNETS=false and the other addresses banned by
USER_ADDITIONAL_BANNED_SUBNETS: docs/labelling_label_studio.md has both lines.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments to ``parser``."""
    parser.add_argument('run', metavar='RUN', help='work folder of the run')
    parser.add_argument(
        '--host',
        default='127.0.0.1',
        help='address to listen at (default: 127.0.0.1, this machine alone; '
        'at another one everybody who reaches it gets predictions)')
    parser.add_argument(
        '--port',
        type=whole(0),
        default=9090,
        metavar='N',
        help='port to listen at, 0 for one that is free (default: 9090)')
    parser.add_argument(
        '--score-thr',
        type=real(0, 1),
        default=0.3,
        metavar='X',
        help='boxes from this score on are given (default: 0.3)')
    parser.add_argument(
        '--batch-size',
        type=whole(1),
        default=8,
        metavar='N',
        help='images of a forward pass (default: 8)')


def check_arguments(args: argparse.Namespace) -> None:
    """Check the port.

    Raises:
        ValueError: If there is no such port.
    """
    if args.port > 65535:
        raise ValueError(f'--port {args.port}: ports end with 65535.')


def run(args: argparse.Namespace) -> None:
    """Load the detector and answer until Ctrl-C."""
    from mmal.engine.cli import prepare_process
    from mmal.serving.backend import LabelStudioBackend
    from mmal.serving.run_detector import RunDetector
    from mmal.serving.server import BackendServer
    prepare_process()

    def say(line: str) -> None:
        print(line, flush=True)

    backend = LabelStudioBackend(
        RunDetector(args.run, args.batch_size), args.score_thr, say)
    with BackendServer(backend, args.host, args.port) as server:
        host, port = server.server_address[:2]
        host = f'[{host}]' if ':' in host else host
        say(f'{backend.version()} of {args.run} is served at '
            f'http://{host}:{port} (Ctrl-C ends it)')
        server.serve_forever()
