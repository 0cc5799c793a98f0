"""Print the vectors of all messages for `check`, a line each; those that others need first."""

import json
import sys
from pathlib import Path

VECTORS = Path(__file__).parents[2] / "tests" / "vectors" / "messages"
FIRST = (
    *("handshake_initiation", "handshake_response", "cookie_reply", "sealed", "hop_sealed"),
    *("key_response", "rekey"),
)

names = sorted(path.stem for path in VECTORS.glob("*.json"))
for name in (*FIRST, *(name for name in names if name not in FIRST)):
    for vector in json.loads((VECTORS / f"{name}.json").read_text())["vectors"]:
        sys.stdout.write(f"{name} {vector['hex']}\n")
