"""Supplies ``pkg_resources`` where setuptools no longer does."""
import importlib.machinery
import importlib.util
import sys
import warnings
from pathlib import Path
from typing import Optional

_FILE = Path(__file__).with_name('_pkg_resources.py')


class Finder:
    """Finds the stand-in after every other finder has failed.

    A finder, since mmengine reloads ``pkg_resources``, and a module put
    into ``sys.modules`` by hand cannot be reloaded.
    """

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None
                  ) -> Optional[importlib.machinery.ModuleSpec]:
        """Spec of the stand-in if it is what is asked for, else None."""
        if name != 'pkg_resources':
            return None
        return importlib.util.spec_from_file_location(name, _FILE)


def register() -> None:
    """Append the finder once.

    setuptools 80 and 81 warn a user that the module will go, whom this
    finder spares the consequence; the warning is silenced.
    """
    warnings.filterwarnings('ignore', category=UserWarning,
                            message='pkg_resources is deprecated as an API')
    if Finder not in sys.meta_path:
        sys.meta_path.append(Finder)
