"""One target a file, each with a `TARGET`; their names are listed in `tests.fuzz.registry`."""
