"""The IP-multicast edge: a TUN interface that behaves like a multicast router for its host.

Packets, IGMP and MLD, membership and the device. It knows nothing of roles, overlay or forwarding
(architecture §4.9).
"""
