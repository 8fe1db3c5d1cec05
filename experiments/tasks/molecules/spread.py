"""How far to trust a predicted energy: what elements of the frame, and networks, say of it."""

FRAME = "energy_spread"
"""Deviation of the energies of the canonical molecules that a frame makes of one, in eV."""
ENERGY = "energy_deviation"
"""Sample deviation of the energies of the networks of a committee, in eV."""
FORCES = "force_deviation"
"""The same of their forces, the length of it, of the atom that has most, in eV/Angstrom."""
