"""The simulator: the same roles and forwarder in virtual time, and the checks that must hold.

It draws every random number from a seed and reads no clock: the same seed gives the same trace.
"""
