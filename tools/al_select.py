"""Choose the images to label next: ``mmal select``."""
import sys

from mmal.commands import script

main = script('select')

if __name__ == '__main__':
    sys.exit(main())
