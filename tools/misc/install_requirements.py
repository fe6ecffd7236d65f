"""Install what an environment lacks of ``requirements/pinned.txt``.

With ``--exact`` (an environment that is ours) every package takes its pinned
version. Without it (somebody else's environment) a package that is there and
within the ranges of ``requirements/*.txt`` stays as it is, and torch and the
OpenMMLab packages are never replaced.

Runs before anything is installed: needs pip and the standard library only.
"""
import argparse
import importlib.metadata
import os.path as osp
import subprocess
import sys
import tempfile
from typing import Dict, List, Optional

try:
    from pip._vendor.packaging.requirements import Requirement
    from pip._vendor.packaging.utils import canonicalize_name
except ImportError:
    sys.exit(f'{sys.executable} has no pip. Run `{sys.executable} -m '
             'ensurepip`, or deactivate the environment so that .venv is '
             'used instead.')

ROOT = osp.dirname(osp.dirname(osp.dirname(osp.abspath(__file__))))
RANGES = ('runtime', 'openmmlab', 'lite0', 'digits', 'tests')

# Other distributions with the same import name: one of them is enough, and a
# second one would overwrite its files.
SAME_IMPORT = {
    'mmcv-lite': ('mmcv', 'mmcv-full', 'onedl-mmcv'),
    'mmengine': ('onedl-mmengine', 'mmengine-lite'),
    'mmdet': ('onedl-mmdetection', ),
    'opencv-python': ('opencv-python-headless', 'opencv-contrib-python',
                      'opencv-contrib-python-headless'),
}
KEEP = ('torch', 'numpy', 'mmengine', 'mmcv-lite', 'mmdet')


def read_requirements(path: str) -> List[Requirement]:
    """The requirements of a file that apply to this Python."""
    with open(path, encoding='utf-8') as f:
        lines = [line.split('#')[0].strip() for line in f]
    wanted = [Requirement(x) for x in lines if x and not x.startswith('-')]
    return [r for r in wanted if r.marker is None or r.marker.evaluate()]


def read_ranges() -> Dict[str, Requirement]:
    """Package -> the range that mmal works with."""
    return {
        canonicalize_name(r.name): r
        for name in RANGES
        for r in read_requirements(
            osp.join(ROOT, 'requirements', f'{name}.txt'))
    }


def installed(name: str) -> Optional[str]:
    """The version of a distribution, None if it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def is_met(pin: Requirement, ranges: Dict[str, Requirement],
           exact: bool) -> bool:
    """Whether the environment has what ``pin`` asks for.

    Raises:
        SystemExit: If a package that is never replaced is out of its range.
    """
    name = canonicalize_name(pin.name)
    if any(installed(other) for other in SAME_IMPORT.get(name, ())):
        return True
    version = installed(name)
    if version is None:
        return False
    wanted = pin if exact else ranges.get(name)
    if wanted is None or wanted.specifier.contains(version, prereleases=True):
        return True
    if name in KEEP and not exact:
        sys.exit(f'The active environment ({sys.prefix}) has {name} '
                 f'{version}, mmal needs {wanted}. Change it there, or '
                 'deactivate the environment so that .venv is used instead.')
    return False


def install(pins: List[Requirement], exact: bool) -> None:
    """Install ``pins``, torch before anything that asks for torch."""
    torch = [p for p in pins if p.name == 'torch']
    others = [p for p in pins if p.name != 'torch']
    # the installed packages that are to stay keep pip from replacing them
    changed = {canonicalize_name(p.name) for p in pins}
    kept = [f'{name}=={version}' for name in KEEP
            if name not in changed and (version := installed(name))]
    with tempfile.TemporaryDirectory() as folder:
        constraints = osp.join(folder, 'constraints.txt')
        with open(constraints, 'w', encoding='utf-8') as f:
            f.write('\n'.join([*map(str, pins), *kept]))
        for group in (torch, others):
            if group:
                pip('install', '-c', constraints, *map(str, group))


def use_headless_opencv(pins: List[Requirement]) -> None:
    """Where the system lacks OpenCV's window libraries, do without them."""
    check = subprocess.run([sys.executable, '-c', 'import cv2'],
                           capture_output=True,
                           text=True)
    if check.returncode == 0 or 'cannot open shared' not in check.stderr:
        return
    print(check.stderr.strip().splitlines()[-1])
    print('Taking opencv-python-headless instead, which needs no window.')
    pin = next(p for p in pins if p.name == 'opencv-python')
    pip('uninstall', '-y', 'opencv-python')
    pip('install', '--no-deps', f'opencv-python-headless{pin.specifier}')


def install_mmal() -> None:
    """Put this checkout itself into the environment, for editing."""
    where = subprocess.run([
        sys.executable, '-c', 'import importlib.util as u;'
        's = u.find_spec("mmal"); print(s.origin if s else "")'
    ],
                           capture_output=True,
                           text=True,
                           cwd=tempfile.gettempdir()).stdout.strip()
    here = osp.join(ROOT, 'mmal', '__init__.py')
    if installed('mmdet-al') and where and osp.realpath(where) == here:
        return
    pip('install', '--no-deps', '--no-build-isolation', '-e', ROOT)


def pip(*args: str) -> None:
    """Run pip of this Python.

    Raises:
        SystemExit: If it fails; the message names the command.
    """
    command = [
        sys.executable, '-m', 'pip', *args, '--disable-pip-version-check'
    ]
    if not sys.stdout.isatty():
        command.append('--quiet')
    if subprocess.call(command):
        sys.exit('Failed: ' + ' '.join(command) +
                 '\nRun the script again to go on from here.')


def main() -> None:
    """Command line; see the module's text."""
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('--exact', action='store_true')
    parser.add_argument('--check', action='store_true',
                        help='only list what is missing')
    args = parser.parse_args()
    ranges = read_ranges()
    pins = read_requirements(osp.join(ROOT, 'requirements', 'pinned.txt'))
    missing = [p for p in pins if not is_met(p, ranges, args.exact)]
    if args.check:
        print('\n'.join(map(str, missing)))
        return
    if missing:
        print(f'Installing {len(missing)} packages into {sys.prefix} …',
              flush=True)
        install(missing, args.exact)
        use_headless_opencv(pins)
    install_mmal()


if __name__ == '__main__':
    main()
