import io
import re
import warnings
from pathlib import Path

import ase.db
import ase.io
import ase.units
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator

from experiments.data.npz import DataError
from experiments.errors import UsageError
from experiments.tasks.molecules.data.read import read_molecules
from experiments.tasks.molecules.data.units import stated_units
from tests.helpers.paths import SHARED

# Of the pyridine molecule, with the columns as uneven as people type them.
PYRIDINE = """\
N  0.00000000   0.00000000  1.42467200
C 0.00000000       0.00000000      -1.38617800
C\t0.00000000       1.14427700       0.72030600
C        0.00000000      -1.14427700       0.72030600
  C  0.00000000      -1.19640400      -0.67291700
C        0.00000000       1.19640400      -0.67291700
H   0.00000000   0.00000000      -2.47305200
H        0.00000000       2.06072300       1.30747700
H     0.00000000      -2.06072300       1.30747700
H        0.00000000      -2.15529300      -1.18310300
H        0.00000000       2.15529300      -1.18310300
"""
WATER = "O 0.0 0.0 0.119\nH 0.0 0.763 -0.477\nH 0.0 -0.763 -0.477\n"
FORCED = "".join(f"{line} 0.1 0.2 {n}.5\n" for n, line in enumerate(WATER.splitlines()))
PROPERTIES = "Properties=species:S:1:pos:R:3:forces:R:3"


def shared(name: str) -> Path:
    if not (SHARED / name).exists():
        pytest.skip(f"{name} of the shared data is not there")
    return SHARED / name


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def labelled(names=("H2O", "CH3CH2OH", "C5H5N", "CO2")) -> list[Atoms]:
    rng = np.random.default_rng(0)
    snapshots = [molecule(name) for name in names]
    for snapshot in snapshots:
        snapshot.positions += 0.01 * rng.normal(size=snapshot.positions.shape)
        snapshot.calc = SinglePointCalculator(
            snapshot,
            energy=rng.normal(),
            forces=rng.normal(size=snapshot.positions.shape),
            dipole=rng.normal(size=3),
        )
    return snapshots


def refused(path, *parts: str, error=DataError, **options) -> None:
    with pytest.raises(error) as caught:
        read_molecules(path, **options)
    message = str(caught.value)
    for part in (*parts, "must ", "got "):
        assert part in message, message
    assert error is UsageError or message.startswith(str(path))


@pytest.mark.parametrize("ending", ["extxyz", "xyz", "xyz.gz", "db", "traj", "json"])
def test_molecules_come_back_from_every_kind_of_file(tmp_path, ending):
    snapshots = labelled()
    ase.io.write(tmp_path / f"set.{ending}", snapshots)

    read = read_molecules(
        tmp_path / f"set.{ending}", dipole_key="dipole", need=("energies", "forces", "dipoles")
    )

    assert [array.dtype for array in read[:5]] == [np.int32, *4 * [np.float64]]
    assert read.species.shape == (4, 11) and read.positions.shape == read.forces.shape == (4, 11, 3)
    digits = 1e-8 if "xyz" in ending else 1e-15  # The writer of XYZ prints eight decimals.
    for index, snapshot in enumerate(snapshots):
        own = slice(len(snapshot))
        np.testing.assert_array_equal(read.species[index, own], snapshot.numbers)
        np.testing.assert_allclose(read.positions[index, own], snapshot.positions, atol=digits)
        np.testing.assert_allclose(
            read.forces[index, own], snapshot.calc.results["forces"], atol=digits
        )
        np.testing.assert_allclose(
            read.energies[index], snapshot.calc.results["energy"], rtol=1e-14
        )
        np.testing.assert_allclose(read.dipoles[index], snapshot.calc.results["dipole"], rtol=1e-14)
        for array in (read.species, read.positions, read.forces):
            assert not array[index, len(snapshot) :].any()


def test_plain_xyz_of_every_molecule_of_g2_has_positions_and_nothing_else(tmp_path):
    from ase.collections import g2

    snapshots = [snapshot for snapshot in g2 if len(snapshot) > 1]
    ase.io.write(tmp_path / "g2.xyz", snapshots, format="xyz")

    read = read_molecules(tmp_path / "g2.xyz", need=())

    assert len(read.species) == len(snapshots) > 140
    assert read.energies is read.forces is read.dipoles is None
    for snapshot, species, positions in zip(snapshots, read.species, read.positions, strict=True):
        np.testing.assert_array_equal(species[: len(snapshot)], snapshot.numbers)
        np.testing.assert_allclose(positions[: len(snapshot)], snapshot.positions, atol=1e-14)


@pytest.mark.parametrize("ending", ["extxyz", "npz"])
def test_polarizabilities_are_read_as_volumes(tmp_path, ending):
    path, draw = tmp_path / f"set.{ending}", np.random.default_rng(0)
    snapshots, alpha = labelled(["H2O", "H2O"]), draw.normal(size=(2, 3, 3))
    alpha += np.swapaxes(alpha, 1, 2)
    if ending == "npz":
        positions = [snapshot.positions for snapshot in snapshots]
        np.savez(path, z=snapshots[0].numbers, R=positions, alpha=alpha)
    else:
        for snapshot, matrix in zip(snapshots, alpha, strict=True):
            snapshot.info["alpha"] = matrix
        ase.io.write(path, snapshots)
    options = {"polarizability_key": "alpha", "need": ("polarizabilities",)}
    read = read_molecules(path, polarizability_unit="bohr^3", **options)
    np.testing.assert_allclose(read.polarizabilities, alpha * 0.529177**3, rtol=1e-5)
    # Eight decimals in extended XYZ.
    plain = read_molecules(path, **options).polarizabilities
    np.testing.assert_allclose(plain, alpha, atol=1e-8)
    refused(path, "polarizability_unit", "'Debye'", error=UsageError, polarizability_unit="Debye")
    # Many write a matrix as a row; one that is not symmetric is no polarizability.
    row = " ".join(map(str, alpha[0].ravel()))
    path = tmp_path / "row.xyz"
    path.write_text(f'3\n{PROPERTIES} alpha="{row}"\n{FORCED}')
    [read] = read_molecules(path, **options).polarizabilities
    np.testing.assert_allclose(read, alpha[0], rtol=1e-6)
    snapshots[0].info["alpha"] = alpha[0] + np.triu(np.ones((3, 3)), 1)
    ase.io.write(tmp_path / "odd.traj", snapshots[0])
    refused(tmp_path / "odd.traj", "snapshot 1: polarizabilities", "by 1 ", **options)


def test_units_are_converted_once(tmp_path):
    [snapshot] = snapshots = labelled(["H2O"])
    ase.io.write(tmp_path / "water.traj", snapshots)
    plain = read_molecules(tmp_path / "water.traj", dipole_key="dipole")
    kcal = 0.0433641  # eV, from a handbook, as is the rest.
    cases = [
        ({"energy_unit": "kcal/mol"}, 1.0, kcal, kcal, 1.0),
        ({"energy_unit": "kJ/mol", "length_unit": "nm"}, 10.0, kcal / 4.184, kcal / 41.84, 1.0),
        ({"energy_unit": "hartree", "length_unit": "bohr"}, 0.529177, 27.2114, 51.4221, 1.0),
        ({"energy_unit": "hartree", "forces_unit": "hartree/bohr"}, 1.0, 27.2114, 51.4221, 1.0),
        ({"energy_unit": "meV", "dipole_unit": "Debye"}, 1.0, 1e-3, 1e-3, 0.208194),
        ({"energy_unit": "EV", "dipole_unit": "e*bohr"}, 1.0, 1.0, 1.0, 0.529177),
    ]
    for options, *scales in cases:
        read = read_molecules(tmp_path / "water.traj", dipole_key="dipole", **options)
        for array, base, scale in zip(read[1:5], plain[1:5], scales, strict=True):
            np.testing.assert_allclose(array, base * scale, rtol=1e-5)
    np.testing.assert_array_equal(plain.positions[0], snapshot.positions)
    for option in ("energy_unit", "length_unit", "forces_unit", "dipole_unit"):
        refused(tmp_path, option, "'stone'", error=UsageError, **{option: "stone"})


def test_units_are_known_by_every_usual_spelling():
    energies = {
        "eV": "eV electronvolt Electronvolts",
        "meV": "meV",
        "kcal/mol": "kcal/mol kcalmol KCAL",
        "kJ/mol": "kJ/mol kJmol kJ",
        "hartree": "Hartree hartrees Ha Eh a.u. au atomic",
    }
    lengths = {
        "Angstrom": "Angstrom angstroms ang A Å",
        "bohr": "bohr Bohrs a0 a.u. au atomic",
        "nm": "nm nanometer nanometers nanometre nanometres",
    }
    others = {
        "dipole": {
            "e*Angstrom": "e*Angstrom eAngstrom e*ang eAng e*A eA e*Å eÅ",
            "Debye": "Debye debyes D",
            "e*bohr": "e*bohr ebohr e*a0 ea0 a.u. au atomic",
        },
        "polarizability": {
            "Angstrom^3": "Angstrom^3 angstrom3 angstrom**3 ang^3 ang3 A^3 A3 Å^3 Å3",
            "bohr^3": "bohr^3 bohr3 bohr**3 a0^3 a0**3",
        },
    }
    forces = {
        f"{energy}/{length}": " ".join(
            f"{up}/{down}" for up in energies[energy].split() for down in lengths[length].split()
        )
        for energy in energies
        for length in lengths
    }
    forces["hartree/bohr"] += " a.u. au atomic"
    known = {"energy": energies, "length": lengths, "forces": forces} | others
    for quantity, units in known.items():
        for unit, spellings in units.items():
            for spelling in spellings.split():
                for text in (spelling, spelling.upper(), f" {spelling.lower()}_"):
                    assert getattr(stated_units(**{quantity: text}), quantity) == unit
        for stone in ("", "stone", "eV/", "/A", "e*", "3", "s", "None", "e*nm", "nm^3"):
            with pytest.raises(UsageError, match=f"^{quantity}_unit must be "):
                stated_units(**{quantity: stone})


def test_arguments_that_contradict_each_other_are_refused(tmp_path):
    path = written(tmp_path / "water.xyz", f"3\n\n{WATER}")
    refused(path, "need", "'dipoles'", error=UsageError, need=("dipoles",))
    refused(path, "need", "'forces'", error=UsageError, forces_key=None)
    refused(path, "need", "'charm'", error=UsageError, need=("charm",))
    refused(path, "split", "'train'", error=UsageError, split="train", need=())


def test_the_pyridine_table_is_read_with_and_without_its_first_two_lines(tmp_path):
    whole = read_molecules(written(tmp_path / "whole.xyz", f"11\n\n{PYRIDINE}"), need=())
    for ending in ("xyz", "txt"):
        with pytest.warns(UserWarning, match="snapshot 1, line 2: ") as caught:
            bare = read_molecules(written(tmp_path / f"bare.{ending}", f"\n{PYRIDINE}\n"), need=())
        assert caught[0].filename == __file__

        np.testing.assert_array_equal(bare.positions, whole.positions)
        np.testing.assert_array_equal(bare.species, whole.species)
    np.testing.assert_allclose(whole.positions[0], molecule("C5H5N").positions, atol=1e-14)


def test_the_shared_pyridine_table_is_that_of_these_tests(tmp_path):
    read = read_molecules(shared("pyridine_g2.xyz"), need=())

    typed = read_molecules(written(tmp_path / "typed.xyz", f"11\n\n{PYRIDINE}"), need=())
    np.testing.assert_array_equal(read.positions, typed.positions)
    np.testing.assert_array_equal(read.species, typed.species)


@pytest.mark.parametrize(
    ("printed", "parts"),
    [
        ("0.00000000  -1.386.17800", ("column 4 (pos)", "'-1.386.17800'")),
        ("0.00000000  O.38617800", ("column 4", "'O.38617800'")),
        ("0.00000000-1.38617800", ("column 3", "'0.00000000-1.38617800'")),
        ("0.00000000  -1,38617800", ("column 4", "'-1,38617800'")),
        ("0.00000000  1.38-6178", ("column 4", "'1.38-6178'")),
        ("0.00000000  ********", ("column 4", "'********'")),
        ("0.00000000  1_3.8", ("column 4", "'1_3.8'")),
        ("0.00000000  nan", ("column 4 (pos)", "finite", "'nan'")),
        ("0.00000000  -Infinity", ("column 4 (pos)", "finite", "'-Infinity'")),
        ("0.00000000", ("4 columns", "species pos pos pos", "got 3")),
        ("0.00000000  -1.386 17800", ("4 columns", "got 5")),
    ],
)
@pytest.mark.parametrize("header", ["11\npyridine\n", ""])
@pytest.mark.filterwarnings("ignore:.*got an atom")
def test_a_badly_printed_number_is_named_with_its_line(tmp_path, header, printed, parts):
    table = PYRIDINE.replace("0.00000000      -1.38617800", printed)
    line = 2 + header.count("\n")

    refused(
        written(tmp_path / "bad.xyz", header + table), f"snapshot 1, line {line}", *parts, need=()
    )


def test_a_number_in_two_pieces_would_move_an_atom_silently():
    table = PYRIDINE.replace("-1.38617800", "-1.386 17800")

    read = ase.io.read(io.StringIO(f"11\n\n{table}"), format="extxyz")

    assert read.positions[1, 2] == -1.386


def test_exponents_of_fortran_and_typeset_signs_are_understood(tmp_path):
    usual = "3\n\nO 0.0 0.0 1.19e-1\nH 0.0 7.63e-1 -0.477\nH 0.0 -0.763 -0.477\n"
    typeset = (
        "3\r\n\r\nO 0.0 0.0 1.19D-01\r\nh 0.0 +7.63d-1 \u2212.477\r\nH 0 \u20130.763 \u20130.477"
    )

    read = read_molecules(written(tmp_path / "typeset.xyz", "\ufeff" + typeset), need=())

    expected = read_molecules(written(tmp_path / "usual.xyz", usual), need=())
    np.testing.assert_array_equal(read.positions, expected.positions)


def test_blank_lines_between_snapshots_do_not_end_the_file(tmp_path):
    moved = WATER.replace("0.119", "0.120")
    text = f"3\n\n{WATER}\n\n3\n\n{moved}\n\n"

    read = read_molecules(written(tmp_path / "two.xyz", text), need=())

    assert len(read.species) == 2
    assert len(ase.io.read(io.StringIO(text), ":", format="extxyz")) == 1


def test_every_defect_of_an_xyz_file_is_named_with_snapshot_and_line(tmp_path):
    good = f"3\n\n{WATER}"
    cut = good[: good.rindex("H")]
    forced = f"3\n{PROPERTIES} energy=1.0\n{FORCED}"
    cases = {
        "": ("one snapshot", "got none"),
        "\n \n": ("one snapshot", "got none"),
        "pyridine\n" + good: ("snapshot 1, line 1:", "number of atoms", "got 'pyridine'"),
        "0\n\n": ("snapshot 1, line 1:", "got '0'"),
        "-3\n\n" + WATER: ("snapshot 1, line 1:", "got '-3'"),
        good + "4\n\n" + WATER: ("snapshot 2, line 11:", "atom 4 of the 4", "line 6", "end of"),
        good + cut: ("snapshot 2, line 10:", "atom 3 of the 3", "end of the file"),
        "4" + good[1:] + good: ("snapshot 1, line 6:", "atom 4 of the 4", "got '3'"),
        "4" + good[1:] + "\n" + good: ("snapshot 1, line 6:", "atom 4 of the 4", "blank"),
        "2" + good[1:]: ("snapshot 1, line 5:", "line 1 announces 2", "one more atom"),
        "3\n" + WATER: ("line 5:", "atom 3 of the 3", "line 2 looks like an atom"),
        "3\n": ("snapshot 1, line 3:", "atom 1 of the 3", "end of the file"),
        good.replace("O", "Q"): ("snapshot 1, line 3:", "column 1 (species)", "got 'Q'"),
        good.replace("O", "Oo"): ("column 1", "got 'Oo'", "(meant "),
        good.replace("O", "X"): ("column 1", "got 'X'"),
        good.replace("O", "8"): ("column 1", "an element, such as", "got '8'"),
        good.replace("-0.763", "0.763"): ("atoms 2 and 3 ", "snapshot 1, line 2:", "got 0 "),
        good: ("snapshot 1, line 2: energies", "as 'energy'", "keys: none"),
        forced.replace("energy=1.0", ""): ("energies", "keys: forces"),
        forced.replace("energy=", "Energy="): ("energies", "keys: Energy, forces"),
        forced.replace("energy=1.0", "energy"): ("energies", "keys: forces"),
        forced.replace("energy=1.0", "energy=low"): ("(key 'energy')", "got 'low'"),
        forced.replace("energy=1.0", "energy=nan"): ("line 2: energies", "finite", "got nan"),
        forced.replace("energy=1.0", 'energy="1 2"'): ("'energy'", "shape (), got (2,)"),
        forced.replace("forces", "force"): (": forces", "keys: energy, force"),
        forced.replace("1.5\n", "\n"): ("line 4:", "7 columns", "got 6"),
        forced.replace("1.5", "1.5 2"): ("line 4:", "7 columns", "got 8"),
        forced.replace(".5\n", ".5 9\n"): ("line 3:", "7 columns", "got 8"),
        forced.replace("1.5", "inf"): ("line 4:", "column 7 (forces)", "finite", "got 'inf'"),
        forced.replace("forces:R:3", "forces:R:2:w:R:1"): ("forces (key 'forces')", "shape"),
        forced.replace("pos:R:3", "at:R:3"): ("line 2:", "the comment", "lacks a column"),
        forced.replace("species:S:1", "name:S:1"): ("the comment", "lacks a column"),
        forced.replace("pos:R:3", "pos:R"): ("the comment", "NAME:TYPE:COLUMNS"),
        forced.replace("pos:R:3", "pos:Q:3"): ("the comment", "Properties"),
        forced.replace("species:S:1", "Z:I:1"): ("column 1 (Z)", "an integer", "got 'O'"),
        forced + forced.replace("energy=1.0", "").replace("0.0", "0.1"): (
            "snapshot 2, line 7: energies",
        ),
        "\0\1" + good: ("binary",),
    }
    for index, (content, parts) in enumerate(cases.items()):
        needs_nothing = parts[0].startswith("atoms ")
        options = {"need": ()} if needs_nothing else {}
        refused(written(tmp_path / f"{index}.xyz", content), *parts, **options)


def test_units_that_a_file_declares_must_be_those_that_are_stated(tmp_path):
    template = f"3\n{PROPERTIES} energy=1.0 {{}}\n{FORCED}"
    agreeing = [
        "energy_unit=eV",
        'units="eV, Angstrom"',
        "Energy_Units=ev length_unit=Å forces_unit=eV/A",
        "units=metal",
    ]
    contrary = {
        "energy_unit=kcal/mol": (" energy_unit ", "energy_unit = kcal/mol", "got eV"),
        "energy_units=Rydberg": (" energy_unit ", "energy_units = Rydberg", "got eV"),
        'units="kcal/mol Angstrom"': (" energy_unit ", "units = kcal/mol Angstrom", "got eV"),
        "pos_unit=bohr": (" length_unit ", "pos_unit = bohr", "got Angstrom"),
        "force_unit=hartree/bohr": (" forces_unit ", "force_unit = ", "got eV/Angstrom"),
    }
    path = tmp_path / "water.xyz"
    for text in agreeing:
        read_molecules(written(path, template.format(text)))
    for text, parts in contrary.items():
        mixed = template.format(agreeing[0]) + template.format(text).replace("0.119", "0.12")
        refused(written(path, mixed), "snapshot 2, line 7:", *parts)
    read_molecules(written(path, template.format("energy_unit=kcal/mol")), energy_unit="kcal/mol")
    # What is not read may have any unit; atomic ones mean another thing for each quantity.
    written(path, template.format("units=au dipole_unit=Debye data=x key_value_pairs=y"))
    read_molecules(path, energy_unit="hartree", length_unit="bohr")
    for text in ("energy_unit=kcal/mol", "forces_unit=kJ/mol/nm"):
        written(path, template.format(text))
        read_molecules(path, energy_key=None, forces_key=None, need=())
    refused(written(path, template.format("units=au")), " length_unit ", "got Angstrom", need=())


def test_what_has_one_meaning_but_is_not_right_is_warned_of_once(tmp_path):
    doubled = f"3\n\n{WATER}" * 3
    wide = "".join(f"3\n\n{FORCED.replace('0.119', f'0.{n}')}" for n in (119, 120))
    cases = {
        doubled: "snapshot 2, line 7: .* snapshot 1; 2 of 3 snapshots",
        wide: r"snapshot 1: the last 3 columns.*\(1 more such remarks\)",
        f"3\n==== water ====\n{WATER}": "snapshot 1, line 2: the comment",
        f"3\n\n{WATER}"[:-2]: "line 5, the last",
        f'3\nLattice="9 0 0 0 9 0 0 0 9" stress="1 0 0 0 1 0 0 0 1"\n{WATER}': "xyz: has stress ",
    }
    for content, pattern in cases.items():
        with pytest.warns(UserWarning, match=pattern) as caught:
            read = read_molecules(written(tmp_path / "odd.xyz", content), need=())
        ours = [warning for warning in caught if warning.category is UserWarning]
        assert len(ours) == 1 and ours[0].filename == __file__
        assert read.species.shape[1] == 3
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        read_molecules(written(tmp_path / "fine.xyz", f"3\nwater's energy\n{WATER}"), need=())


def test_files_that_are_absent_damaged_or_of_another_kind_are_named(tmp_path):
    ase.io.write(tmp_path / "a.traj", labelled())
    ase.io.write(tmp_path / "a.db", labelled())
    ase.io.write(tmp_path / "a.xyz.gz", labelled())
    with ase.db.connect(tmp_path / "zero.db") as empty:
        empty.write(Atoms("H"))
        empty.delete([1])
    for ending in ("traj", "db", "xyz.gz"):
        content = (tmp_path / f"a.{ending}").read_bytes()
        for kept in (0.4, 0.9):
            cut = written(tmp_path / f"cut{kept}.{ending}", content[: int(kept * len(content))])
            refused(cut, "cannot be read")
        refused(written(tmp_path / f"text.{ending}", "11\n\n" + PYRIDINE), "cannot be read")
        if ending != "xyz.gz":
            refused(written(tmp_path / f"{ending}.xyz", content), "binary")
    refused(tmp_path / "zero.db", "got none")
    for path, part in {
        tmp_path / "absent.xyz": "no such file",
        tmp_path / "absent.npz": "no such file",
        tmp_path: "folder",
        written(tmp_path / "text.npz", PYRIDINE): "npz",
    }.items():
        with pytest.raises(DataError, match=f"^{re.escape(str(path))}: .*{part}"):
            read_molecules(path)
    refused(written(tmp_path / "a.unheard", "hello"), "cannot be read")
    refused(written(tmp_path / "empty.traj", b""), "cannot be read")


def test_a_database_may_keep_its_numbers_beside_the_results(tmp_path):
    [snapshot] = labelled(["H2O"])
    forces = snapshot.calc.results["forces"]
    snapshot.calc = None
    with ase.db.connect(tmp_path / "kept.db") as database:
        database.write(snapshot, data={"F": forces, "U0": np.array([-1.5])}, gap=0.5)
        database.write(labelled(["CO2"])[0], data={"F": forces, "U0": np.array([1.0])}, gap=0.25)

    read = read_molecules(tmp_path / "kept.db", energy_key="U0", forces_key="F")

    np.testing.assert_array_equal(read.energies, [-1.5, 1.0])
    np.testing.assert_array_equal(read.forces[0], forces)
    gaps = read_molecules(tmp_path / "kept.db", energy_key="gap", need=("energies",))
    np.testing.assert_array_equal(gaps.energies, [0.5, 0.25])
    refused(tmp_path / "kept.db", "snapshot 1: energies", "as 'energy'", "keys: F, U0, gap")


def md17(**changes) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    positions = molecule("H2O").positions + 0.01 * rng.normal(size=(5, 3, 3))
    arrays = {
        "R": positions,
        "z": np.array([8, 1, 1], np.uint8),
        "E": rng.normal(size=(5, 1)),
        "F": rng.normal(size=(5, 3, 3)),
    }
    arrays |= changes
    return {name: array for name, array in arrays.items() if array is not None}


def test_the_layouts_of_md17_are_one(tmp_path):
    base = md17()
    names = {
        "upper": "R z E F",
        "lower": "r z e f",
        "revised": "coords nuclear_charges energies forces",
        "split": "R_train z E_train F_train",
        "padded": "R Z E F",
    }
    reads = {}
    for layout, words in names.items():
        arrays = dict(zip(words.split(), base.values(), strict=True))
        if layout == "revised":
            arrays |= {"energies": base["E"][:, 0], "old_energies": np.zeros(5)}
        if layout == "padded":
            filled = {name: np.pad(base[name], ((0, 0), (0, 2), (0, 0))) for name in "RF"}
            filled["R"][:, 3:] = np.nan
            arrays |= filled | {"Z": np.tile(np.array([8.0, 1, 1, 0, 0]), (5, 1))}
        np.savez(tmp_path / f"{layout}.npz", **arrays)
        split = "train" if layout == "split" else None
        reads[layout] = read_molecules(tmp_path / f"{layout}.npz", split=split)

    np.testing.assert_array_equal(reads["upper"].positions, base["R"])
    np.testing.assert_array_equal(reads["upper"].energies, base["E"][:, 0])
    padded = reads.pop("padded")
    assert padded.species.shape == (5, 5) and not padded.positions[:, 3:].any()
    reads["cut"] = padded._replace(
        **{name: getattr(padded, name)[:, :3] for name in ("species", "positions", "forces")}
    )
    for read in reads.values():
        assert [array.dtype for array in read[:4]] == [np.int32, *3 * [np.float64]]
        for array, expected in zip(read[:4], reads["upper"][:4], strict=True):
            np.testing.assert_array_equal(array, expected)


def test_every_defect_of_an_archive_is_named(tmp_path):
    base = md17()
    near, hole = base["R"].copy(), base["F"].copy()
    near[2, 1] = near[2, 2] + 0.01
    hole[3, 1, 0] = np.inf
    cases = [
        (md17(E=None), "energies", "got none among R, z, F"),
        (md17(F=None), "forces", "got none"),
        (md17(z=None), "species", "got none"),
        (md17(R=None, R_test=base["R"]), "positions", "got none", "one of test"),
        (md17(energies=base["E"]), "energies", "got E and energies"),
        (md17(R=base["R"][0]), "positions", "(snapshots, atoms, 3)", "got (3, 3)"),
        (md17(R=base["R"][:0]), "positions", "at least one snapshot", "got (0, 3, 3)"),
        (md17(z=np.array([8, 1])), "species", "shape (3,) or (5, 3)", "got (2,)"),
        (md17(F=base["F"][:4]), "forces", "shape (5, 3, 3)", "got (4, 3, 3)"),
        (md17(E=base["E"][:4]), "energies", "shape (5,)", "got (4, 1)"),
        (md17(z=np.array([8, 1, 119])), "snapshot 1: species", "got [8, 1, -1]", "no element"),
        (md17(z=np.array([8, 1, 1.5])), "snapshot 1: species", "got [8, 1, -1]"),
        (md17(z=np.array([8, np.nan, 1])), "snapshot 1: species", "got [8, -1, 1]"),
        (md17(z=np.array([8, 0, 1])), "snapshot 1: species", "zeros only", "got [8, 0, 1]"),
        (md17(z=np.array(["O", "H", "H"])), "array z", "numbers", "got <U1"),
        (md17(F=hole), "snapshot 4: forces of atom 2", "finite", "got inf"),
        (md17(E=np.full(5, np.nan)), "snapshot 1: energies", "finite", "got nan"),
        (md17(R=near), "snapshot 3: atoms 2 and 3", "0.05 Angstrom", "got 0.0173"),
        (md17(e_unit=np.array("kcal/mol")), " energy_unit ", "e_unit = kcal/mol", "got eV"),
    ]
    for index, (arrays, *parts) in enumerate(cases):
        np.savez(tmp_path / f"{index}.npz", **arrays)
        refused(tmp_path / f"{index}.npz", *parts)
    # The last file again, by someone who needs no energies; those of forces are made of them.
    last = tmp_path / f"{index}.npz"
    read_molecules(last, energy_key=None, forces_key=None, need=())
    refused(last, " energy_unit ", "e_unit = kcal/mol", energy_key=None, need=("forces",))
    np.savez(tmp_path / "twice.npz", **md17(R=base["R"][[0, 1, 2, 3, 1]]))
    with pytest.warns(UserWarning, match="snapshot 5: .* snapshot 2;"):
        read_molecules(tmp_path / "twice.npz")


def test_published_sets_are_read():
    ethanol = read_molecules(shared("rmd17_ethanol_botnet.npz"), split="test")
    assert ethanol.positions.shape == ethanol.forces.shape == (1000, 9, 3)
    assert np.all(ethanol.species == [6, 6, 8, 1, 1, 1, 1, 1, 1])
    refused(SHARED / "rmd17_ethanol_botnet.npz", "one of train, test, test_H_removal")

    amons = read_molecules(
        shared("amons_forces_dipoles_qmllib.npz"),
        split="train",
        energy_key="Eat",
        dipole_key="dipole",
        energy_unit="kcal/mol",
        dipole_unit="Debye",
        need=("energies", "forces", "dipoles"),
    )
    with np.load(SHARED / "amons_forces_dipoles_qmllib.npz") as stored:
        kcal = ase.units.kcal / ase.units.mol
        np.testing.assert_allclose(amons.energies, stored["Eat_train"] * kcal, rtol=1e-14)
        np.testing.assert_allclose(amons.dipoles, stored["dipole_train"] * 0.2081943, rtol=1e-6)
        np.testing.assert_allclose(amons.forces, stored["F_train"] * kcal, rtol=1e-14)

    qm7 = read_molecules(
        shared("qm7_qml.npz"),
        energy_key="hof_pbe0_tzvp",
        energy_unit="kcal/mol",
        need=("energies",),
    )
    assert qm7.species.shape == (7101, 23) and qm7.forces is None
