"""Labels that detectors contradict: ``mmal analysis label-errors``."""
import sys

from mmal.commands import script

main = script('analysis', 'label-errors')

if __name__ == '__main__':
    sys.exit(main())
