"""Finds the command that is asked for, reads its arguments and runs it."""
from __future__ import annotations

import argparse
import difflib
import importlib
import keyword
import os.path as osp
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Callable, Optional

from mmal.version import __version__
from .errors import run_or_explain

COMMANDS = ('check', 'train', 'select', 'report', 'benchmark', 'pool',
            'labels', 'serve', 'transfer', 'ab', 'analysis')


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the command ``mmal``.

    Args:
        argv (sequence[str], optional): The arguments (default: those of the
            process).

    Returns:
        int: The exit status, see :func:`~mmal.commands.errors.run_or_explain`.

    Raises:
        SystemExit: With 0 after help or the version, with 2 after a mistake
            in the arguments.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    return _run('mmal', importlib.import_module('mmal.commands'), COMMANDS,
                argv)


def script(*path: str) -> Callable[[Optional[Sequence[str]]], int]:
    """The ``main`` of a script that is one command.

    Args:
        *path (str): The words of the command after ``mmal``.

    Returns:
        callable: As :func:`main`; calls itself by the name of the script.
    """
    command = importlib.import_module(
        '.'.join(['mmal.commands', *path]).replace('-', '_'))

    def main(argv: Optional[Sequence[str]] = None) -> int:
        return run_command(command, osp.basename(sys.argv[0]),
                           sys.argv[1:] if argv is None else argv)

    return main


def run_command(command: ModuleType, name: str, argv: Sequence[str]) -> int:
    """Read the arguments of one command and run it.

    Args:
        command (module): The command.
        name (str): What help and messages call it.
        argv (sequence[str]): Its arguments.

    Returns:
        int: The exit status.

    Raises:
        SystemExit: See :func:`main`.
    """
    parser = argparse.ArgumentParser(
        prog=name,
        description=command.__doc__,
        epilog=command.EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    command.add_arguments(parser)
    args = parser.parse_args(argv)
    if hasattr(command, 'check_arguments'):
        try:
            command.check_arguments(args)
        except ValueError as e:
            parser.error(str(e))
    return run_or_explain(lambda: command.run(args), name,
                          resumable=hasattr(args, 'resume'))


def _run(name: str, package: ModuleType, names: Sequence[str],
         argv: list[str]) -> int:
    """Run the command of a package that the first argument names."""
    commands = {
        n: importlib.import_module(f'{package.__name__}.{_module_name(n)}')
        for n in names}
    width = max(map(len, names))
    lines = [f'  {n:{width}}  {_first_line(c)}' for n, c in commands.items()]
    parser = argparse.ArgumentParser(
        prog=name,
        usage=f'{name} COMMAND …',
        description=_first_line(package),
        epilog='commands:\n' + '\n'.join(lines) +
        f'\n\n{name} COMMAND --help shows what one takes, with examples.',
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '--version', action='version', version=f'mmal {__version__}')
    if not argv or argv[0].startswith('-'):
        parser.parse_args(argv)
        parser.print_help()
        return 0 if argv else 2
    command = argv[0].replace('_', '-')
    if command not in commands:
        near = difflib.get_close_matches(command, commands, 1, 0.5)
        parser.error(f'there is no command {argv[0]!r}' + (
            f', did you mean {near[0]!r}?' if near else
            f', but {", ".join(commands)}.'))
    if hasattr(commands[command], 'COMMANDS'):
        return _run(f'{name} {command}', commands[command],
                    commands[command].COMMANDS, argv[1:])
    return run_command(commands[command], f'{name} {command}', argv[1:])


def _module_name(command: str) -> str:
    """The module of a command; ``import`` is a word of the language."""
    return command.replace('-', '_') + '_' * keyword.iskeyword(command)


def _first_line(module: ModuleType) -> str:
    return module.__doc__.splitlines()[0]
