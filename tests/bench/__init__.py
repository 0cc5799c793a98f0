"""Figures of this machine, to be reported and never to fail: not run with the tests."""
