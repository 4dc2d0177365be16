"""A whole installation as pure code: engines, network, tasks, services and faults, replayed from a seed."""
