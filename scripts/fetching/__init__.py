"""The parts of scripts/fetch_data.py."""
