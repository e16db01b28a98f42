"""The weights that ship with facedex; see README.md in this folder."""
