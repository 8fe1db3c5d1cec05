"""Energies, dipoles and polarizabilities of molecules from networks that know no symmetry."""
