"""Fixtures for tests that need several connections, or a whole server. tests/run starts the server
that `server` describes; `cluster` makes others through scripts/pg, which knows as which user."""

import dataclasses
import itertools
import os
import pathlib
import subprocess

import helpers_http
import helpers_log
import psycopg
import pytest
from psycopg import sql

ROOT = pathlib.Path(__file__).resolve().parents[2]
numbers = itertools.count(1)


@dataclasses.dataclass
class Server:
    """A running server: how to connect to it, and the programs that belong to it."""

    host: str
    port: str
    bin: pathlib.Path
    major: int
    # A database with the extension, of which others are copies.
    template = None

    def dsn(self, dbname="postgres", user="postgres"):
        return f"host={self.host} port={self.port} user={user} dbname={dbname}"

    def connect(self, dbname="postgres", user="postgres", autocommit=True, **options):
        return psycopg.connect(self.dsn(dbname, user), autocommit=autocommit, **options)

    def run(self, program, *arguments, check=True, **options):
        """One of PostgreSQL's client programs (psql, pg_dump, …); gives a CompletedProcess."""
        env = {**os.environ, "PGHOST": self.host, "PGPORT": self.port, "PGUSER": "postgres"}
        done = subprocess.run([self.bin / program, *arguments], env=env, text=True,
                              stdin=None if "input" in options else subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)
        if check and done.returncode != 0:
            raise AssertionError(f"{program} ended with status {done.returncode}:\n{done.stderr}")
        return done


# To copy a database with the extension takes half of the time of CREATE DATABASE and CREATE EXTENSION, and to copy its
# files is a little faster than to copy its blocks. The copy then says, as the extension's script does, that its log is
# written here.
TEMPLATE = "test_template"
WRITTEN_HERE = """
    SET session_replication_role = replica;
    UPDATE immutable.cluster SET database = d.oid, noted_at = clock_timestamp()
    FROM pg_database d WHERE d.datname = current_database();
    RESET session_replication_role"""


class Database:
    """A database of its own, with the extension. `conn` is a superuser's connection to it."""

    def __init__(self, server):
        self.server = server
        self.name = f"test_{next(numbers)}"
        self.roles = []
        self.connections = []
        template = server.template or "template0"
        with server.connect() as admin:
            admin.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy").format(
                *map(sql.Identifier, (self.name, template))))
        self.conn = self.connect()
        self.conn.execute(WRITTEN_HERE if server.template else "CREATE EXTENSION immutable")

    def connect(self, role="postgres", autocommit=True, **options):
        connection = self.server.connect(self.name, role, autocommit, **options)
        self.connections.append(connection)
        return connection

    def create_role(self, attributes=""):
        """A role that may log in. Its name is unique, and it is dropped with the database.
        `attributes` is what may follow CREATE ROLE name."""
        name = f"{self.name}_role_{next(numbers)}"
        self.conn.execute(f"CREATE ROLE {name} LOGIN {attributes}")
        self.roles.append(name)
        return name

    def unguard(self):
        """Switches the guard off, for a test of what the guard would refuse."""
        helpers_log.unguard(self.conn)

    def close(self):
        for connection in self.connections:
            connection.close()
        with self.server.connect() as admin:
            admin.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(self.name)))
            for role in self.roles:
                admin.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(role)))


class Cluster(Server):
    """A server of its own, for a test that stops it, crashes it or restores into it."""

    def __init__(self, major, **settings):
        self.name = f"test_{next(numbers)}"
        env = dict(line.split("=", 1) for line in self._pg(major, "env", self.name).splitlines())
        super().__init__(env["PGHOST"], env["PGPORT"], pathlib.Path(env["IMMUTABLE_PG_BIN"]), major)
        self.data = pathlib.Path(env["IMMUTABLE_PG_DATA"])
        self.log = pathlib.Path(env["IMMUTABLE_PG_LOG"])
        self.destroy()
        self.start(**{"fsync": "off", **settings})

    @staticmethod
    def _pg(*arguments):
        done = subprocess.run([ROOT / "scripts/pg", *map(str, arguments)], text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if done.returncode != 0:
            raise AssertionError(f"scripts/pg {' '.join(map(str, arguments))}: {done.stderr}")
        return done.stdout

    def start(self, **settings):
        """Without settings, those of the last start that had some are in force."""
        self._pg(self.major, "start", self.name, *(f"{name}={value}" for name, value in settings.items()))

    def stop(self, mode="fast"):
        self._pg(self.major, "stop", self.name, mode)

    def kill9(self):
        """Ends all of the server's processes as a crash would."""
        self._pg(self.major, "kill9", self.name)

    def destroy(self):
        self._pg(self.major, "destroy", self.name)


@pytest.fixture(scope="session")
def server():
    try:
        server = Server(os.environ["PGHOST"], os.environ["PGPORT"],
                        pathlib.Path(os.environ["IMMUTABLE_PG_BIN"]), int(os.environ["IMMUTABLE_PG_MAJOR"]))
    except KeyError as missing:
        pytest.exit(f"{missing} is not set: start these tests with tests/run --only server", 1)
    with server.connect() as admin:
        admin.execute(f"CREATE DATABASE {TEMPLATE} TEMPLATE template0")
    with server.connect(TEMPLATE) as conn:
        conn.execute("CREATE EXTENSION immutable")
    server.template = TEMPLATE
    return server


@pytest.fixture(scope="session")
def dsn(server):
    return server.dsn()


@pytest.fixture
def db(server):
    database = Database(server)
    yield database
    database.close()


@pytest.fixture
def cluster(server):
    """cluster(setting=value, …) makes and starts a server that is destroyed after the test."""
    made = []

    def make(**settings):
        made.append(Cluster(server.major, **settings))
        return made[-1]

    yield make
    for each in made:
        each.destroy()


@pytest.fixture
def program(db, tmp_path):
    """program(flag=value, …) makes and starts an immutable-server on the test's database."""
    made = []

    def make(**options):
        made.append(helpers_http.Program(db, tmp_path, **options))
        return made[-1]

    yield make
    for each in made:
        each.stop(9)


@pytest.fixture
def http(program):
    """A running immutable-server with the usual flags."""
    return program()
