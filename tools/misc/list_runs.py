"""Write the tables of docs/runs.md: which runs there are, by method and task.

    python tools/misc/list_runs.py

A run is a config whose bases are one task and one method. The tables are read
from the files, and a test compares them with the page.
"""
import ast
import itertools
import os.path as osp
import sys
from dataclasses import dataclass
from glob import glob
from typing import Iterator

ROOT = osp.dirname(osp.dirname(osp.dirname(osp.abspath(__file__))))
CONFIGS = osp.join(ROOT, 'configs')
# how the names of a family's tasks begin -> its heading
FAMILIES = {
    'fcos': 'FCOS', 'faster-rcnn': 'Faster R-CNN', 'retinanet': 'RetinaNet',
    'ssd': 'SSD', 'yolov3': 'YOLOv3', 'resnet': 'Classifiers'}
PAGE = osp.join(ROOT, 'docs', 'runs.md')
MARK = '<!-- below: python tools/misc/list_runs.py -->'


@dataclass(frozen=True)
class Run:
    """A run, all paths relative to ``configs/``."""
    path: str
    tasks: tuple[str, ...]
    methods: tuple[str, ...]
    others: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """Whether it has one task, one method, and no other base."""
        return (len(self.tasks), len(self.methods), self.others) == (1, 1, ())


def bases(path: str) -> list[str]:
    """What a config inherits: paths relative to ``configs/``, or ``a::b``."""
    with open(osp.join(CONFIGS, path), encoding='utf-8') as f:
        tree = ast.parse(f.read())
    for node in tree.body:
        if isinstance(node, ast.Assign) and \
                getattr(node.targets[0], 'id', None) == '_base_':
            value = ast.literal_eval(node.value)
            return [b if '::' in b else osp.normpath(
                osp.join(osp.dirname(path), b))
                for b in ([value] if isinstance(value, str) else value)]
    return []


def with_inherited(path: str) -> Iterator[str]:
    """A config and all it inherits, as far as mmal has them."""
    yield path
    for base in bases(path):
        if '::' not in base:
            yield from with_inherited(base)


def find(pattern: str) -> list[str]:
    """Configs that a pattern matches, relative to ``configs/``."""
    return sorted((osp.relpath(p, CONFIGS)
                   for p in glob(osp.join(CONFIGS, pattern))), key=_stem)


def runs() -> list[Run]:
    """Every config outside ``_base_`` that sets active learning up."""
    every = []
    for path in find('[!_]*/*.py'):
        if any(osp.dirname(p) in ('_base_/al_tasks', '_base_/al_methods') or
               p == '_base_/al_protocol.py' for p in with_inherited(path)):
            kinds = {kind: tuple(b for b in bases(path)
                                 if osp.dirname(b) == f'_base_/al_{kind}')
                     for kind in ('tasks', 'methods')}
            others = set(bases(path)) - {*kinds['tasks'], *kinds['methods']}
            every.append(Run(path, **kinds, others=tuple(sorted(others))))
    return every


def comment(path: str) -> str:
    """The comment that a config begins with."""
    with open(osp.join(CONFIGS, path), encoding='utf-8') as f:
        lines = itertools.takewhile(lambda line: line[0] == '#', f)
        return ' '.join(line.lstrip('# ').strip() for line in lines)


def _stem(path: str) -> str:
    return path.removesuffix('.py')


def link(path: str, text: str = '') -> str:
    """A link to a config, by its name."""
    return f'[{text or osp.basename(path)[:-3]}](../configs/{path})'


def table(header: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = [header, ['---'] * len(header), *rows]
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def matrix(family: list[Run]) -> str:
    """Methods x tasks, whichever are more as rows; a link where a run is."""
    cells = {(r.methods[0], r.tasks[0]): link(r.path, 'run') for r in family}
    methods, tasks = (sorted(set(kind), key=_stem) for kind in zip(*cells))
    if len(methods) >= len(tasks):
        return table(['', *map(link, tasks)], [
            [link(m), *(cells.get((m, t), '') for t in tasks)]
            for m in methods])
    return table(['', *map(link, methods)], [
        [link(t), *(cells.get((m, t), '') for m in methods)] for t in tasks])


def tables() -> str:
    """The tables of docs/runs.md: all that stands below its mark."""
    parts = []
    complete = [r for r in runs() if r.complete]
    for prefix, heading in FAMILIES.items():
        family = [r for r in complete
                  if osp.basename(r.tasks[0]).startswith(prefix)]
        parts += [f'## {heading}', matrix(family)]
    for kind in 'tasks', 'methods':
        parts += [f'## The {kind}', table([kind[:-1], 'what it is'], [
            [link(p), comment(p)] for p in find(f'_base_/al_{kind}/*.py')])]
    return '\n\n'.join(parts) + '\n'


def main() -> None:
    """Write the tables below the mark of the page."""
    with open(PAGE, encoding='utf-8') as f:
        text, mark, _ = f.read().partition(MARK)
    if not mark:
        sys.exit(f'{PAGE} has no line {MARK}')
    with open(PAGE, 'w', encoding='utf-8') as f:
        f.write(f'{text}{MARK}\n\n{tables()}')


if __name__ == '__main__':
    main()
