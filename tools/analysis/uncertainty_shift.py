"""More data, more noise: ``mmal analysis uncertainty-shift``."""
import sys

from mmal.commands import script

main = script('analysis', 'uncertainty-shift')

if __name__ == '__main__':
    sys.exit(main())
