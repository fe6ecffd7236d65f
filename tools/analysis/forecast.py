"""What more labels will bring: ``mmal analysis forecast``."""
import sys

from mmal.commands import script

main = script('analysis', 'forecast')

if __name__ == '__main__':
    sys.exit(main())
