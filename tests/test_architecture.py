"""The rooms of the package: imports point one way, from rooms above to rooms
below, and nobody imports in a circle."""
import ast
import os.path as osp
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
# From the top to the bottom. A room imports from rooms below its own, and in
# its own storey only what is listed.
STOREYS = (
    ('commands', ),
    ('serving', ),
    ('analysis', ),
    ('engine', ),
    ('scoring', 'reporting', 'visualization'),
    ('models', 'influence', 'selection', 'pool', 'datasets', 'evaluation'),
    ('calibration', ),
    ('uncertainty', 'scores', 'dist', 'heartbeat', 'types', 'registry',
     'randomness', 'random_tensors', 'recorder', 'fileio', 'lazy', 'compat',
     'version', 'colours'),
)
SAME_STOREY = {
    ('dist', 'heartbeat'), ('random_tensors', 'randomness'),
    ('scores', 'fileio'), ('scores', 'randomness'), ('scores', 'types'),
}
PLAIN = ('uncertainty', 'calibration', 'influence', 'selection')


def modules():
    """All modules of the package: dotted name -> file."""
    files = sorted((ROOT / 'mmal').rglob('*.py'))
    names = {}
    for file in files:
        parts = file.relative_to(ROOT).with_suffix('').parts
        if parts[-1] == '__init__':
            parts = parts[:-1]
        names['.'.join(parts)] = file
    return names


def imports(name, file, names):
    """Modules of the package that one imports, wherever in the file it does,
    but for those that only a type checker sees."""
    tree = ast.parse(file.read_text(encoding='utf-8'))
    hidden = {
        inner for node in ast.walk(tree)
        if isinstance(node, ast.If) and 'TYPE_CHECKING' in ast.dump(node.test)
        for inner in ast.walk(node)}
    package = name if file.name == '__init__.py' else name.rpartition('.')[0]
    for node in ast.walk(tree):
        if node in hidden:
            continue
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ''
            if node.level:
                above = package.split('.')
                above = above[:len(above) - node.level + 1]
                base = '.'.join([*above, *filter(None, [node.module])])
            targets = [f'{base}.{alias.name}' for alias in node.names]
            targets = [t if t in names else base for t in targets]
        else:
            continue
        yield from (t for t in targets if t in names and t != name)


def graph():
    names = modules()
    return {name: set(imports(name, file, names))
            for name, file in names.items()}


def room(module):
    return module.split('.')[1] if '.' in module else ''


def storey(room_name):
    (number, ) = [i for i, rooms in enumerate(STOREYS) if room_name in rooms]
    return number


def test_every_module_is_in_a_room():
    known = {'', '__main__', *(r for rooms in STOREYS for r in rooms)}
    assert {room(m) for m in modules()} <= known


def test_imports_point_down():
    wrong = []
    for module, targets in graph().items():
        for target in targets:
            a, b = room(module), room(target)
            if {'', '__main__'} & {a, b} or a == b or (a, b) in SAME_STOREY:
                continue
            if storey(a) >= storey(b):
                wrong.append(f'{module} -> {target}')
    assert not wrong, '\n'.join(wrong)


def test_there_is_no_circle():
    """Of modules; a package's __init__ is the door to its modules, so an
    import of its own package's __init__ would be one."""
    edges = graph()
    done, path = set(), []

    def visit(module):
        if module in path:
            circle = [*path[path.index(module):], module]
            pytest.fail('a circle: ' + ' -> '.join(circle))
        if module in done:
            return
        path.append(module)
        for target in sorted(edges[module]):
            visit(target)
        path.pop()
        done.add(module)

    for module in edges:
        visit(module)


BLOCKED = '''
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split('.')[0] in ('mmengine', 'mmcv', 'mmdet'):
            raise ImportError(f'{name} is blocked')

sys.meta_path.insert(0, Blocker())
'''

USE = '''
import numpy as np
import torch
import mmal.calibration, mmal.influence, mmal.selection, mmal.uncertainty
from mmal.influence import ConjugateGradient, GaussNewton, LayerRecorder
from mmal.influence import image_products, mean_gradient

rows = np.random.default_rng(0).normal(size=(50, 4)).astype('float32')
scores = torch.arange(50.)
assert mmal.selection.TopN().select(scores, 2) == [49, 48]
for cls in (mmal.selection.CoreSet, mmal.selection.KMeansPlusPlus):
    order = cls(start='random').order(scores, rows)
    assert len({next(order) for _ in range(9)}) == 9
table = mmal.selection.RandomSubset(9, dict(type='mmal.BottomN'))
assert len(table.select(scores.numpy(), 3)) == 3
assert len(mmal.selection.SparseModeling().select(scores, 5, rows)) == 5

entropy = mmal.uncertainty.binary_entropy(torch.tensor(.5))
assert abs(entropy - np.log(2)) < 1e-6

model = torch.nn.Linear(2, 1).eval()
recorder = LayerRecorder(model, '*')
x, y = torch.randn(8, 2), torch.randn(8)
def losses():
    with recorder:
        return (model(x)[:, 0] - y).square()
hessian = GaussNewton.from_batch(losses(), recorder)
v = mean_gradient(losses(), recorder)
assert image_products(
    losses(), recorder, ConjugateGradient().solve(hessian, v).x).shape == (8, )
assert not {m.split('.')[0] for m in sys.modules} & {
    'mmengine', 'mmcv', 'mmdet'}
'''


def test_plain_rooms_work_without_openmmlab():
    done = subprocess.run([sys.executable, '-c', BLOCKED + USE],
                          capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize('name', PLAIN)
def test_plain_rooms_import_nothing_of_openmmlab(name):
    for file in (ROOT / 'mmal' / name).rglob('*.py'):
        for node in ast.walk(ast.parse(file.read_text(encoding='utf-8'))):
            found = []
            if isinstance(node, ast.Import):
                found = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found = [node.module]
            assert not {f.split('.')[0] for f in found} & {
                'mmengine', 'mmcv', 'mmdet'}, osp.relpath(file, ROOT)
