"""Software that others wrote and that reads notes, proofs and tiles: Go's sumdb packages, aics-tlog and aics-witness of
PyPI, and OpenSSL. scripts/setup installs all of them."""

import base64
import json
import os
import re
import subprocess
import sys

from conftest import ROOT
from helpers_witness import Witness

GO = ROOT / "tests/foreign/evidence.go"
MODULES = "/usr/share/gocode"  # Debian's packages of Go modules


class Go:
    """The program tests/foreign/evidence.go: one question a line, one answer a line."""

    def __init__(self, folder):
        program = folder / "evidence"
        env = {**os.environ, "GO111MODULE": "off", "GOPATH": MODULES, "GOFLAGS": "", "GOCACHE": str(folder / "cache")}
        done = subprocess.run(["go", "build", "-o", program, GO], env=env, text=True, cwd=folder,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert done.returncode == 0, done.stdout
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, op, **question):
        question = {name: base64.b64encode(value).decode() if isinstance(value, bytes) else value
                    for name, value in question.items()}
        print(json.dumps({"op": op, **question}), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())

    def opens(self, note, keys):
        """The names of the keys that signed, or None if the note is refused."""
        answer = self.ask("open", note=note, keys=keys)
        return answer.get("names", []) if answer["ok"] else None

    def holds(self, op, **question):
        return self.ask(op, **question)["ok"]

    def close(self):
        self.process.stdin.close()
        self.process.wait(timeout=30)


ED25519_DER = bytes.fromhex("302a300506032b6570032100")


def openssl_verifies(folder, public_key, message, signature):
    """Whether OpenSSL's command line verifies this Ed25519 signature."""
    for name, content in (("key.der", ED25519_DER + public_key), ("message", message), ("signature", signature)):
        (folder / name).write_bytes(content)
    done = subprocess.run(
        ["openssl", "pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey", "key.der", "-rawin", "-in", "message",
         "-sigfile", "signature"], cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert done.stdout.startswith(("Signature Verified Successfully", "Signature Verification Failure")), done.stdout
    assert (done.returncode == 0) == done.stdout.startswith("Signature Verified Successfully")
    return done.returncode == 0


def aics_tlog(*arguments):
    """(exit status, what it printed) of the command line of aics-tlog"""
    done = subprocess.run([sys.executable, "-m", "aics_tlog", *map(str, arguments)], text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.returncode, done.stdout


class AicsWitness(Witness):
    """aics-witness, with a key that it made itself."""

    ready = r"listening on http://(127\.0\.0\.1:[0-9]+)"

    def __init__(self, folder, origin, vkeys):
        super().__init__(folder)
        printed = self.run("init", "--name", "witness.example/aics", "--listen", "127.0.0.1:0")
        self.vkey = re.search(r"witness\.example/aics\+[0-9a-f]{8}\+\S+", printed)[0]
        for vkey in vkeys:
            self.run("add-log", "--origin", origin, "--vkey", vkey)
        self.start()

    def run(self, command, *arguments):
        done = subprocess.run(self.words(command, *arguments), text=True, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert done.returncode == 0, done.stdout
        return done.stdout

    def words(self, command, *arguments):
        return [sys.executable, "-m", "aics_witness", command, "--config", self.folder / "witness.json", *arguments]

    def command(self):
        return self.words("serve")
