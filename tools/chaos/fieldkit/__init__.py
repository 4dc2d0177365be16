"""A field for experiments with real daemons: clusters, network name spaces, recording tasks, chaos and its checker.

Importable by tests (pytest puts `tools/chaos` on the path) and by the tools.
"""
