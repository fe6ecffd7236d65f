"""Where the chosen images lie: ``mmal analysis selected-map``."""
import sys

from mmal.commands import script

main = script('analysis', 'selected-map')

if __name__ == '__main__':
    sys.exit(main())
