"""Tests of the simulator, and of the protocol in it."""
