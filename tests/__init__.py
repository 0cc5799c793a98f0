"""The tests of dmmp; `python -m tests` runs the fast part, `python -m tests all` everything."""
