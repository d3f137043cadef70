"""``python -m initcore`` is the command ``initcore``."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
