"""Files of several structures: all are read, or a warning names the format."""

import io
import warnings
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import molecule
from ase.io.formats import ioformats

from experiments.data.npz import DataError
from experiments.tasks.molecules.data.read import read_molecules
from experiments.tasks.molecules.data.records import SINGLE
from experiments.tasks.molecules.data.stream import stream_snapshots

NAMES = ("H2O", "CH4", "NH3")
FORMULAS = ["H2O", "CH4", "H3N"]
# Names of files that ASE knows the format by; others have the name of the format as their end.
FILES = {
    "aims": "a.in",
    "castep-cell": "a.cell",
    "crystal": "a.f34",
    "dlp4": "a.config",
    "dmol-car": "a.car",
    "gaussian-in": "a.com",
    "gromacs": "a.gro",
    "gromos": "a.g96",
    "gpumd": "xyz.in",
    "nwchem-in": "a.nwi",
    "turbomole": "coord",
    "v-sim": "a.ascii",
    "vasp": "POSCAR",
}
# Its atoms have no beginning: without a cell, several molecules are one.
WITHOUT_BEGINNING = ("aims",)
# Written by programs, or with pseudopotentials, but not by ASE alone.
NOT_WRITTEN = {"abinit-out", "cp2k-restart", "espresso-in", "gamess-us-out", "xsf"}


def read_all(path: Path) -> tuple[list[str], list[str]]:
    """The formulas of what is read, or a word for a defect, and what is warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            found = [
                "defect" if isinstance(one, DataError) else one.get_chemical_formula()
                for _, one in stream_snapshots(path)
            ]
        except DataError:
            found = ["defect"]
    # ASE warns too.
    return found, [str(one.message) for one in caught if "takes a file" in str(one.message)]


def one_by_one(path: Path, kind: str, periodic: bool) -> list[str]:
    """The text of a file for each molecule, if ASE reads what it writes."""
    texts = []
    for name, formula in zip(NAMES, FORMULAS, strict=True):
        atoms = molecule(name, vacuum=3.0 if periodic else None, pbc=periodic)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                ase.io.write(path, atoms, format=kind)
        except Exception:  # The format is not for such molecules, or needs more than they have.
            return []
        found, said = read_all(path)
        assert not said, f"{kind}: one structure is no reason to warn"
        if found != [formula]:
            return []
        texts.append(path.read_text())
    return texts


def test_no_structure_of_any_format_is_lost_without_a_word(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    warned, whole = set(), set()
    for kind, form in sorted(ioformats.items()):
        if not (form.single and form.can_read and form.can_write):
            continue
        path = tmp_path / FILES.get(kind, f"a.{kind}")
        for periodic in (False, True):
            texts = one_by_one(path, kind, periodic)
            path.write_text("".join(texts))
            found, said = read_all(path) if texts else (["defect"], [])
            if said:
                assert f" {kind} " in said[0] and "3 begin" in said[0]
                warned.add(kind)
            elif "defect" not in found and kind not in WITHOUT_BEGINNING:
                assert found == FORMULAS, f"{kind}: of three molecules, {found} are read"
                whole.add(kind)
    assert warned == SINGLE - NOT_WRITTEN
    assert whole == {"sdf"}


def test_the_velocities_of_a_cell_are_no_second_structure(tmp_path):
    path = tmp_path / "CONTCAR"
    lattice = "5.0 0.0 0.0\n0.0 5.0 0.0\n0.0 0.0 5.0\n"
    structure = f"hydrogen\n1.0\n{lattice}H\n2\nDirect\n0.0 0.0 0.0\n0.1 0.1 0.1\n"
    path.write_text(f"{structure}Lattice velocities and vectors\n1\n{lattice}{lattice}")
    assert read_all(path) == (["H2"], [])
    path.write_text(structure + structure)
    assert "2 begin here" in read_all(path)[1][0]


def sdf(*names: str) -> list[str]:
    texts = []
    for name in names:
        text = io.StringIO()
        ase.io.write(text, molecule(name), format="sdf")
        texts.append(text.getvalue())
    return texts


def test_all_molecules_of_an_sdf_are_read_and_a_defect_costs_no_other(tmp_path):
    path = tmp_path / "set.sdf"
    water, methane, ammonia = texts = sdf(*NAMES)
    path.write_text("".join(texts) + "\n\n")
    read = read_molecules(path, need=())
    for index, name in enumerate(NAMES):
        atoms = molecule(name)
        np.testing.assert_array_equal(read.species[index, : len(atoms)], atoms.numbers)
        # Four decimals.
        np.testing.assert_allclose(
            read.positions[index, : len(atoms)], atoms.positions, rtol=0, atol=5.1e-5
        )
    lines = methane.splitlines(keepends=True)
    with_tag = methane.replace("$$$$", "> <name>\nmethane V2000\n\n$$$$")
    path.write_text(with_tag.replace("\n", "\r\n") + water)
    assert read_all(path) == (["CH4", "H2O"], [])
    defects = {
        methane.replace("V2000", "V3000"): "V2000, got V3000",
        "".join(lines[:5]) + "$$$$\n": "5 atoms, as announced, got 1",
        methane.replace(" C ", " Q "): "(KeyError: 'Q')",
        methane.replace("$$$$\n", "") + methane: "one molecule before a line $$$$",
    }
    for wrong, message in defects.items():
        path.write_text(water + wrong + ammonia)
        (_, first), (location, defect), (_, last) = stream_snapshots(path)
        assert [one.get_chemical_formula() for one in (first, last)] == ["H2O", "H3N"]
        assert location == f"{path}: snapshot 2, line {1 + water.count(chr(10))}"
        assert str(defect).startswith(f"{location}: must be ") and message in str(defect)


ATOMS = (("O", 0, 0, 0), ("H", 0, 0, 0.96), ("H", 0.93, 0, -0.24))


def pdb_model(shift: float) -> str:
    return "".join(
        f"HETATM{number:5} {name:<4} HOH A   1    {x:8.3f}{y:8.3f}{z + shift:8.3f}"
        f"  1.00  0.00          {name:>2}\n"
        for number, (name, x, y, z) in enumerate(ATOMS, 1)
    )


def test_models_of_a_pdb_file_are_those_that_have_atoms(tmp_path):
    path = tmp_path / "two.pdb"
    first, second = pdb_model(0.1), pdb_model(0.2)
    models = f"MODEL        1\n{first}ENDMDL\nMODEL        2\n{second}ENDMDL\n"
    wholes = [
        models,
        f"{models}END\n",
        f"{models}CONECT    1    2    3\nMASTER        0    0\nEND   \n",
        f"{first}END\n{second}END\n",
        # Atoms after the last end are lost by ASE.
        f"{first}END\n{second}",
        f"MODEL        1\n{first}TER\nENDMDL\nMODEL        2\n{second}",
    ]
    for text in wholes:
        path.write_text(text)
        read = read_molecules(path, need=())
        assert read.species.tolist() == [[8, 1, 1], [8, 1, 1]]
        np.testing.assert_allclose(read.positions[:, 0, 2], [0.1, 0.2])
    # A model without atoms is a defect of the file.
    path.write_text(f"MODEL        1\n{first}ENDMDL\nMODEL        2\nENDMDL\nEND\n")
    with pytest.raises(DataError, match="snapshot 2: atoms must be one or more"):
        read_molecules(path, need=())
    # The control: what ASE alone sees.
    path.write_text(wholes[1])
    assert [len(atoms) for atoms in ase.io.read(path, ":")] == [3, 3, 0]
