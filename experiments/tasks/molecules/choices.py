"""The words that configurations and commands of molecules offer, each list spelled here alone."""

from typing import Literal

Source = Literal["file", "tblite", "emt"]
"""Where molecules come from: files, or simulations with GFN2-xTB or of alloys with EMT."""

Targets = Literal["energy_forces", "energy", "dipole", "polarizability"]
"""What is learnt about molecules."""

FrameGroup = Literal["E", "SE"]
"""Groups of the frame of a molecule: with or without reflections."""

EMT_METALS = ("Al", "Ni", "Cu", "Pd", "Ag", "Pt", "Au")
"""Metals that effective-medium theory has parameters of for use."""
