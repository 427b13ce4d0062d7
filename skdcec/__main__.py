"""Lets ``python -m skdcec`` do what the command ``skdcec`` does."""

import sys

from skdcec._cli import main

if __name__ == "__main__":
    sys.exit(main())
