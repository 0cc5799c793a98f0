"""What runs a host for real: asyncio, sockets, the TUN or an interface, signals, `dmmp show`.

No protocol here: roles and the forwarder decide, this package carries out (architecture §4.3).
"""
