"""Measurements of single pieces, each run by `python -m experiments benchmark NAME`."""
