"""QM9 as published: XYZ with properties in the comment line and three lines after the atoms."""

from collections.abc import Sequence

from experiments.tasks.molecules.data.xyz_rows import PLAIN, plain_number

# Ramakrishnan et al., Quantum chemistry structures and properties of 134 kilo molecules, Scientific
# Data 1, 140022 (2014), table 3, after the name `gdb` and the number of the molecule.
_PROPERTIES = "A B C mu alpha homo lumo gap r2 zpve U0 U H G Cv".split()
_IN_HARTREE = "homo lumo gap zpve U0 U H G".split()


def qm9_comment(comment: str, atom: str) -> str:
    """The comment line of QM9 as `key=value` text, with the units of energies; any other as it is.

    Args:
      comment: such as `gdb 1 157.7118 ...`, with tabs.
      atom: the line below it; a fifth column is the Mulliken charge.

    Returns:
      Such as `gdb=1 A=157.7118 ... U0_unit=hartree`.
    """
    name, *words = comment.split() or [""]
    numbers = [plain_number(word) for word in words]
    if name != "gdb" or not words or None in numbers or len(words) > 1 + len(_PROPERTIES):
        return comment
    known = ["gdb", *_PROPERTIES][: len(words)]
    values = [f"{key}={number}" for key, number in zip(known, numbers, strict=True)]
    units = [f"{key}_unit=hartree" for key in _IN_HARTREE if key in known]
    charged = len(atom.split()) == 5
    return " ".join([*values, *units, *[f"Properties={PLAIN}:mulliken_charges:R:1"] * charged])


def skip_qm9_lines(lines: Sequence[str], start: int) -> int:
    """The index after the frequencies, the SMILES and the InChI that QM9 has below the atoms.

    Args:
      lines: of a file.
      start: the index after the atoms.

    Returns:
      `start` plus three, or `start` if these are other lines.
    """
    below = [line.split() for line in lines[start : start + 3]]
    if len(below) < 3 or not all(below):
        return start
    frequencies, smiles, inchi = below
    fits = (
        None not in map(plain_number, frequencies)
        and len(smiles) <= 2
        and all(word.startswith("InChI=") for word in inchi)
    )
    return start + 3 if fits else start
