"""The gallery on this machine's own address, for a browser."""

import functools
import http.server
from pathlib import Path

from covidcxr.errors import OptionError, OutputError
from covidcxr.papers.reporting.reproduction.gallery import PAGE

HOST = "127.0.0.1"
PORT = 8000
_HIGHEST = 65535


def server(folder, port=PORT):
    """Open a server of a results folder that only this machine reaches.

    Parameters
    ----------
    folder : path-like
    port : int
        0 for any that is free.

    Returns
    -------
    http.server.ThreadingHTTPServer
        Call ``serve_forever()``; ``server_port`` is its port.

    Raises
    ------
    OptionError
        If there is no such port.
    OutputError
        If the port is taken.
    """
    if not 0 <= port <= _HIGHEST:
        raise OptionError(f"--port {port}: give 0 to {_HIGHEST}")
    handler = functools.partial(_Handler, directory=str(Path(folder).resolve()))
    try:
        return http.server.ThreadingHTTPServer((HOST, port), handler)
    except OSError as error:
        raise OutputError(f"port {port}: {error.strerror}; choose another with --port") from error


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Gives out the folder's files; lists no folder and logs nothing."""

    def list_directory(self, path):
        """Refuse to list a folder without a page."""
        self.send_error(404, f"no {PAGE} here")

    def log_message(self, *args):
        """Stay silent."""
