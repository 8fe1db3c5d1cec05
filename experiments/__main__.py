"""Lets `python -m experiments` run the command line."""

import sys

from experiments.commands.main import main

sys.exit(main())
