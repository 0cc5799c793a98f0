"""The vector files of derivations, `tests/vectors/derivations/`: one a sheet."""

from __future__ import annotations

import json
from pathlib import Path

from tests.security.data_sheets import certificate, data, group_key, shared_secret
from tests.security.derivations import Sheet
from tests.security.handshake_sheet import handshake
from tests.security.session_sheets import session_file, shared_data

DERIVATIONS = Path(__file__).resolve().parents[1] / "vectors" / "derivations"


def sheets() -> list[Sheet]:
    """Make every sheet."""
    return [
        handshake(),
        shared_secret(),
        shared_data(),
        certificate(),
        session_file(),
        data(),
        group_key(),
    ]


def derivation_vectors() -> dict[Path, str]:
    """Make every file."""
    return {
        DERIVATIONS / f"{sheet.name}.json": json.dumps(
            sheet.document(), indent=1, ensure_ascii=False
        )
        + "\n"
        for sheet in sheets()
    }
