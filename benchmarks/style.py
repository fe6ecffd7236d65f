"""How finely the package is cut: the figures of a house that is easy to read.

    python benchmarks/style.py [folder ...]

For each folder (default: ``mmal``) it prints one row: files, lines, lines a
file, functions with a docstring, the median, 90th percentile and maximum of a
function's body in lines (its docstring left out), functions per 1,000 lines,
private helpers that are referred to once in their file (of all functions),
public functions below which four or more private functions of the same file
are called in a row (of all public functions), and comments (of all lines).
Rooms of the package follow, one row each, where ``--rooms`` is given.
"""
import argparse
import ast
import io
import tokenize
from collections import Counter
from pathlib import Path

import numpy as np

FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


def is_private(name):
    return name.startswith('_') and not name.startswith('__')


def body_lines(function):
    """Lines of a function below its signature and its docstring."""
    body = function.body
    if ast.get_docstring(function) is not None:
        body = body[1:]
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def depth_below(name, calls, seen=()):
    """How many private functions are called in a row, at most."""
    return max((1 + depth_below(c, calls, (*seen, c))
                for c in calls.get(name, ()) if c not in seen), default=0)


def measure_file(path):
    text = path.read_text(encoding='utf-8')
    tree = ast.parse(text)
    functions = [n for n in ast.walk(tree) if isinstance(n, FUNCTION)]
    references = Counter(
        n.id if isinstance(n, ast.Name) else n.attr for n in ast.walk(tree)
        if isinstance(n, (ast.Name, ast.Attribute)))
    private = {f.name for f in functions if is_private(f.name)}
    calls = {
        f.name: {
            n.id if isinstance(n, ast.Name) else n.attr for n in ast.walk(f)
            if isinstance(n, (ast.Name, ast.Attribute))} & private - {f.name}
        for f in functions}
    public = [f for f in functions if not f.name.startswith('_')]
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    comments = {
        t.start[0] for t in tokens
        if t.type == tokenize.COMMENT and 'noqa' not in t.string}
    documented = [f for f in functions if not f.name.startswith('_')]
    return dict(
        lines=text.count('\n'),
        functions=len(functions),
        bodies=[body_lines(f) for f in functions],
        documented=sum(
            ast.get_docstring(f) is not None for f in documented),
        public=len(public),
        once=sum(references[f.name] == 1 for f in functions
                 if is_private(f.name)),
        deep=sum(depth_below(f.name, calls) >= 4 for f in public),
        comments=len(comments))


def row(name, files):
    files = [measure_file(f) for f in files]
    total = {k: sum(f[k] for f in files) for k in files[0] if k != 'bodies'}
    bodies = [b for f in files for b in f['bodies']] or [0]
    lines, functions = total['lines'], max(1, total['functions'])
    public = max(1, total['public'])
    return (name, len(files), lines, round(lines / len(files)),
            f'{total["documented"] / public:.0%}',
            f'{np.median(bodies):.0f} / {np.percentile(bodies, 90):.0f} / '
            f'{max(bodies)}', f'{1000 * functions / lines:.0f}',
            f'{total["once"] / functions:.1%}',
            f'{total["deep"] / public:.1%}',
            f'{total["comments"] / lines:.1%}')


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('folders', nargs='*', default=['mmal'])
    parser.add_argument('--rooms', action='store_true')
    args = parser.parse_args()
    rows = [('', 'files', 'lines', 'lines/file', 'docstrings',
             'body median / p90 / max', 'functions per 1,000 lines',
             'private helpers used once', 'chains of 4', 'comments')]
    for folder in map(Path, args.folders):
        rows.append(row(folder.name, sorted(folder.rglob('*.py'))))
        if args.rooms:
            for part in sorted(folder.iterdir()):
                files = sorted(part.rglob('*.py')) if part.is_dir() else []
                if files:
                    rows.append(row(f'{folder.name}/{part.name}', files))
    print('\n'.join('| ' + ' | '.join(map(str, r)) + ' |' for r in rows))


if __name__ == '__main__':
    main()
