"""Fuzzing: hostile bytes into every parser and machine; `python -m tests.fuzz`, see `__main__`."""
