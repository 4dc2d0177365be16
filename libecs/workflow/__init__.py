"""The workflow: templates expanded into roles, and what is evaluated of them when launching, configuring and calling."""
