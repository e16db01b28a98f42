"""Scripts to run from the repository: `python -m scripts.NAME`."""
