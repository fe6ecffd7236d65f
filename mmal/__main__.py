"""``python -m mmal``: the command ``mmal``."""
import sys

from mmal.commands import main

if __name__ == '__main__':
    sys.exit(main())
