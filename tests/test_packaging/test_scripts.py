"""The scripts, with stand-ins for python and srun that print their call."""
import os
import os.path as osp
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import time
from glob import glob

import pytest
from helpers.forks import fork_run

ROOT = osp.dirname(osp.dirname(osp.dirname(osp.abspath(__file__))))
SCRIPTS = ('quickstart.sh', 'run_tests.sh', 'dist_train.sh',
           'slurm_train.sh')


def fake(folder, name, body):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\n{body}\n')
    path.chmod(0o755)
    return str(path)


def bash(script, *args, cwd=None, **env):
    keep = {'PATH': os.environ['PATH'], 'HOME': os.environ.get('HOME', '/')}
    return subprocess.run(['bash', str(script), *args],
                          capture_output=True,
                          text=True,
                          cwd=cwd,
                          env={**keep, **env})


# list_runs.py and list_methods.py take no options: they write pages of the
# docs; what lies beside tools/gpu/check.py are its steps
TOOLS = sorted({'tools/gpu/check.py', *(
    tool for tool in glob('tools/**/*.py', root_dir=ROOT, recursive=True)
    if not tool.startswith('tools/gpu/') and
    not tool.startswith('tools/misc/list_'))})


@pytest.mark.parametrize('tool', TOOLS)
def test_every_tool_starts_and_says_what_it_does(tool):
    done = fork_run(osp.join(ROOT, tool), '--help')
    assert done.returncode == 0, done.stderr
    assert 'usage: ' + osp.basename(tool) in done.stdout


@pytest.fixture
def checkout(tmp_path):
    """A copy of the scripts with an installer that only notes its call."""
    folder = tmp_path / 'a checkout'
    for name in ('tools', 'requirements'):
        shutil.copytree(
            osp.join(ROOT, name),
            folder / name,
            ignore=shutil.ignore_patterns('__pycache__'))
    for name in ('setup.py', 'pyproject.toml'):
        shutil.copy(osp.join(ROOT, name), folder)
    (folder / 'tools/misc/install_requirements.py').write_text(
        'import sys; print("INSTALL", sys.prefix, *sys.argv[1:])\n')
    (folder / 'tools/al_train.py').write_text(
        'import os, sys; print("TRAIN", os.getcwd(), sys.argv[1:])\n')
    return folder


@pytest.mark.parametrize('name', [*SCRIPTS, '../.ci/run'])
def test_scripts_are_executable_and_parse(name):
    path = osp.join(ROOT, 'tools', name)
    assert os.stat(path).st_mode & stat.S_IXUSR
    subprocess.run(['bash', '-n', path], check=True)


def test_quickstart_makes_venv_once_and_passes_arguments(checkout, tmp_path):
    script = checkout / 'tools/quickstart.sh'
    first = bash(script, '--work-dir', 'a b', cwd=tmp_path,
                 PYTHON=sys.executable)
    assert first.returncode == 0, first.stderr
    assert f'INSTALL {checkout}/.venv --exact' in first.stdout
    train = f"TRAIN {checkout} ['configs/al/fcos_core-set_digits.py', " \
            "'--resume', '--work-dir', 'a b']"
    assert train in first.stdout
    second = bash(script, '--work-dir', 'a b', cwd='/')
    assert second.stdout.strip() == train
    with open(checkout / 'requirements/pinned.txt', 'a') as f:
        f.write('# changed\n')
    assert 'INSTALL' in bash(script).stdout


def test_a_failed_installation_is_done_again(checkout):
    tool = checkout / 'tools/misc/install_requirements.py'
    good = tool.read_text()
    tool.write_text('import sys; sys.exit("no network")\n')
    script = checkout / 'tools/quickstart.sh'
    failed = bash(script, PYTHON=sys.executable)
    assert failed.returncode == 1 and 'no network' in failed.stderr
    assert 'TRAIN' not in failed.stdout
    tool.write_text(good)
    assert 'INSTALL' in bash(script, PYTHON=sys.executable).stdout


@pytest.mark.parametrize('variable', ['VIRTUAL_ENV', 'CONDA_PREFIX'])
def test_an_active_environment_is_taken(checkout, tmp_path, variable):
    fake(tmp_path / 'env' / 'bin', 'python', f'exec {sys.executable} "$@"')
    done = bash(checkout / 'tools/quickstart.sh',
                **{variable: str(tmp_path / 'env')})
    assert done.returncode == 0, done.stderr
    assert f'INSTALL {sys.prefix}\n' in done.stdout
    assert '--exact' not in done.stdout
    assert not (checkout / '.venv').exists()


def test_old_python_is_refused_clearly(checkout, tmp_path):
    old = fake(tmp_path / 'bin', 'python3',
               'case "$1" in -V) echo Python 3.8.1;; *) exit 1;; esac')
    named = bash(checkout / 'tools/run_tests.sh', PYTHON=old)
    assert named.returncode == 1
    assert 'Python 3.8.1, mmal needs Python 3.10, 3.11, 3.12 or '\
        '3.13' in named.stderr
    for name in ('python', 'python3.10', 'python3.11', 'python3.12',
                 'python3.13'):
        fake(tmp_path / 'bin', name, 'exit 1')
    path = f'{tmp_path}/bin:/usr/bin:/bin'
    found = bash(checkout / 'tools/run_tests.sh', PATH=path)
    assert found.returncode == 1 and 'found Python 3.8.1' in found.stderr
    env = tmp_path / 'env' / 'bin'
    shutil.copytree(tmp_path / 'bin', env)
    fake(env, 'python',
         'case "$1" in -V) echo Python 3.9.9;; *) exit 1;; esac')
    active = bash(checkout / 'tools/run_tests.sh',
                  VIRTUAL_ENV=str(tmp_path / 'env'))
    assert active.returncode == 1 and 'has Python 3.9.9' in active.stderr
    assert not (checkout / '.venv').exists()


@pytest.mark.parametrize('arguments, gpus', [
    ('-k "not slow"', ''), ('--pretend-gpu -k "not slow"', '1')])
def test_run_tests_passes_the_exit_code_and_arguments(
        checkout, tmp_path, arguments, gpus):
    env = tmp_path / 'env' / 'bin'
    fake(env, 'python', 'case "$1" in -m) echo "$OMP_NUM_THREADS" '
         '"GPUS=$MMAL_PRETEND_GPU" "$@"; exit 7;; esac; '
         f'exec {sys.executable} "$@"')
    done = bash(checkout / 'tools/run_tests.sh', *shlex.split(arguments),
                VIRTUAL_ENV=str(tmp_path / 'env'))
    assert done.returncode == 7
    marked = '-m cuda ' if gpus else ''
    assert done.stdout.splitlines()[-1] == (
        f'1 GPUS={gpus} -m pytest -q -n 2 --dist worksteal {marked}'
        '-k not slow')


def test_dist_train_calls_torchrun(tmp_path):
    python = fake(tmp_path, 'python',
                  f'case "$1" in -c) exec {sys.executable} "$@";; esac; '
                  'echo "$@"')
    script = osp.join(ROOT, 'tools', 'dist_train.sh')
    done = bash(script, 'my.py', '3', '--resume', 'auto', PYTHON=python)
    words = done.stdout.split()
    assert words[:2] == ['-m', 'torch.distributed.run']
    assert '--nproc_per_node=3' in words and '--nnodes=1' in words
    port = next(w for w in words if w.startswith('--master_port='))
    assert 1024 <= int(port.split('=')[1]) <= 65535
    assert words[-6:] == [
        f'{ROOT}/tools/al_train.py', 'my.py', '--launcher', 'pytorch',
        '--resume', 'auto'
    ]
    done = bash(script, 'my.py', '8', PYTHON=python, NNODES='2',
                NODE_RANK='1', MASTER_ADDR='10.0.0.1', PORT='29511')
    assert {
        '--nnodes=2', '--node_rank=1', '--master_addr=10.0.0.1',
        '--master_port=29511'
    } <= set(done.stdout.split())


def test_dist_train_needs_its_arguments_and_a_port_for_several_nodes():
    script = osp.join(ROOT, 'tools', 'dist_train.sh')
    assert bash(script, 'my.py').returncode == 2
    assert 'Usage' in bash(script).stderr
    several = bash(script, 'my.py', '8', NNODES='2')
    assert several.returncode == 2 and 'PORT' in several.stderr


def test_slurm_train_calls_srun(tmp_path):
    fake(tmp_path, 'srun', 'echo "$@"')
    script = osp.join(ROOT, 'tools', 'slurm_train.sh')
    path = f'{tmp_path}:{os.environ["PATH"]}'
    done = bash(script, 'gpus', 'al', 'my.py', 'out', '--amp', PATH=path,
                GPUS='4', SRUN_ARGS='--quiet --time=1')
    words = done.stdout.split()
    assert {
        '--partition=gpus', '--job-name=al', '--gres=gpu:4', '--ntasks=4',
        '--ntasks-per-node=4', '--quiet', '--time=1'
    } <= set(words)
    assert words[-5:] == [
        f'{ROOT}/tools/al_train.py', 'my.py', '--work-dir=out',
        '--launcher=slurm', '--amp'
    ]
    assert '--gres=gpu:8' in bash(
        script, 'a', 'b', 'c', 'd', PATH=path, GPUS='16').stdout
    assert bash(script, 'a', 'b', 'c').returncode == 2


@pytest.mark.parametrize('slow', ['', 'trap', 'STEP='])
def test_slurm_train_goes_back_to_the_queue_after_a_signal(tmp_path, slow):
    """The batch job is started as sbatch would: from a copy, twice.

    However slow its shell is, which rests before a command, srun is told.
    """
    rest = tmp_path / 'rest.sh'
    rest.write_text("trap 'case $BASH_COMMAND in "
                    f'"{slow}"*) sleep 1;; esac\' DEBUG\n' if slow else '')
    fake(tmp_path, 'sbatch', 'echo "$@"')
    fake(tmp_path, 'scontrol', 'echo scontrol "$@"')
    # as srun: ends with the status of a run that was asked to stop
    fake(tmp_path, 'srun', 'trap "echo asked; exit 75" USR1\necho "$@"\n'
         'touch "$READY"\nfor i in $(seq 100); do sleep .1; done')
    script = osp.join(ROOT, 'tools', 'slurm_train.sh')
    path = f'{tmp_path}:{os.environ["PATH"]}'
    words = bash(script, 'gpus', 'al', 'my.py', 'out', '--amp', PATH=path,
                 GPUS='4', REQUEUE='1', SBATCH_ARGS='--time=60'
                 ).stdout.split()
    assert {'--partition=gpus', '--ntasks=4', '--signal=B:USR1@120',
            '--requeue', '--time=60'} <= set(words)
    assert words[-6:] == [script, 'gpus', 'al', 'my.py', 'out', '--amp']

    copy = shutil.copy(script, tmp_path / 'slurm_script')
    for restarts in (0, 1):
        ready = tmp_path / f'ready_{restarts}'
        job = subprocess.Popen(
            ['bash', copy, *words[-5:]], stdout=subprocess.PIPE, text=True,
            env=dict(os.environ, PATH=path, REQUEUE='1', READY=str(ready),
                     BASH_ENV=str(rest), MMAL_TOOLS=osp.dirname(script),
                     SLURM_JOB_ID='17', SLURM_RESTART_COUNT=str(restarts)))
        while not ready.exists():
            assert job.poll() is None
            time.sleep(.02)
        job.send_signal(signal.SIGUSR1)
        out, _ = job.communicate(timeout=60)
        assert job.returncode == 75
        called, asked, requeued = out.splitlines()
        assert f'{ROOT}/tools/al_train.py my.py --work-dir=out' in called
        assert called.endswith('--amp --resume') == bool(restarts)
        assert asked == 'asked' and requeued == 'scontrol requeue 17'


def test_slurm_train_leaves_other_ends_alone(tmp_path):
    fake(tmp_path, 'scontrol', 'echo scontrol "$@"')
    fake(tmp_path, 'srun', 'exit $STATUS')
    script = osp.join(ROOT, 'tools', 'slurm_train.sh')
    for status in (0, 1, 3):
        done = bash(script, 'gpus', 'al', 'my.py', 'out',
                    PATH=f'{tmp_path}:{os.environ["PATH"]}', REQUEUE='1',
                    MMAL_TOOLS=osp.dirname(script), SLURM_JOB_ID='17',
                    STATUS=str(status))
        assert done.returncode == status and 'scontrol' not in done.stdout
