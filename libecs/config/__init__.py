"""Configuration: the key-value tree, paths into it, payloads and the hardware inventory."""
