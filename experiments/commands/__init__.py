"""The commands of `python -m experiments`: one file a command, with its own arguments."""
