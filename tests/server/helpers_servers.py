"""Whole servers beside the tests' own: copies made by pg_basebackup, archives, and what they have of the log."""

import os
import pathlib
import shutil
import subprocess
import time

from conftest import Cluster

EVENTS = "SELECT id, tenant_id, lane, seq, event_hash, previous_event_hash, salt, erased::text, created_at, occurred_at, " \
    "recorded_by, log_id, metadata::text, targets::text, actor_id FROM immutable.events ORDER BY tenant_id, lane, seq"
TARGETS = "SELECT * FROM immutable.event_targets ORDER BY tenant_id, event_id, position"


def as_server(*command):
    """Runs a program as the user that servers run as, and in a directory that it can enter."""
    prefix = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    done = subprocess.run([*prefix, *map(str, command)], cwd="/", text=True, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode == 0, f"{command[0]} ended with status {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout


class Copy(Cluster):
    """A server whose data is a base backup of another; a standby of it, once it begins."""

    def __init__(self, source):
        super().__init__(source.major)
        self.stop()
        shutil.rmtree(self.data)
        as_server(source.bin / "pg_basebackup", "-h", source.host, "-p", source.port, "-U", "postgres", "-D", self.data,
                  "--checkpoint=fast", "--no-sync", "-R")

    def begin(self, **settings):
        self.start(fsync="off", unix_socket_directories=self.host, **settings)


def write_file(path, text=""):
    """A file that the server can read."""
    path = pathlib.Path(path)
    path.write_text(text)
    if os.geteuid() == 0:
        shutil.chown(path, "postgres")


def wait_for(conn, query, seconds=60):
    """Waits until the query's one value is true."""
    deadline = time.monotonic() + seconds
    while not conn.execute(query).fetchone()[0]:
        assert time.monotonic() < deadline, f"it did not come about: {query}"
        time.sleep(0.05)


def rows(conn, query=EVENTS):
    return conn.execute(query).fetchall()


def is_valid(conn):
    """Whether the whole log verifies; shows the breaks if not."""
    valid, breaks = conn.execute("SELECT valid, breaks FROM immutable.verify_chain()").fetchone()
    assert valid, breaks
    return True


def seams(conn):
    """The metadata of every immutable.restored, in order."""
    return [metadata for metadata, in conn.execute(
        "SELECT metadata FROM immutable.events WHERE action = 'immutable.restored' ORDER BY created_at")]


def record(conn, action="a", tenant="t", **columns):
    """Records an event; gives its lane and seq."""
    names = ["tenant_id", "actor_id", "action", *columns]
    values = [tenant, "u1", action, *columns.values()]
    return conn.execute(f"INSERT INTO immutable.events ({', '.join(names)}) VALUES ({', '.join(['%s'] * len(names))}) "
                        "RETURNING lane, seq", values).fetchone()
