"""The part of ``pkg_resources`` that mmengine uses.

setuptools 82 removed the module; mmengine up to 0.10.7 needs it for
``'mmdet::...'`` bases. Found under that name only where no real one exists.
"""
import importlib.metadata
from typing import Optional


class DistributionNotFound(Exception):
    """No distribution of that name is installed."""


class Distribution:
    """An installed distribution, by name.

    Attributes:
        project_name (str): the name asked for.
        version (str): its version.
        location (str): the folder it is installed in.
    """

    def __init__(self, name: str) -> None:
        try:
            self._files = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            raise DistributionNotFound(name) from None
        self.project_name = name
        self.version = self._files.version
        self.location = str(self._files.locate_file(''))

    def has_metadata(self, name: str) -> bool:
        """Whether the distribution carries a metadata file."""
        return self._read(name) is not None

    def get_metadata(self, name: str) -> str:
        """The text of a metadata file.

        Raises:
            FileNotFoundError: there is none of that name.
        """
        text = self._read(name)
        if text is None:
            raise FileNotFoundError(f'{self.project_name} has no {name}')
        return text

    def _read(self, name: str) -> Optional[str]:
        return self._files.read_text(name)


def get_distribution(name: str) -> Distribution:
    """The installed distribution of that name.

    Raises:
        DistributionNotFound: it is not installed.
    """
    return Distribution(name)
