"""The module that verifies a page in a browser, run by Node.js: the vectors of the other implementations, and a page of a
real log that is changed in every way."""

import json
import os
import shutil
import subprocess

import pytest

import helpers_log as h
from conftest import ROOT
from helpers_tree_model import LOG, STRANGER, W1, Model, tlog

FOLDER = ROOT / "tests/browser/evidence"
VERIFY = os.environ.get("IMMUTABLE_VERIFY")
NODE = shutil.which("node")
OTHER = tlog.SignerKey("other.example/log", bytes(range(50, 82)))


def run(*command, **environment):
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, env={**os.environ, **environment})
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    return done.stdout


def test_types():
    compiler = ROOT / "tests/browser/node_modules/.bin/tsc"
    if not compiler.exists():
        pytest.skip("tests/browser/node_modules is not installed")
    run(compiler, "-p", "tsconfig.json")


def test_vectors():
    assert "# fail 0" in run(NODE, "--test", "--test-reporter", "tap", "vectors.test.js")


def build(db):
    """16 events of several tenants, one with erased values, one with numbers, and enough others for long proofs."""
    h.build_log(db)
    id_, = db.conn.execute("SELECT id FROM immutable.events WHERE actor_id = 'user-a3'").fetchone()
    db.conn.execute("SELECT * FROM immutable.erase(%s, 'acme', ARRAY['actor_name', 'metadata.amount', 'targets.0'], 'asked')", [id_])
    db.conn.execute("SELECT immutable.track(%s::jsonb)", [
        '{"tenant_id": "acme", "actor_id": "user-n", "action": "price.set", "metadata": {"price": 1.10, "k\\"\\u00e9\\ud83d\\ude00": [true, null], '
        '"long": 123456789012345678901234567890, "": "empty", "__proto__": {"a": 0.000}}}'])
    db.conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) SELECT 'bulk', 'u', 'x' FROM generate_series(1, 300)")
    model = Model(db.conn).append().store()
    model.sign()
    model.cosign()
    return model


def signed(checkpoint, *keys):
    text = checkpoint.text()
    return text + "\n" + "".join(key.sign(text) if key is not W1 else key.sign(text, 1_800_000_000) for key in keys)


def page_of(db, http, model):
    """What a viewer's browser gets of tenant acme, and what its page trusts."""
    token, = db.conn.execute("SELECT immutable.create_viewer_token('acme') ->> 'token'").fetchone()
    answer = http.get("/api/v1/events", token, params={"evidence": "true", "limit": 100, "action": "*"}).json()
    events = [event for event in answer["data"] if not event["action"].startswith("immutable.")]
    evidence = {**answer["evidence"], "events": {event["id"]: answer["evidence"]["events"][event["id"]] for event in events}}
    foreign, = db.conn.execute("SELECT immutable.page_evidence(ARRAY(SELECT id FROM immutable.events WHERE tenant_id = 'globex' LIMIT 1))").fetchone()
    return {
        "events": events, "evidence": evidence, "foreign": foreign,
        "trust": {"origin": LOG.verifier.name, "logKeys": [str(LOG.verifier)], "witnessKeys": [str(W1.verifier)], "tenantId": "acme"},
        "stranger": str(STRANGER.verifier), "other": str(OTHER.verifier),
        "wrongRoot": signed(tlog.Checkpoint(LOG.verifier.name, model.size, bytes(32)), LOG, W1),
        "otherOrigin": signed(tlog.Checkpoint(OTHER.verifier.name, model.size, model.tree.root()), OTHER, W1),
    }


def test_a_page_of_a_log(db, http, tmp_path):
    page = page_of(db, http, build(db))
    file = tmp_path / "page.json"
    file.write_text(json.dumps(page))
    assert len(page["events"]) == 11 and all(given["index"] is not None for given in page["evidence"]["events"].values())
    said = run(NODE, "--test", "--test-reporter", "tap", "page.test.js", "without_ed25519.test.js", IMMUTABLE_PAGE=str(file))
    assert "# fail 0" in said
    receipts_hold(page, tmp_path)


def receipts_hold(page, folder):
    """What the browser calls verified is a receipt that immutable-verify takes, under the same keys."""
    policy = folder / "policy"
    policy.write_text(f"log {LOG.verifier}\nwitness w {W1.verifier}\nquorum w\n")
    for number, given in enumerate(page["evidence"]["events"].values()):
        file = folder / f"{number}.receipt"
        lines = ["immutable-receipt/v1", given["line"], "c2sp.org/tlog-proof@v1", f"index {given['index']}", *given["proof"], ""]
        file.write_text("\n".join(lines) + "\n" + page["evidence"]["checkpoint"])
        run(VERIFY, "receipt", "--policy", policy, file)
        file.write_text(file.read_text().replace('"seq":', '"seq":1'))
        assert subprocess.run([VERIFY, "receipt", "--policy", policy, file], capture_output=True).returncode == 1
