"""Photo files: decoding them, and reading people's names from their paths."""
