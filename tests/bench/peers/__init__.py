"""Ways to bring one program's multicast to eight hosts: ours, and what a registry has besides."""
