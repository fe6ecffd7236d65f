"""How a pipeline loads an image from its file."""
from __future__ import annotations

import functools
import io
import os
from dataclasses import dataclass
from typing import Optional, Union

import numpy as np
from PIL import Image

# rotate by the EXIF orientation unless color_type says otherwise
_ROTATING_BACKENDS = ('cv2', 'pillow')
_ROTATING_COLOR_TYPES = ('color', 'grayscale')
# https://docs.opencv.org/5.x, CV_IO_MAX_IMAGE_PIXELS
_CV2_MAX_PIXELS = 2**30


@dataclass(frozen=True)
class ImageLoader:
    """What mmcv's ``LoadImageFromFile`` makes of a file.

    Decoders differ: some read float TIFF and others do not, and only some
    rotate by EXIF. So an image is checked with the one that will load it.

    Args:
        imdecode_backend (str): 'cv2', 'pillow', 'tifffile' or 'turbojpeg'.
        color_type (str | int): A flag of ``mmcv.imfrombytes``.
        backend_args (dict, optional): mmengine's file backend.

    Examples:
        >>> ImageLoader(color_type='unchanged').rotates
        False
    """
    imdecode_backend: str = 'cv2'
    color_type: Union[str, int] = 'color'
    backend_args: Optional[dict] = None

    def check(self) -> None:
        """Find out that mmcv cannot load anything so, before it tries.

        Raises:
            ValueError: If mmcv does not know the backend or the colour type,
                or a backend is not installed.
        """
        from mmcv.image import io
        from mmengine import fileio
        name = self.imdecode_backend
        key = f'LoadImageFromFile.imdecode_backend is {name!r}'
        if name not in io.supported_backends:
            raise ValueError(f'{key}: mmcv knows '
                             f'{", ".join(io.supported_backends)}.')
        # OpenCV's own flags are numbers
        if not isinstance(self.color_type, int) and \
                self.color_type not in list(io.imread_flags):
            raise ValueError(
                f'LoadImageFromFile.color_type is {self.color_type!r}: mmcv '
                f'knows {", ".join(io.imread_flags)}.')
        # mmcv would fail on the first image, with None in place of a module
        if name == 'tifffile' and io.tifffile is None:
            raise ValueError(f'{key}, which is not installed: '
                             'pip install tifffile.')
        if name == 'turbojpeg' and io.TurboJPEG is None:
            raise ValueError(f'{key}, which is not installed: '
                             'pip install PyTurboJPEG.')
        if name == 'turbojpeg' and io.jpeg is None:
            raise ValueError(
                f"{key}, which must be started by mmcv.use_backend("
                "'turbojpeg') in a module of custom_imports.")

        args = self.backend_args
        if args is not None:
            where = f'LoadImageFromFile.backend_args is {args!r}'
            if not isinstance(args, dict):
                raise ValueError(
                    f"{where}: give a dict, e.g. dict(backend='http').")
            try:
                if 'backend' in args:
                    fileio.get_file_backend(backend_args=args)
            except Exception as e:  # each backend has kinds of its own
                raise ValueError(
                    f"{where}, which mmengine's fileio cannot use: "
                    f'{type(e).__name__}: {e}') from e

    @property
    def rotates(self) -> bool:
        """Whether the EXIF orientation is followed."""
        if isinstance(self.color_type, int):
            import cv2
            return self.color_type >= 0 and \
                not self.color_type & cv2.IMREAD_IGNORE_ORIENTATION
        return (self.imdecode_backend in _ROTATING_BACKENDS
                and self.color_type in _ROTATING_COLOR_TYPES)

    def rotates_format(self, kind: Optional[str]) -> bool:
        """Whether it is followed in a format, as Pillow calls it."""
        return self.rotates and (self.imdecode_backend != 'cv2'
                                 or opencv_rotates(kind))

    @property
    def max_pixels(self) -> Optional[int]:
        """Larger images are refused; None where there is no limit."""
        if self.imdecode_backend == 'cv2':
            return int(os.environ.get('OPENCV_IO_MAX_IMAGE_PIXELS')
                       or _CV2_MAX_PIXELS)
        if self.imdecode_backend == 'pillow' and Image.MAX_IMAGE_PIXELS:
            return 2 * Image.MAX_IMAGE_PIXELS
        return None

    def is_local(self, path: str) -> bool:
        """Whether a file is on a disk, which needs no mmengine to read."""
        return self.backend_args is None and '://' not in path

    def exists(self, path: str) -> bool:
        """Whether there is such a file, as far as its backend can tell."""
        from mmengine import fileio
        backend = fileio.get_file_backend(path, backend_args=self.backend_args)
        # http can fetch a file and nothing else
        return not hasattr(backend, 'isfile') or backend.isfile(path)

    def read(self, path: str) -> bytes:
        """The content of a file."""
        if self.is_local(path):
            with open(path, 'rb') as f:
                return f.read()
        from mmengine import fileio
        return fileio.get(path, self.backend_args)

    def decode(self, content: bytes) -> Optional[np.ndarray]:
        """The pixels of a file's content, as the pipeline gets them.

        Args:
            content (bytes): An encoded image.

        Returns:
            np.ndarray | None: [H, W] or [H, W, C] of any dtype; None, or any
            error of the backend's own, where it cannot.
        """
        import mmcv
        return mmcv.imfrombytes(
            content, flag=self.color_type, backend=self.imdecode_backend)


@functools.cache
def opencv_rotates(kind: Optional[str]) -> bool:
    """Whether this OpenCV follows the EXIF orientation in a format.

    It always does in JPEG; in WebP OpenCV 5 does and OpenCV 4.11 does not.

    Args:
        kind (str, optional): The format, as Pillow calls it.
    """
    if kind != 'WEBP':
        return True
    import cv2
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    file = io.BytesIO()
    Image.new('RGB', (2, 1)).save(file, kind, exif=exif)
    array = cv2.imdecode(
        np.frombuffer(file.getvalue(), np.uint8), cv2.IMREAD_COLOR)
    return array is None or array.shape[:2] == (2, 1)
