"""Where our own roles are known to fail a case, and why; a case here that passes is an error."""

from __future__ import annotations

KNOWN: dict[tuple[str, str], str] = {}
"""Reasons by role and case id, like `("member", "7/3:some-case")`."""
