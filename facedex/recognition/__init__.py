"""Photos to names."""
