"""Overlap of choices: ``mmal analysis uncertainty-overlap``."""
import sys

from mmal.commands import script

main = script('analysis', 'uncertainty-overlap')

if __name__ == '__main__':
    sys.exit(main())
