"""What a script holds: a connection, its environments, their runs, and what they tell. It speaks `wire/client.py`."""
