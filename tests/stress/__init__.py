"""Harnesses that kill, tamper with and crowd a gallery."""
