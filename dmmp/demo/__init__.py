"""What shows dmmp at work: a small Internet of network namespaces and programs to use in it.

Not part of the protocol and imported by none of it; the demonstration and the tests use it.
"""
