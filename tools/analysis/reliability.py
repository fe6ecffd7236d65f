"""How far detectors can be trusted: ``mmal analysis reliability``."""
import sys

from mmal.commands import script

main = script('analysis', 'reliability')

if __name__ == '__main__':
    sys.exit(main())
