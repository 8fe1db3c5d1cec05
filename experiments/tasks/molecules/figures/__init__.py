"""Pictures and interactive pages of a molecule with its frames."""
