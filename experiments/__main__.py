"""Lets `python -m experiments` run the command line."""

import sys

from experiments.extras import missing_package

if __name__ == "__main__":
    try:
        from experiments.commands.main import main

        sys.exit(main())
    except ModuleNotFoundError as error:
        print(f"error: {missing_package(error)}", file=sys.stderr)
        sys.exit(2)
