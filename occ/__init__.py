"""The OCC library of tasks: libocc for C programs, and its Python face."""
