"""The workflow: templates expanded into roles, and what is evaluated of them at launch, CONFIGURE and calls."""
