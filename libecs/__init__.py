"""An experiment control system as a library: workflows, state machines, configuration, engines, and a session."""
