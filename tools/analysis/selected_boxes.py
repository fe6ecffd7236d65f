"""What methods chose: ``mmal analysis selected-boxes``."""
import sys

from mmal.commands import script

main = script('analysis', 'selected-boxes')

if __name__ == '__main__':
    sys.exit(main())
