"""coconut: the command line of the control system."""
