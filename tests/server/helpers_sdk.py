"""Programs of others, run against the server program: the published Python client, applications, Node."""

import json
import os
import pathlib
import re
import subprocess
import sys
import time

import test_readme

ROOT = pathlib.Path(__file__).resolve().parents[2]
SDK = ROOT / "tests/sdk"
EXAMPLES = SDK / "examples"
GUIDE = ROOT / "docs/sdk.md"
CLIENT = ROOT / "clients/js"
TSC = ROOT / "tests/browser/node_modules/.bin/tsc"
# The versions of httpx under the Python client: that of the tests' environment, and what scripts/setup put beside it.
HTTPX = {"0.28": {}, "0.27": {"PYTHONPATH": str(pathlib.Path(os.environ.get("IMMUTABLE_STATE", "/")) / "httpx-other")}}
# The first line of a block that is a file says which.
FILE = re.compile(r"# (\S+\.py)\n")
# What the documents print for the reader to replace.
ADDRESS = "https://getimmutable.dev"
KEYS = re.compile(r"imk_your_api_key(_here)?|imk_sk_a1b2c3d4e5f6g7h8i9j0")


def filled_in(text, url, key):
    """A text of the documents with the server's address and a key."""
    return KEYS.sub(key, text.replace(ADDRESS, url))


def examples(name, url, key):
    """The parts of a file of examples by their titles, filled in."""
    text = filled_in((EXAMPLES / name).read_text(), url, key)
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


def settings(program, key):
    """The environment that the guide's programs read."""
    return {"IMMUTABLE_BASE_URL": program.url, "IMMUTABLE_API_KEY": key, "FLASK_IMMUTABLE_BASE_URL": program.url,
            "FLASK_IMMUTABLE_API_KEY": key}


def blocks(language):
    """The guide's blocks of a language that are no files of an application, with what is shown to be their output."""
    found = [block for block in test_readme.blocks("docs/sdk.md", language) if not FILE.match(block.text)]
    assert found
    return found


def files(heading):
    """The files of an application under a heading of the guide, by their paths."""
    section = re.search(rf"^### {heading}\n(.*?)^##", GUIDE.read_text(), re.M | re.S)[1]
    found = {FILE.match(text)[1]: text for text in re.findall(r"^```python\n(.*?)^```", section, re.M | re.S)}
    assert found
    return found
