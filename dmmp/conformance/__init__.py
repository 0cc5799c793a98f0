"""Conformance: cases that any implementation of a role must pass, in virtual time or over UDP.

A requirement is a sentence of `spec-notes/requirements.md`; a case names one and tests it from
outside, with the tester in the part of every other host. Nothing here looks into a role.
"""
