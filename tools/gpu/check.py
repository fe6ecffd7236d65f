"""The steps of tools/gpu_check.sh, each a process with a limit of time.

A step that fails, hangs or runs out of time costs its own rows and nothing
else; report.json is whole after every line of every step.
"""
import argparse
import json
import os
import os.path as osp
import signal
import subprocess
import sys
import threading
import time

HERE = osp.dirname(osp.abspath(__file__))
ROOT = osp.dirname(osp.dirname(HERE))
MARK = '## '  # begins a line of a step that goes into the report
TAIL = 4000  # characters of a step's output in the report


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('out', help='folder of report.json and the logs')
    parser.add_argument('--minutes', type=float, default=9,
                        help='for all steps together; default: 9')
    parser.add_argument('--steps', nargs='+', metavar='STEP',
                        help=f'only these: {", ".join(steps())}')
    return parser.parse_args()


def steps():
    """Name -> (arguments of python, the most seconds it may take).

    In the order of what one would want to know first.
    """
    def script(name):
        return [osp.join(HERE, f'{name}.py')]

    workers = ['-n', str(min(6, os.cpu_count() or 1))] if has_xdist() else []
    return {
        'environment': (script('environment'), 60),
        'tests': (['-m', 'pytest', '-q', '-m', 'cuda', *workers,
                   '-p', 'no:cacheprovider', 'tests/test_device'], 180),
        'claims': (script('claims'), 90),
        'runs': (script('runs'), 180),
        'speed': (script('speed'), 150),
    }


def has_xdist():
    import importlib.util
    return importlib.util.find_spec('xdist') is not None


class Report:
    """``report.json``, written anew whenever something is added."""

    def __init__(self, path, pretended):
        self.path = path
        self.content = dict(
            started=time.strftime('%Y-%m-%d %H:%M:%S'),
            pretended=pretended,
            steps={})
        self.write()

    def write(self):
        """Whole or not at all."""
        with open(self.path + '.tmp', 'w') as f:
            json.dump(self.content, f, indent=1)
            f.write('\n')
        os.replace(self.path + '.tmp', self.path)


def run_step(name, command, limit, out, env, report):
    """Run a step; returns whether it went well."""
    entry = dict(status='running', seconds=0., figures=[])
    report.content['steps'][name] = entry
    start = time.monotonic()
    path = osp.join(out, f'{name}.log')
    with open(path, 'w') as log:
        process = subprocess.Popen(
            [sys.executable, *command], cwd=ROOT, env=env, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True)
        late = threading.Timer(limit, stop, [process])
        late.start()
        try:
            for line in process.stdout:
                log.write(line)
                log.flush()
                if line.startswith(MARK):
                    print('  ' + line[len(MARK):].rstrip(), flush=True)
                    entry['figures'].append(json.loads(line[len(MARK):]))
                    report.write()
            code = process.wait()
        finally:
            in_time = late.is_alive()
            late.cancel()
            stop(process)  # with whatever it has started
    entry['seconds'] = round(time.monotonic() - start, 1)
    entry['status'] = 'ok' if code == 0 else (
        f'failed with {code}' if in_time else f'stopped after {limit:.0f} s')
    with open(path) as log:
        text = log.read()
    lines = text.rstrip().splitlines() or ['']
    entry['last'] = lines[-1]
    if code:
        entry['tail'] = text[-TAIL:]
    report.write()
    print(f'{name}: {entry["status"]} in {entry["seconds"]} s; {lines[-1]}',
          flush=True)
    return code == 0


def stop(process):
    """Kill a step and all that it has started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def check_folder(folder):
    """Exit unless a folder is empty, or that of an earlier check."""
    try:
        with open(osp.join(folder, 'report.json')) as f:
            ours = 'pretended' in json.load(f)
    except (OSError, ValueError, TypeError):
        ours = False
    if not ours and os.listdir(folder):
        sys.exit(f'{folder} has files of something else, which the logs might '
                 'replace: give a new folder.')


def main():
    args = parse_args()
    check_folder(args.out)
    chosen = steps()
    unknown = [s for s in args.steps or () if s not in chosen]
    if unknown:
        sys.exit(f'there is no step {unknown[0]}, but {", ".join(chosen)}')
    pretended = bool(os.environ.get('MMAL_PRETEND_GPU'))
    env = dict(os.environ, PYTHONUNBUFFERED='1', GPU_CHECK_OUT=args.out)
    env.setdefault('OMP_NUM_THREADS', '1' if pretended else '4')
    path = [ROOT, osp.join(ROOT, 'tests'), osp.join(ROOT, 'benchmarks')]
    if pretended:
        path.insert(0, osp.join(
            ROOT, 'tests', 'helpers', 'pretended_gpu', 'site'))
    env['PYTHONPATH'] = os.pathsep.join(
        [*path, *filter(None, [env.get('PYTHONPATH')])])
    report = Report(osp.join(args.out, 'report.json'), pretended)
    deadline = time.monotonic() + 60 * args.minutes
    failed = []
    for name, (command, limit) in chosen.items():
        limit *= 4 if pretended else 1  # the CPUs may be few and busy
        if args.steps and name not in args.steps:
            continue
        left = deadline - time.monotonic()
        if left < 5:
            report.content['steps'][name] = dict(status='no time left')
            report.write()
            failed.append(name)
            continue
        good = run_step(name, command, min(limit, left), args.out, env, report)
        if not good:
            failed.append(name)
            if name == 'environment':
                break
    report.content['failed'] = failed
    report.content['minutes'] = round(
        (time.monotonic() - deadline) / 60 + args.minutes, 2)
    report.write()
    print(f'{osp.join(args.out, "report.json")}: ' + (
        f'failed: {", ".join(failed)}' if failed else 'all steps went well'))
    return 1 if failed else 0


if __name__ == '__main__':
    sys.exit(main())
