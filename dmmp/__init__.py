"""DMMP, the reference implementation: overlay multicast for ordinary IP-multicast programs."""

__version__ = "0.2.0.dev0"
