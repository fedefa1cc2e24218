"""Stands for a job before Snakemake: `python -IS client.py ADDRESS PYTHON SCRIPT`.

It has the job forked by the server at ADDRESS, with its own environment, folder and streams, and ends as the job ends. If it is
killed, the server kills the job. Where nobody answers, it becomes the process that the command would have been without it.

A file of its own that imports nothing but the standard library, so that it starts in some hundredths of a second.
"""

import json
import os
import signal
import socket
import struct
import sys

# The server's first byte; the job's status follows.
FORKED = b"+"
SERVER_ENDED = """
Error: the process that starts this run's jobs ended (killed, or out of memory?), and this job with it. Run the same command
again: what is finished is kept.
"""


def main(address: str, *command: str) -> int:
    """Runs a job in the server, or replaces this process by `command`."""
    # Only a script can be forked.
    server = _connect(address) if command[1:] and command[1].endswith(".py") else None
    if server is None:
        os.execv(command[0], command)
    job = {"command": command[1:], "folder": os.getcwd(), "environment": dict(os.environ)}
    content = json.dumps(job).encode()
    try:
        socket.send_fds(server, [struct.pack("!I", len(content))], [0, 1, 2])
        server.sendall(content)
        is_forked = server.recv(1) == FORKED
    except ConnectionError:
        is_forked = False
    if not is_forked:  # the server has just ended, or had no room for one more process
        os.execv(command[0], command)
    # Ctrl-C reaches the job as well, which has things to put in order; this ends when that has ended.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        answer = server.recv(16)
    except ConnectionError:
        answer = b""
    if not answer:
        print(SERVER_ENDED, file=sys.stderr)
        return 1
    status = int(answer)
    if status < 0:  # by a signal: end by the same one
        try:
            signal.signal(-status, signal.SIG_DFL)
        except OSError:  # SIGKILL, which nothing can catch
            pass
        os.kill(os.getpid(), -status)
    return status


def _connect(address: str) -> "socket.socket | None":
    """A connection to the server, if there is one and it is this user's."""
    server = socket.socket(socket.AF_UNIX)
    try:
        server.connect(f"\0{address}")
    except OSError:
        return None
    _, uid, _ = struct.unpack("3i", server.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return server if uid == os.getuid() else None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
