"""`python -m dmmp.demo.resilience`."""

from __future__ import annotations

import sys

from dmmp.demo.resilience import main
from dmmp.errors import UsageError

if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UsageError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(2)
