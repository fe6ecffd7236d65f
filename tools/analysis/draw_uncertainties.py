"""Draw unsure detections: ``mmal analysis draw-uncertainties``."""
import sys

from mmal.commands import script

main = script('analysis', 'draw-uncertainties')

if __name__ == '__main__':
    sys.exit(main())
