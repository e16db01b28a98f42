"""The font of names in annotated pictures, and the search for fonts of other scripts."""
