"""Ports on which nothing listens."""

import socket


def free_port() -> int:
    """One that is free now."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]
