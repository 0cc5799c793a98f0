"""The leaf in C among nodes of the command line."""
