"""The dissector of `interop/wireshark/`, run by tshark over vectors, faults and real sessions."""
