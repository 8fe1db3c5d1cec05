PYTHON ?= python3
RUN := .venv/bin/python

.PHONY: demo ethanol test test-fast lint style docs wheel

# Learns five-body dynamics with a frame-averaged network and with the same network alone, then
# handwritten digits at any angle with group convolutions; draws a molecule with its frames.
demo: .venv/installed
	$(RUN) -m experiments train configs/nbody_demo.yaml
	$(RUN) -m experiments train configs/nbody_demo_unconstrained.yaml
	$(RUN) -m experiments report runs/nbody_demo runs/nbody_demo_unconstrained
	$(RUN) -m experiments train configs/digits_demo.yaml
	$(RUN) -m experiments frames pyridine --out runs

# Simulates ethanol with GFN2-xTB, trains an exactly invariant potential on it, and predicts with it.
ethanol: .venv/installed
	$(RUN) -m pip install --quiet --disable-pip-version-check --editable '.[dev,molecules]'
	$(RUN) -m experiments train configs/ethanol_demo.yaml
	$(RUN) -c "from ase.build import molecule; molecule('CH3CH2OH').write('runs/ethanol.xyz')"
	$(RUN) -m experiments predict runs/ethanol_demo runs/ethanol.xyz --overwrite

# Lint, and every test, the examples of the documentation among them; types at the same time.
test: style
	$(RUN) -m mypy & $(RUN) -m pytest -n 2 --dist worksteal && wait $$!

# Lint, types, and the laws of the library in one dtype.
test-fast: lint
	$(RUN) -m pytest -n 2 --dist worksteal -m fast tests/library

lint: style
	$(RUN) -m mypy

style: .venv/installed
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .

# An HTML reference of the public names, in build/docs.
docs: .venv/installed
	$(RUN) -m tests.docs.reference build/docs

# Builds the wheel in dist, and tries it in a new environment; needs a package registry.
wheel: .venv/installed
	$(RUN) tests/check_wheel.py dist

.venv/installed: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 12))' || \
		{ echo "Python 3.12 or newer is needed; name one with make PYTHON=python3.13"; exit 1; }
	$(PYTHON) -m venv .venv
	$(RUN) -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	touch $@
