"""`ecs-executord`: one node's executor as a process of its own."""
