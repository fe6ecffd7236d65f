"""Train with active learning: ``mmal train``."""
import sys

from mmal.commands import script

main = script('train')

if __name__ == '__main__':
    sys.exit(main())
