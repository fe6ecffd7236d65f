"""Compare two selections: ``mmal ab``."""
import sys

from mmal.commands import script

main = script('ab')

if __name__ == '__main__':
    sys.exit(main())
