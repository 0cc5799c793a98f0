"""The runner of the interoperability matrix."""
