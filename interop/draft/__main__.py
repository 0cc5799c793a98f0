"""`python -m interop.draft`: assemble the notes to an Internet-Draft in `build/draft/`.

Writes RFCXML, and by `xml2rfc` (in the extra `interop`) text and HTML. Exit code 1, and the
complaint, if the notes have what a draft cannot say, or if `xml2rfc` warns of anything. It asks no
network.
"""

from __future__ import annotations

import argparse
import datetime
import subprocess
import sys
from pathlib import Path

from interop.draft.document import NAME, build
from interop.draft.markdown import DraftError

OUT = Path(__file__).resolve().parents[2] / "build" / "draft"
COMPLAINTS = ("Error", "Warning", "Traceback")


def render(folder: Path, date: datetime.date) -> str:
    """Write all three files; return what `xml2rfc` complains of, which is empty when all is well.

    Raise `DraftError` if the notes cannot be converted, or `xml2rfc` is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    xml = folder / f"{NAME}.xml"
    xml.write_text(build(date).text(), encoding="utf-8")
    command = [sys.executable, "-m", "xml2rfc.run", str(xml), "--text", "--html", "--no-rfc-local"]
    command += ["--no-network", "--skip-config-files", "--path", str(folder)]
    command += ["--date", date.isoformat(), "--cache", str(folder / "cache")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = (done.stdout + done.stderr).splitlines()
    if any("No module named" in line for line in said):
        raise DraftError("xml2rfc is not installed: pip install -e '.[interop]'")
    complaints = [line for line in said if any(word in line for word in COMPLAINTS)]
    if done.returncode and not complaints:
        complaints = said
    return "\n".join(complaints)


def main(arguments: list[str]) -> int:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python -m interop.draft", description=__doc__)
    parser.add_argument("--out", type=Path, default=OUT, help="folder, default build/draft")
    parser.add_argument(
        "--date", type=datetime.date.fromisoformat, default=datetime.date.today(), help="YYYY-MM-DD"
    )
    options = parser.parse_args(arguments)
    try:
        complaints = render(options.out, options.date)
    except DraftError as error:
        sys.stderr.write(f"no draft: {error}\n")
        return 1
    if complaints:
        sys.stderr.write(f"{complaints}\n")
        return 1
    for suffix in ("xml", "txt", "html"):
        sys.stdout.write(f"{options.out / NAME}.{suffix}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
