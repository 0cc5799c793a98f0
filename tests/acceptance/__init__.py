"""The whole at work: real processes, real TUN devices, programs as they are, and only unicast."""
