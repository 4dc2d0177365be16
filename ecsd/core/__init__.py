"""`ecsd`: the core as a process of its own."""
