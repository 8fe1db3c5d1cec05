"""Files that are common, though they break a format or hold more than molecules."""

import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule

from experiments.data.npz import DataError
from experiments.errors import UsageError
from experiments.tasks.molecules.data.read import read_molecules
from experiments.tasks.molecules.data.sets import load_molecules
from experiments.tasks.molecules.data.stream import stream_snapshots
from experiments.tasks.molecules.data_config import MoleculesDataConfig

# Methane and ammonia of QM9, as published, with tabs at the ends of lines.
METHANE = """\
5
gdb 1\t157.7118\t157.70997\t157.70699\t0.\t13.21\t-0.3877\t0.1171\t0.5048\t35.3641\t0.044749\t\
-40.47893\t-40.476062\t-40.475117\t-40.498597\t6.469\t
C\t-0.0126981359\t 1.0858041578\t 0.0080009958\t-0.535689
H\t 0.002150416\t-0.0060313176\t 0.0019761204\t 0.133921
H\t 1.0117308433\t 1.4637511618\t 2.7*^-6\t 0.133922
H\t-0.540815069\t 1.4475266138\t-0.8766437152\t 0.133923
H\t-0.5238136345\t 1.4379326443\t 0.9063972942\t 0.133923
1341.307\t1341.3284\t1341.365\t1562.6731\t1562.7453\t3038.3205\t3151.6034\t3151.6788\t3151.7078
C\tC\t
InChI=1S/CH4/h1H4\tInChI=1S/CH4/h1H4
"""
AMMONIA = """\
4
gdb 2\t293.60975\t293.54111\t191.39397\t1.6256\t9.46\t-0.257\t0.0829\t0.3399\t26.1563\t0.034358\t\
-56.525887\t-56.523026\t-56.522082\t-56.544961\t6.316\t
N\t-0.0404260543\t 1.0241077531\t 0.0625637998\t-0.707143
H\t 0.0172574639\t 0.0125452063\t-0.0273771593\t 0.235712
H\t 0.9157893661\t 1.3587451948\t-0.0287577581\t 0.235712
H\t-0.5202777357\t 1.3435321258\t-0.7755426124\t 0.235712
1103.8733\t1684.1158\t1684.3072\t3458.7145\t3579.4783\t3579.4821
N\tN
InChI=1S/H3N/h1H3\tInChI=1S/H3N/h1H3
"""


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "molecules.xyz"


def test_qm9_is_read_as_published(path):
    path.write_text(METHANE + AMMONIA)

    read = read_molecules(path, energy_key="U0", energy_unit="hartree", need=("energies",))

    assert read.species.tolist() == [[6, 1, 1, 1, 1], [7, 1, 1, 1, 0]]
    assert read.positions[0, 2].tolist() == [1.0117308433, 1.4637511618, 2.7e-6]
    np.testing.assert_allclose(read.energies, np.array([-40.47893, -56.525887]) * 27.2114, 1e-6)
    # The article says hartree; what it says of other quantities does not matter here.
    with pytest.raises(DataError, match="snapshot 1, line 2: energy_unit .*U0_unit = hartree, got"):
        read_molecules(path, energy_key="U0", need=("energies",))
    assert len(read_molecules(path, energy_key="Cv", need=("energies",)).energies) == 2
    (_, first), (location, second) = stream_snapshots(path)
    assert location == f"{path}: snapshot 2, line 12"
    assert first.info["gdb"] == 1 and second.info["gap"] == 0.3399
    np.testing.assert_array_equal(second.arrays["mulliken_charges"], [-0.707143, *3 * [0.235712]])


def test_other_lines_after_the_atoms_are_refused(path):
    lines = METHANE.splitlines()
    wrong = {
        # The lines of QM9 are one of numbers, one of names and one of InChI.
        "\n".join(lines[:-1]): "line 8: must be the number of atoms",
        "\n".join([*lines[:7], "C", *lines[8:]]): "line 8: must be the number of atoms",
        "\n".join([*lines[:-1], "C\tC"]): "line 8: must be the number of atoms",
        METHANE.replace("2.7*^-6", "2.7*^"): "column 4 (pos) must be a number",
    }
    for text, message in wrong.items():
        path.write_text(text + "\n")
        with pytest.raises(DataError) as caught:
            read_molecules(path, need=())
        assert str(caught.value).startswith(f"{path}: snapshot ") and message in str(caught.value)


def test_numbers_of_fortran_are_understood_in_comment_lines_too(path):
    comment = (
        'Lattice="1.0D+01 0.0D0 0.0D0 0.0 10. 0. 0. 0. 1.0d1" pbc="F F F" energy=-1.5D+01 '
        'Properties=species:S:1:pos:R:3:forces:R:3 dipole="1.0D0 \u22122.0D0 3.5" name=12d4 v=1.0D'
    )
    path.write_text(f"2\n{comment}\nH 0 0 0 0 0 1.0D-1\nH 0 0 7.4d-1 0 0 -1.0D-1\n")

    read = read_molecules(path, dipole_key="dipole")

    assert read.energies.tolist() == [-15.0] and read.dipoles.tolist() == [[1.0, -2.0, 3.5]]
    assert read.forces[0, :, 2].tolist() == [0.1, -0.1]
    [(_, atoms)] = stream_snapshots(path)
    assert atoms.cell.lengths().tolist() == [10, 10, 10]
    # Names stay what they are.
    assert atoms.info["name"] == "12d4" and atoms.info["v"] == "1.0D"


class Trap:
    """Raises where it is unpickled."""

    def __reduce__(self):
        return pytest.fail, ("unpickled",)


def test_objects_that_nobody_asks_for_do_not_refuse_an_archive(tmp_path):
    path, water = tmp_path / "water.npz", molecule("H2O")
    arrays = {"z": water.numbers, "R": water.positions[None], "E": [1.5], "F": np.zeros((1, 3, 3))}
    trap = np.array([Trap()], dtype=object)
    np.savez(path, **arrays, meta=trap, basis=np.array({"method": "PBE"}, dtype=object))

    assert read_molecules(path).energies.tolist() == [1.5]
    assert len(list(stream_snapshots(path))) == 1
    with pytest.raises(DataError, match="water.npz: array meta must be numbers, got pickled obj"):
        read_molecules(path, energy_key="meta")
    np.savez(path, **arrays, e_unit=trap)
    with pytest.raises(DataError, match="energy_unit must .* e_unit = pickled objects, which are"):
        read_molecules(path)
    # The control: the trap works.
    with pytest.raises(pytest.fail.Exception):
        pickle.loads(pickle.dumps(trap))


def qm9_archive(path: Path, **changes) -> Path:
    """Charges of nuclei, padded with zeros, as in the archives of QM9."""
    rng, charges = np.random.default_rng(0), np.array([[8, 1, 1, 0, 0], [6, 1, 1, 1, 1]] * 3)
    positions = rng.normal(size=(6, 5, 3)) * 2
    arrays = {"charges": charges, "positions": positions, "U0": rng.normal(size=6)}
    np.savez(path, **arrays | changes)
    return path


def test_charges_are_atomic_numbers_where_the_caller_says_so(tmp_path):
    path = qm9_archive(tmp_path / "qm9.npz")
    options = {"energy_key": "U0", "need": ("energies",)}

    read = read_molecules(path, species_key="charges", **options)

    assert read.species.tolist() == [[8, 1, 1, 0, 0], [6, 1, 1, 1, 1]] * 3
    assert not read.positions[0, 3:].any()
    streamed = [
        atoms.get_chemical_formula() for _, atoms in stream_snapshots(path, None, "charges")
    ]
    assert streamed == ["H2O", "CH4"] * 3
    with pytest.raises(DataError, match="species must be .*species_key=charges"):
        read_molecules(path, **options)
    partial = np.full((6, 5), -0.4)
    with pytest.raises(DataError, match="snapshot 1: species must be"):
        read_molecules(qm9_archive(path, charges=partial), species_key="charges", **options)
    (tmp_path / "a.xyz").write_text("1\n\nH 0 0 0\n")
    with pytest.raises(UsageError, match="species_key must be None for files other than .npz"):
        read_molecules(tmp_path / "a.xyz", species_key="charges", need=())


def test_a_configuration_names_the_array_of_species(tmp_path):
    path = qm9_archive(tmp_path / "qm9.npz")
    data = MoleculesDataConfig(
        kind="file",
        path=str(path),
        targets="energy",
        energy_key="U0",
        species_key="charges",
        num_train=4,
        num_valid=1,
        num_test=1,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _, facts = load_molecules(**data.model_dump())
    assert facts.elements == (1, 6, 8)
