"""The server program, running for a test on a database of its own, and requests to it."""

import os
import pathlib
import re
import subprocess
import time

import helpers_keys
import httpx

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = pathlib.Path(os.environ.get("IMMUTABLE_SERVER", ROOT / "target/program/immutable-server"))


class Program:
    """A running immutable-server. Flags are given as listen="…", log_format="json", …; True is for a flag without a value."""

    def __init__(self, database, directory, /, login=None, environment=None, **flags):
        self.database = database
        self.login = login or database.create_role("IN ROLE immutable_server")
        self.log = pathlib.Path(directory) / f"server-{time.monotonic_ns()}.log"
        self.flags = {"listen": "127.0.0.1:0", "database": database.server.dsn(database.name, self.login), **flags}
        self.environment = environment or {}
        self.process = None
        self.start()

    def start(self):
        """Starts it, on the port that it had before if there was one."""
        arguments = []
        for name, value in self.flags.items():
            flag = "--" + name.replace("_", "-")
            for each in value if isinstance(value, list) else [value]:
                arguments += [flag] if each is True else [flag, str(each)]
        output = open(self.log, "ab")
        at = output.tell()
        self.process = subprocess.Popen([PROGRAM, *arguments], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                                        env={**os.environ, **self.environment})
        deadline = time.monotonic() + 20
        while not (found := re.search(r"listens.*?(\d+\.\d+\.\d+\.\d+:\d+)", self.log.read_text()[at:])):
            assert self.process.poll() is None, f"it ended with status {self.process.returncode}: {self.log.read_text()[at:]}"
            assert time.monotonic() < deadline, f"it does not listen: {self.log.read_text()[at:]}"
            time.sleep(0.01)
        self.flags["listen"] = found[1]
        self.url = f"http://{found[1]}"

    def stop(self, signal=15):
        """Ends it as a signal does; gives its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal)
        return self.process.wait(30)

    def key(self, scopes=("write", "read"), tenant_id=None, **options):
        """A new API key, as a client has it."""
        return helpers_keys.create(self.database.conn, scopes, tenant_id, **options)["key"]

    def request(self, method, path, key=None, **options):
        """A request; `key` is an API key or a token. Gives httpx's response."""
        headers = {**({"Authorization": f"Bearer {key}"} if key else {}), **options.pop("headers", {})}
        # To load the certificates of authorities, which nothing here needs, takes longer than the request.
        return httpx.request(method, self.url + path, headers=headers, **{"timeout": 15, "verify": False, **options})

    def get(self, path, key=None, **options):
        return self.request("GET", path, key, **options)

    def post(self, path, key=None, json=None, **options):
        return self.request("POST", path, key, **options, **({} if json is None else {"json": json}))
