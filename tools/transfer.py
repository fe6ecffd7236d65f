"""Train another detector on the images of a run: ``mmal transfer``."""
import sys

from mmal.commands import script

main = script('transfer')

if __name__ == '__main__':
    sys.exit(main())
