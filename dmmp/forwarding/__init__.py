"""The data plane: bursts by the entries that roles install, without IO or clock (dataplane).

`forwarder.Forwarder` is the way in; drivers need it and the types of `burst`, nothing else.
"""
