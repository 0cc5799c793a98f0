"""Security: who may take part, sealed control messages, sealed and signed data (slide 23).

Pure like the roles: no input or output, no clock, no randomness but what is given. The only place
that knows the `cryptography` library.
"""
