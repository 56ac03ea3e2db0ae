"""Ports for the servers that tests start on the loopback."""

import socket


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return probe.getsockname()[1]
