"""Videos: who appears in them, and when."""
