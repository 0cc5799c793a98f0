"""Transcripts: scenes of several hosts, text in and text out; `README.md` lists the commands."""
