"""``python -m compressor``."""

import sys

from compressor.cli import main

if __name__ == "__main__":
    sys.exit(main())
