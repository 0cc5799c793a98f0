"""Overlay multicast that ordinary IP-multicast programs use without knowing it: DMMP, the reference implementation."""

__version__ = "0.1.0"
