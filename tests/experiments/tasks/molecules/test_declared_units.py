"""Units that files declare: what they disagree with is refused, wherever they stand."""

import json
import re

import ase.db
import ase.io
import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io.trajectory import Trajectory

from experiments.data.npz import DataError
from experiments.tasks.molecules.data.declarations import declarations
from experiments.tasks.molecules.data.read import read_molecules
from experiments.tasks.molecules.data.stream import stream_snapshots
from experiments.tasks.molecules.data.units import check_declared, stated_units

KCAL = {"energy_unit": "kcal/mol"}
ATOMIC = {"energy_unit": "hartree", "length_unit": "bohr"}


def refused(path, declared: str, **options) -> None:
    """The error begins with the file, and says what it declares."""
    with pytest.raises(
        DataError, match=f"^{re.escape(str(path))}: .*_unit must be .*, got "
    ) as one:
        read_molecules(path, **options)
    assert declared in str(one.value)


@pytest.mark.parametrize(
    ("values", "of", "unit"),
    [
        ({"energy_unit": "eV"}, "energy", "eV"),
        ({"energyUnits": np.array("eV")}, "energy", "eV"),
        ({"unit_of_energy": b"eV"}, "energy", "eV"),
        ({"REF_energy_unit": np.array([b"eV"])}, "ref_energy", "eV"),
        ({"units": {"REF_energy": "eV"}}, "ref_energy", "eV"),
        ({"units": '{"U0": "Ha"}'}, "u_0", "Ha"),
        ({"_property_unit_dict": {"U0": "Ha"}}, "u_0", "Ha"),
        ({"_distance_unit": "Bohr"}, "distance", "Bohr"),
        ({"data": {"metadata": {"units": {"forces": "eV/A"}}}}, "forces", "eV/A"),
        ({"properties": {"energy": {"value": 1.0, "unit": "eV"}}}, "energy", "eV"),
        ({"units": ["eV", "Angstrom"]}, "", "eV Angstrom"),
        ({"e_unit": np.array(27.2)}, "e", 27.2),
        ({"energy_unit": np.array(None, object)}, "energy", None),
        ({"unit_cell": "9 0 0"}, "cell", "9 0 0"),
        # What is no unit.
        ({"units": 3, "community": "eV", "energy": "eV", "unit": "", "": {"x": "eV"}}, None, None),
    ],
)
def test_declarations_are_found_wherever_they_stand(values, of, unit):
    found = [(one.of, one.unit) for one in declarations(values)]
    assert found == ([] if of is None else [(of, unit)])


def test_units_in_the_metadata_of_databases_are_seen(tmp_path):
    water = molecule("H2O")
    water.positions /= 0.529177
    for ending in ("db", "json"):
        path = tmp_path / f"set.{ending}"
        with ase.db.connect(path) as database:
            data = {"U0": np.array([-76.4]), "F": np.ones((3, 3)), "mu": np.ones(3)}
            database.write(water, data=data)
            # As SchNetPack writes them.
            database.metadata = {
                "_property_unit_dict": {"U0": "Hartree", "F": "Hartree/Bohr", "mu": "Debye"},
                "_distance_unit": "Bohr",
                "atomrefs": {},
            }
        keys = {"energy_key": "U0", "forces_key": "F"}
        refused(path, "_distance_unit = Bohr, got Angstrom", **keys)
        refused(path, "_property_unit_dict/U0 = Hartree, got eV", length_unit="bohr", **keys)
        refused(
            path, "/F = Hartree/Bohr, got eV/Angstrom", **ATOMIC | {"forces_unit": "eV/A"}, **keys
        )
        read = read_molecules(path, **ATOMIC, **keys)
        np.testing.assert_allclose(read.energies, -76.4 * 27.2114, rtol=1e-5)
        np.testing.assert_allclose(read.positions[0], molecule("H2O").positions, rtol=1e-5)
        # What is not read may have any unit.
        read_molecules(path, energy_key=None, forces_key=None, need=(), length_unit="bohr")
        dipole = {"dipole_key": "mu", "need": ("dipoles",), "length_unit": "bohr"}
        dipole |= {"energy_key": None, "forces_key": None}
        refused(path, "/mu = Debye, got e*Angstrom", **dipole)
        read_molecules(path, dipole_unit="Debye", **dipole)
        # Predictions take lengths in angstrom.
        with pytest.raises(DataError, match="length_unit must be .* = Bohr, got Angstrom"):
            stream_snapshots(path)


def test_units_in_the_description_of_a_trajectory_are_seen(tmp_path):
    water = molecule("H2O")
    water.calc = SinglePointCalculator(water, energy=1.0, forces=np.zeros((3, 3)))
    path = tmp_path / "a.traj"
    with Trajectory(path, "w") as trajectory:
        trajectory.set_description({"units": {"energy": "kcal/mol"}})
        trajectory.write(water)
    refused(path, "units/energy = kcal/mol, got eV")
    read_molecules(path, **KCAL)


@pytest.mark.parametrize(
    "text",
    [
        "REF_energy_unit=kcal/mol",
        "energy_units=kcal/mol",
        "unit_REF_energy=kcal/mol",
        "units=kcal/mol",
        "units=real",
        'units="_JSON {\\"energy\\": \\"kcal/mol\\"}"',
        'metadata="_JSON {\\"units\\": {\\"REF_energy\\": \\"kcal mol^-1\\"}}"',
        "energy_unit=0.0433641",
    ],
)
def test_units_in_comment_lines_are_seen(tmp_path, text):
    path = tmp_path / "water.xyz"
    atoms = "O 0 0 0 0 0 0\nH 0 0 1 0 0 0\nH 1 0 0 0 0 0\n"
    columns = "Properties=species:S:1:pos:R:3:REF_forces:R:3"
    path.write_text(f"3\n{columns} REF_energy=-100 {text}\n{atoms}")
    keys = {"energy_key": "REF_energy", "forces_key": "REF_forces"}
    refused(path, text.partition("=")[0], **keys)
    np.testing.assert_allclose(read_molecules(path, **KCAL, **keys).energies, -4.33641, rtol=1e-5)


@pytest.mark.parametrize(
    "entries",
    [
        {"e_unit": np.array("kcal/mol")},
        {"E_unit": np.array(b"kcal/mol")},
        {"units": np.array(["kcal/mol", "Angstrom"])},
        {"units": np.array(json.dumps({"E": "kcal/mol", "R": "Angstrom"}))},
        {"metadata": np.array(json.dumps({"units": {"energy": "kcal/mol"}}))},
    ],
)
def test_units_in_archives_are_seen(tmp_path, entries):
    water, path = molecule("H2O"), tmp_path / "water.npz"
    arrays = {"z": water.numbers, "R": water.positions[None], "E": [-100], "F": np.zeros((1, 3, 3))}
    np.savez(path, **arrays, **entries)
    refused(path, "kcal/mol")
    np.testing.assert_allclose(read_molecules(path, **KCAL).energies, -4.33641, rtol=1e-5)


def test_units_of_another_set_of_an_archive_do_not_matter(tmp_path):
    water, path = molecule("H2O"), tmp_path / "water.npz"
    arrays = {"z": water.numbers, "R_a": water.positions[None], "E_a": [-1]}
    np.savez(path, **arrays, energy_unit_a="eV", energy_unit_b="kcal/mol", E_b_unit="kcal/mol")
    options = {"split": "a", "need": ("energies",)}
    assert read_molecules(path, **options).energies == [-1]
    for name in ("energy_unit_a", "E_a_unit", "E_unit"):
        np.savez(path, **arrays, **{name: "kcal/mol"})
        refused(path, "kcal/mol, got eV", **options)


def test_the_unit_of_the_key_that_is_read_comes_first():
    units = stated_units()
    both = {"energy_unit": "kcal/mol", "REF_energy_unit": "eV"}
    keys = {"energies": "REF_energy"}
    check_declared("a", both, units, ["energies"], keys)
    with pytest.raises(DataError, match="energy_unit = kcal/mol"):
        check_declared("a", both, units, ["energies"], {"energies": "energy"})


def test_lists_of_units_that_are_not_understood_are_refused():
    units, read = stated_units(), ["positions", "energies"]
    for text in ("eV Angstrom fs", "metal", "energies in eV", "eV", "GPa eV"):
        check_declared("a", {"units": text}, units, read)
    for text in ("si", "Rydberg", "Rydberg Angstrom", "pm eV", "normalized"):
        with pytest.raises(DataError, match="^a: .*must be .*, got "):
            check_declared("a", {"units": text}, units, read)
    with pytest.raises(DataError, match="^a: units must be .* in words, got units = pickled"):
        check_declared("a", {"units": np.array(None, object)}, units, read)


HYDROGEN = "H 0.0 0.0 0.0\nH 0.0 0.0 1.4\n"
DUMP = (
    "ITEM: UNITS\n{}\nITEM: TIMESTEP\n0\nITEM: NUMBER OF ATOMS\n2\nITEM: BOX BOUNDS ff ff ff\n"
    "0 9\n0 9\n0 9\nITEM: ATOMS id element x y z\n1 H 0 0 0\n2 H 0 0 1.4\n"
)


@pytest.mark.parametrize(
    ("name", "text", "bohr", "angstrom"),
    [
        ("a.com", "#p hf units={}\n\nhydrogen\n\n0 1\n" + HYDROGEN + "\n", "au", "ang"),
        ("a.com", "#p hf Units(Deg,{})\n\nhydrogen\n\n0 1\n" + HYDROGEN + "\n", "AU", "Ang"),
        ("a.nwi", "geometry units {} noautosym\n" + HYDROGEN + "end\n\n", "bohr", "angstroms"),
        ("a.lammps-dump-text", DUMP, "electron", "real"),
        ("a.xyz", "2\nhydrogen, positions in {}\n" + HYDROGEN, "Bohr", "Angstrom"),
        ("a.xyz", "2\nunits: {}\n" + HYDROGEN, "bohr", "Angstrom"),
    ],
)
def test_lengths_that_ase_takes_for_angstrom_are_checked(tmp_path, name, text, bohr, angstrom):
    path = tmp_path / name
    path.write_text(text.format(bohr))
    refused(path, f" = {bohr}, got Angstrom", need=())
    read = read_molecules(path, need=(), length_unit="bohr")
    np.testing.assert_allclose(read.positions[0, 1, 2], 1.4 * 0.529177, rtol=1e-5)
    path.write_text(text.format(angstrom))
    assert read_molecules(path, need=()).positions[0, 1, 2] == 1.4


def test_lengths_that_ase_converts_wrongly_are_refused(tmp_path):
    path = tmp_path / "coord"
    path.write_text("$coord angs\n0.0 0.0 0.0 h\n0.0 0.0 1.4 h\n$end\n")
    with pytest.raises(DataError, match=r"coord: \$coord must be in bohr"):
        read_molecules(path, need=())
    path.write_text("$coord\n0.0 0.0 0.0 h\n0.0 0.0 1.4 h\n$end\n")
    np.testing.assert_allclose(
        read_molecules(path, need=()).positions[0, 1, 2], 1.4 * 0.529177, 1e-5
    )


def test_words_of_a_comment_that_only_look_like_units_are_none():
    for comment in ("gold in Au cluster", "a unit cell", "bohr model", "in water", "unit test"):
        assert not list(declarations(dict.fromkeys(comment.split(), True)))
