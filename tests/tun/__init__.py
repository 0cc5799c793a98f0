"""Tests of the IP-multicast edge."""
