"""Molecules from files, or simulated: in eV and Angstrom, checked, cut into training sets."""

from experiments.errors import UsageError

try:
    import ase  # noqa: F401
except ImportError:
    raise UsageError(
        "the package ase, which reads and names molecules, must be installed "
        "(`pip install -e '.[experiments]'`)"
    ) from None
