"""Which versions of the OpenMMLab packages and torch mmal works with."""
import importlib
import importlib.metadata
import importlib.util
from typing import NamedTuple, Optional, Tuple

COMPILED_MMCV = (
    'pip install "setuptools<81" wheel && pip install --no-build-isolation '
    '"mmcv>=2.0.0,<2.2.0" (built from source: needs a C++ compiler, about '
    '20 minutes)')
MISSING_MMCV = (
    'mmal needs mmcv, and none is installed. Install one of the two, never '
    'both: pip install "mmcv-lite>=2.0.0,<2.2.0" (no compiler needed; mmal '
    f'supplies the operators that detectors use), or the full mmcv: '
    f'{COMPILED_MMCV}.')


class Requirement(NamedTuple):
    """A package mmal needs, with the distributions that provide it.

    ``ranges`` maps the name of a distribution to the versions accepted.
    The OneDL forks keep the import name and count versions on their own.
    """
    module: str
    ranges: Tuple[Tuple[str, str], ...]
    missing: str


REQUIREMENTS = (
    Requirement('torch', (('torch', '>=2.0,<3'), ),
                'mmal needs torch, and it is not installed: '
                'pip install "torch>=2.0,<3".'),
    Requirement('mmengine', (('mmengine', '>=0.10.3,<1'),
                             ('mmengine-lite', '>=0.10.3,<1'),
                             ('onedl-mmengine', '>=0.10.8,<1')),
                'mmal needs mmengine, and it is not installed: '
                'pip install "mmengine>=0.10.3,<1".'),
    Requirement('mmcv', (('mmcv', '>=2.0.0,<2.3'),
                         ('mmcv-lite', '>=2.0.0,<2.3'),
                         ('onedl-mmcv', '>=2.3.0,<3')), MISSING_MMCV),
    Requirement('mmdet', (('mmdet', '>=3.3.0,<4'),
                          ('onedl-mmdetection', '>=3.4.0,<4')),
                'mmal needs mmdet, and it is not installed: '
                'pip install "mmdet>=3.3.0,<4".'),
)


def any_installed(*modules: str) -> bool:
    """Whether at least one of some modules can be found."""
    return any(map(_importable, modules))


def check() -> None:
    """Check that every package is there in a version mmal works with.

    Raises:
        ImportError: names the package, the version found, the versions
            accepted and the command that installs one.
    """
    # here, since without a package to check nobody needs it
    from packaging.specifiers import SpecifierSet
    from packaging.version import Version

    for requirement in REQUIREMENTS:
        distribution = installed(requirement)
        if distribution is None:
            raise ImportError(requirement.missing, name=requirement.module)
        name, version = distribution
        accepted = dict(requirement.ranges)[name]
        # The base version: a local build 3.3.0+abc or a nightly is not
        # refused.
        base = Version(Version(version).base_version)
        if base not in SpecifierSet(accepted):
            raise ImportError(
                f'mmal works with {name}{accepted}, and {name} {version} is '
                f'installed: pip install "{name}{accepted}".',
                name=requirement.module)


def installed(requirement: Requirement) -> Optional[Tuple[str, str]]:
    """Name and version of the distribution that provides a package.

    Returns:
        tuple[str, str] | None: None where the package cannot be imported.
        A package without metadata (a source tree on the path) counts as the
        first distribution of the requirement.
    """
    if not _importable(requirement.module):
        return None
    for name, _ in requirement.ranges:
        try:
            return name, importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # it may be there from another distribution
    module = importlib.import_module(requirement.module)
    return requirement.ranges[0][0], module.__version__


def _importable(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):  # it is loaded, but from nowhere
        return False
