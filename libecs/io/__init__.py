"""I/O: everything that touches the world performs effects and returns inputs."""
