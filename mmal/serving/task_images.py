"""The images of a run, found by what tasks of Label Studio call them.

Nothing is fetched, and no file is opened that a request names: an address is
looked up among the file names of the pool, and what is opened is the pool's
own file, in the folder of its images.
"""
from __future__ import annotations

import os.path as osp
import re
from typing import Optional
from urllib.parse import parse_qsl, unquote, urlsplit

from mmal.pool import CocoData
from mmal.pool.names import NameIndex, is_inside
from mmal.types import ImageId
from .refusal import Refusal

_LONGEST = 4096  # characters of an address
# before them stands where Label Studio is, if it is not at the root
_UPLOAD = re.compile(r'(?:/[\w.-]+)*?/data/upload/\d+/(.+)', re.DOTALL)
_LOCAL_FILES = re.compile(r'(?:/[\w.-]+)*?/data/local-files/?')
_DRIVE = re.compile(r'[A-Za-z]:')


class TaskImages:
    """Images of the pool by their addresses in tasks.

    Args:
        pool (CocoData): The images; annotations are not looked at.
        folder (str): The folder that their names are relative to.

    Raises:
        ValueError: If the images are not in a folder of this machine.
    """

    def __init__(self, pool: CocoData, folder: str) -> None:
        if '://' in folder:
            raise ValueError(f'the images of the run are at {folder}, but '
                             'only those in a folder of this machine can be '
                             'served: copy them, and set data_root.')
        self.pool = pool
        self.folder = osp.realpath(folder)
        self._ids = dict(zip(pool.file_names, pool.ids))
        self._index = NameIndex(pool.file_names, other_folders=True)

    def named(self, name: object) -> Optional[ImageId]:
        """The image of this very name; None if there is none."""
        return self._ids.get(name) if isinstance(name, str) else None

    def find(self, address: object) -> ImageId:
        """The image that an address means.

        Args:
            address (object): A file name, relative to whatever folder, or an
                address of Label Studio's: ``/data/upload/PROJECT/NAME`` or
                ``/data/local-files/?d=NAME``.

        Raises:
            Refusal: If it is none of these, or not that of an image of the
                pool.
        """
        shown = repr(address if len(str(address)) <= 200 else
                     f'{str(address)[:200]}…')
        if not isinstance(address, str) or not address or \
                len(address) > _LONGEST or not address.isprintable():
            raise Refusal(f'{shown} is no address of an image.')
        name = _name_of(address)
        # once more, for what is written as part of an address twice
        for form in (name, unquote(name)):
            folders = form.replace('\\', '/').split('/')
            if '..' in folders or not folders[0] or '://' in form or \
                    _DRIVE.match(form) or not form.isprintable():
                raise Refusal(
                    f'{shown} is refused: mmal serve reads the images of the '
                    "run's pool alone, so give their names, uploads "
                    '(/data/upload/…) or local files '
                    '(/data/local-files/?d=…).')
        ours = self._index.find(name)
        if ours is None:
            raise Refusal(f'{shown} is no image of {self.pool.path}, or may '
                          'be several of it.')
        return self._ids[ours]

    def path(self, image: ImageId) -> str:
        """The file of an image, without symbolic links.

        Raises:
            Refusal: If it is outside the folder of the images, or missing.
        """
        name = self.pool.images[image]['file_name']
        path = osp.realpath(osp.join(self.folder, name))
        if not is_inside(path, self.folder):
            raise Refusal(
                f'{name} leads out of {self.folder}, the folder of the '
                'images of the run: mmal serve reads nothing elsewhere.')
        if not osp.isfile(path):
            raise Refusal(f'{name} is not in {self.folder}.')
        return path


def _name_of(address: str) -> str:
    """The file name in an address of Label Studio's, which may have folders
    before it; any other address as it is."""
    upload = _UPLOAD.fullmatch(address)
    if upload:
        return unquote(upload[1])
    try:
        path, query = urlsplit(address)[2:4]
        has_place = '://' in address or address.startswith('//')
        if not has_place and _LOCAL_FILES.fullmatch(path):
            return dict(parse_qsl(query)).get('d', '')
    except ValueError:  # brackets that look like an IPv6 address
        pass
    return address
