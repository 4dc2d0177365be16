"""The language of templates: YAML with places, expressions, functions, variables, and the readers of files."""
