"""Draw what a branch is unsure of: ``mmal analysis uncertainty-map``."""
import sys

from mmal.commands import script

main = script('analysis', 'uncertainty-map')

if __name__ == '__main__':
    sys.exit(main())
