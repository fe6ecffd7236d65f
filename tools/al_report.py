"""Merge runs into tables and curves: ``mmal report``."""
import sys

from mmal.commands import script

main = script('report')

if __name__ == '__main__':
    sys.exit(main())
