"""Short whole runs on digits: training, queries, kills, processes."""
import os
import os.path as osp
import signal
import subprocess
import sys
import tempfile
import time

from common import PRETENDED, ROOT, figure, finish, row

from mmal.fileio import read_json

OUT = tempfile.mkdtemp(  # a new one: nothing there is written over
    prefix='runs_', dir=os.environ.get('GPU_CHECK_OUT'))
SHORT = ['active_learning.rounds=2', 'train_cfg.max_epochs=4',
         'train_cfg.val_interval=4', 'active_learning.initial.size=40',
         'active_learning.budget.size=20', f'data_root={OUT}/digits/',
         f'active_learning.prepare_data.root={OUT}/digits/']
if PRETENDED:
    SHORT += ['train_cfg.max_epochs=1', 'train_cfg.val_interval=1',
              'active_learning.initial.size=8',
              'active_learning.budget.size=4']
DETERMINISTIC = ['randomness.deterministic=True']


def command(name, *arguments, config='fcos_isal_digits', options=()):
    """The words of ``tools/al_train.py`` for a short run."""
    return ['tools/al_train.py', f'configs/al/{config}.py', '--work-dir',
            osp.join(OUT, name), *arguments, '--cfg-options', *SHORT,
            *options]


def run(*words, env=None):
    """Run python; an error has its last lines."""
    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, capture_output=True, text=True,
        env=dict(os.environ, **(env or {})))
    if done.returncode:
        raise RuntimeError((done.stdout + done.stderr)[-1500:])
    return done.stdout + done.stderr


def rounds(name):
    """What each round labelled, and the AP of each."""
    state = read_json(osp.join(OUT, name, 'state.json'))
    curve = read_json(osp.join(OUT, name, 'curve.json'))
    ap = [round(r['metrics']['coco/bbox_mAP'], 4) for r in curve['rounds']]
    return [r['ids'] for r in state['rounds']], ap


def timed(values, *words, **kwargs):
    start = time.monotonic()
    text = run(*words, **kwargs)
    values['seconds'] = round(time.monotonic() - start, 1)
    return text


def kill_in_second_round(*words):
    """Start a run, and kill it once its first round is over."""
    process = subprocess.Popen(
        [sys.executable, *words], cwd=ROOT, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True)
    state = osp.join(OUT, 'killed', 'state.json')
    while process.poll() is None:
        time.sleep(0.1)
        if osp.exists(state) and len(read_json(state)['rounds']) > 1:
            time.sleep(1)  # somewhere in the second training
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return
    raise RuntimeError(f'ended by itself with {process.returncode}')


def main():
    """All rows."""
    with row('ISAL, deterministic') as values:
        timed(values, *command('deterministic', options=DETERMINISTIC))
        first, values['ap'] = rounds('deterministic')
    with row('killed and resumed, deterministic') as values:
        words = command('killed', options=DETERMINISTIC)
        kill_in_second_round(*words)
        timed(values, *command('killed', '--resume', options=DETERMINISTIC))
        again, values['ap'] = rounds('killed')
        values['same_images'] = again == first
        assert again == first
    with row('--amp') as values:
        timed(values, *command('amp', '--amp', config='fcos_entropy_digits'))
        values['ap'] = rounds('amp')[1]
    with row('one query, tools/al_select.py') as values:
        work = osp.join(OUT, 'amp')
        last = max((osp.join(folder, f) for folder, _, files in os.walk(work)
                    for f in files if f.endswith('.pth')), key=osp.getmtime)
        timed(values, 'tools/al_select.py',
              osp.join(ROOT, 'configs/al/fcos_entropy_digits.py'), last,
              '--out-dir', osp.join(OUT, 'select'), '--cfg-options', *SHORT)
    if PRETENDED:
        # torch's reducer talks to the process group in C++
        figure('one process of NCCL',
               skipped='DistributedDataParallel needs a real GPU')
    else:
        with row('one process of NCCL') as values:
            timed(values, '-m', 'torch.distributed.run', '--standalone',
                  '--nproc_per_node', '1',
                  *command('nccl', '--launcher', 'pytorch'))
            values['ap'] = rounds('nccl')[1]
    finish()


if __name__ == '__main__':
    main()
