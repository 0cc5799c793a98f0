"""`python -m tests.transcripts`: record all transcripts anew; the diff is for people to review."""

from __future__ import annotations

import sys

from tests.transcripts.scripts import transcripts


def main() -> int:
    """Write what differs."""
    for path, text in transcripts().items():
        if path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")
            sys.stdout.write(f"wrote {path.name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
