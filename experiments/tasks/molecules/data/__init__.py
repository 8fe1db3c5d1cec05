"""Molecules from files, or simulated: in eV and Angstrom, checked, cut into training sets."""
