"""Programs of others, run against the server program: the published Python client, applications, Node."""

import json
import os
import pathlib
import re
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
SDK = ROOT / "tests/sdk"
EXAMPLES = SDK / "examples"
CLIENT = ROOT / "clients/js"
TSC = ROOT / "tests/browser/node_modules/.bin/tsc"
# The versions of httpx under the Python client: that of the tests' environment, and what scripts/setup put beside it.
HTTPX = {"0.28": {}, "0.27": {"PYTHONPATH": str(pathlib.Path(os.environ.get("IMMUTABLE_STATE", "/")) / "httpx-other")}}
# What the documents print for the reader to replace.
ADDRESS = "https://getimmutable.dev"
KEYS = re.compile(r"imk_your_api_key(_here)?|imk_sk_a1b2c3d4e5f6g7h8i9j0")


def examples(name, url, key):
    """The parts of a file of examples by their titles, with the server's address and a key."""
    text = KEYS.sub(key, (EXAMPLES / name).read_text().replace(ADDRESS, url))
    parts = re.split(r"^(?:#|//) == (.*)\n", text, flags=re.M)
    return dict(zip(parts[1::2], parts[2::2])) or {"": text}


def run(*command, environment=None, cwd=None, status=0, **options):
    """Runs a program to its end; gives a CompletedProcess with texts."""
    done = subprocess.run([str(part) for part in command], env={**os.environ, **(environment or {})}, cwd=cwd, text=True,
                          stdin=None if "input" in options else subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, timeout=60, **options)
    assert status is None or done.returncode == status, f"{command[:3]}:\n{done.stdout}\n{done.stderr}"
    return done


def node(program, *arguments, status=0, environment=None):
    """Runs a module of JavaScript that is given as text."""
    return run("node", "--input-type=module", "-", *arguments, input=program, status=status, environment=environment)


class Application:
    """A program that serves HTTP on a port of its own, and says on which."""

    def __init__(self, directory, *command, environment=None):
        self.log = directory / "application.log"
        with open(self.log, "wb") as output:
            self.process = subprocess.Popen([sys.executable, *map(str, command)], cwd=directory, stdin=subprocess.DEVNULL,
                                            stdout=output, stderr=output, env={**os.environ, **(environment or {})})
        deadline = time.monotonic() + 60
        while not (found := re.search(r"unning on (http://\S+:\d+)", self.log.read_text())):
            assert self.process.poll() is None and time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)
        self.url = found[1]

    def stop(self):
        self.process.kill()
        self.process.wait()


def python(pieces, httpx="0.28", environment=None):
    """Runs pieces of Python with the published client, as {title: text}; gives {title: {printed, raised}}."""
    done = run(sys.executable, SDK / "run_python.py", input=json.dumps(pieces), environment={**HTTPX[httpx], **(environment or {})})
    answer = json.loads(done.stdout)
    assert answer["httpx"].startswith(httpx + "."), answer["httpx"]
    return answer["ran"]
