"""Calibrate a trained detector: ``mmal analysis calibrate``."""
import sys

from mmal.commands import script

main = script('analysis', 'calibrate')

if __name__ == '__main__':
    sys.exit(main())
