"""The programs that draw the charts of a page, to be put into it."""
from __future__ import annotations

import os
import os.path as osp
from functools import cache
from typing import Optional

from mmal.fileio import write_text

MISSING = ('The charts are missing, since the package vl-convert-python is '
           'not installed. Install it (pip install vl-convert-python) and '
           'make the page again with mmal report.')


@cache
def vega_scripts() -> Optional[str]:
    """Vega, Vega-Lite and Vega-Embed as one script, about 0.9 MB.

    They are bundled from what ``vl-convert-python`` brings along, nothing is
    downloaded. That takes seconds, so the bundle is kept in the user's cache
    folder (``$XDG_CACHE_HOME/mmal``), by version.

    Returns:
        str | None: What can stand inside of ``<script>``; None without the
        package.
    """
    try:
        import vl_convert
    except ImportError:
        return None
    folder = os.environ.get('XDG_CACHE_HOME') or osp.join(
        osp.expanduser('~'), '.cache')
    path = osp.join(folder, 'mmal', f'vega-{vl_convert.__version__}.js')
    try:
        with open(path, encoding='utf-8') as f:
            kept = f.read()
    except (OSError, UnicodeDecodeError):
        kept = ''
    if kept:  # a disk that was full may have left an empty file
        return kept
    bundle = vl_convert.javascript_bundle()
    # a text in it that would end the script: in a text both are the same
    bundle = bundle.replace('</script', r'<\/script')
    try:
        write_text(path, bundle)
    except OSError:  # then it is bundled again the next time
        pass
    return bundle
