"""Galleries of released formats."""
