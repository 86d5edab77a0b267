"""``python -m iqabench``."""

import sys

from iqabench.cli import main

if __name__ == "__main__":
    sys.exit(main())
