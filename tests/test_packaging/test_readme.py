"""The commands of the README, as they are written there."""
import os
import os.path as osp
import re
import shlex
import shutil

import pytest
import torch
from helpers.forks import ROOT, fork_run
from helpers.tiny import tiny_config
from mmdet.registry import MODELS
from mmengine.registry import DefaultScope

from mmal.commands import main
from mmal.commands.main import COMMANDS
from mmal.compat.configs import path_of_config

with open(osp.join(ROOT, 'README.md'), encoding='utf-8') as f:
    BLOCKS = re.findall(r'```shell\n(.*?)```', f.read(), re.S)
LINES = [line.strip() for block in BLOCKS
         for line in block.replace('\\\n', ' ').splitlines() if line.strip()]
OF_MMAL = [line for line in LINES if line.startswith('mmal ')]


def run_in(folder, line, *more):
    """Run a line in a folder, in a process of its own."""
    argv = [*shlex.split(line)[1:], *more]

    def work():
        os.chdir(folder)
        return main(argv)

    return fork_run(work)


def test_the_first_screen_comes_in_order():
    """Install, the demo, one's own detector."""
    starts = ['python3 -m venv', 'pip install torch', "pip install '.[",
              'mmal train mmal::', 'mmal select my_detector.py']
    at = [next(n for n, line in enumerate(LINES) if line.startswith(start))
          for start in starts]
    assert at == sorted(at)


@pytest.mark.parametrize('line', LINES)
def test_what_a_line_names_is_there(line):
    words = shlex.split(line)
    for word in words:
        if word.startswith('mmal::'):
            assert osp.isfile(path_of_config(word))
        elif word.startswith(('configs/', 'tools/', 'benchmarks/')):
            assert osp.isfile(osp.join(ROOT, word))
    if words[0] == 'mmal':
        assert words[1] in COMMANDS


def test_extras_that_pip_installs_exist():
    with open(osp.join(ROOT, 'pyproject.toml')) as f:
        text = f.read()
    for extras in re.findall(r"'\.\[(.*?)\]'", '\n'.join(LINES)):
        for extra in extras.split(','):
            assert re.search(rf'^{extra} = {{ file', text, re.M)


@pytest.mark.run
def test_a_detector_of_ones_own(tmp_path):
    """``mmal select`` in a folder with a config, weights and photos."""
    line, = [line for line in OF_MMAL if line.startswith('mmal select')]
    cfg = tiny_config(str(tmp_path / 'made'), classes=3)
    # nothing of the config's data is there any more
    shutil.move(tmp_path / 'made' / 'images', tmp_path / 'photos')
    shutil.rmtree(tmp_path / 'made')
    cfg.dump(tmp_path / 'my_detector.py')
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = MODELS.build(cfg.model)
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'epoch_12.pth')
    number = len(os.listdir(tmp_path / 'photos'))
    done = run_in(tmp_path, line)
    assert done.returncode == 0, done.stdout + done.stderr
    wanted = int(re.search(r'--budget (\d+)', line)[1])
    found = list(tmp_path.rglob('selected.txt'))
    assert len(found) == 1
    names = found[0].read_text().split()
    assert len(set(names)) == min(wanted, number)
    assert set(names) <= set(os.listdir(tmp_path / 'photos'))


@pytest.mark.run
def test_the_demos_have_a_green_dry_run(tmp_path):
    """The runs themselves take minutes."""
    demos = [line for line in OF_MMAL if line.startswith('mmal train mmal::')]
    assert len(demos) == 2
    for line in demos:
        # the data set is made by the run, not by its dry run
        done = run_in(ROOT, line, '--dry-run')
        if done.returncode:
            assert 'The run makes the data when it starts' in done.stderr
        else:
            assert 'trying the query' in done.stderr
