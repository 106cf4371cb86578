"""`python -m ccsr`."""

import sys

from ccsr.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
