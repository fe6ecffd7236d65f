"""Draw what a dense scorer finds: ``mmal analysis score-map``."""
import sys

from mmal.commands import script

main = script('analysis', 'score-map')

if __name__ == '__main__':
    sys.exit(main())
