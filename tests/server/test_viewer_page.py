"""The viewer: how its files are served, and every feature in a real Chromium.

SCENARIO="live" tests/run --pg 15 test_viewer_page runs the scenarios alone that have this in their names."""

import base64
import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess

import pytest

import helpers_log as h
from conftest import ROOT
from helpers_tree_model import LOG, W1, Model

FOLDER = ROOT / "tests/browser"
MODULES = FOLDER / "node_modules"
CHROMIUM = os.environ.get("IMMUTABLE_CHROMIUM") or shutil.which("chromium")
SOURCES = ROOT / "crates/server/viewer"


def test_types():
    if not MODULES.exists():
        pytest.skip("tests/browser/node_modules is not installed")
    done = subprocess.run([MODULES / ".bin/tsc", "-p", "."], cwd=FOLDER, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_no_markup_is_made_of_text():
    """Values are text nodes. A policy forbids the rest in browsers that know Trusted Types; this forbids it in all."""
    forbidden = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\(|new Function|setAttribute\('style")
    for file in SOURCES.rglob("*.js"):
        assert not forbidden.search(file.read_text()), file


def test_every_module_is_loaded_at_once():
    page = (SOURCES / "index.html").read_text()
    named = set(re.findall(r'href="viewer/([^"]+\.js)"', page))
    there = {str(file.relative_to(SOURCES)) for file in SOURCES.rglob("*.js")} - {"types.js", "page.js"}
    assert named == there


def test_the_page_is_for_everyone_and_kept_by_nobody(http):
    page = http.get("/viewer?token=secret")
    assert page.status_code == 200 and page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["cache-control"] == "no-store" and page.headers["referrer-policy"] == "no-referrer"
    assert "x-frame-options" not in page.headers and "secret" not in page.text
    policy = page.headers["content-security-policy"]
    assert policy.endswith("frame-ancestors *") and "unsafe" not in policy and "default-src 'none'" in policy
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\bon\w+=|style=", page.text), "nothing is inline"
    assert "secret" not in http.log.read_text()


def test_who_may_frame_it_is_the_operators_choice(program):
    policy = program(frame_ancestors="'self' https://app.example.com").get("/viewer").headers["content-security-policy"]
    assert policy.endswith("; frame-ancestors 'self' https://app.example.com")
    with pytest.raises(AssertionError, match="no source of a Content-Security-Policy"):
        program(frame_ancestors="*; script-src *")


def test_modules_are_compressed_and_asked_for_again(http):
    plain = http.get("/viewer/element.js", headers={"Accept-Encoding": "identity"})
    packed = http.get("/viewer/element.js", headers={"Accept-Encoding": "br, gzip;q=0.5"})
    assert plain.text == packed.text == (SOURCES / "element.js").read_text()
    assert packed.headers["content-encoding"] == "gzip" and "content-encoding" not in plain.headers
    assert "content-encoding" not in http.get("/viewer/element.js", headers={"Accept-Encoding": "gzip;q=0"}).headers
    assert "Accept-Encoding" in packed.headers["vary"] and packed.headers["access-control-allow-origin"] == "*"
    assert packed.headers["cache-control"] == "no-cache" and packed.headers["x-content-type-options"] == "nosniff"
    for known in (packed.headers["etag"], f'"x", W/{packed.headers["etag"]}', "*"):
        again = http.get("/viewer/element.js", headers={"If-None-Match": known})
        assert again.status_code == 304 and again.content == b"" and again.headers["etag"] == packed.headers["etag"]
    assert http.get("/viewer/element.js", headers={"If-None-Match": '"other"'}).status_code == 200
    assert http.request("HEAD", "/viewer/element.js").status_code == 200
    assert http.get("/viewer.js").headers["content-type"] == "text/javascript; charset=utf-8"


def test_other_paths_are_json(http):
    for path in ("/viewer/", "/viewer/nothing.js", "/viewer/index.html", "/viewer/../Cargo.toml", "/viewer/%2e%2e/viewer.js",
                 "/viewer/..%2Fviewer.js", "/viewer/lang", "/viewer/lang/", "/viewer//element.js"):
        answer = http.get(path)
        assert answer.status_code == 404 and answer.json()["error"] == "not_found", path


def test_pins_are_the_hashes_of_what_is_served(http):
    pins = http.get("/viewer/integrity.json").json()
    assert {"viewer.js", "viewer/element.js", "viewer/evidence/index.js"} <= set(pins)
    for path, pin in pins.items():
        assert pin == "sha384-" + base64.b64encode(hashlib.sha384(http.get(f"/{path}").content).digest()).decode(), path


def test_what_is_sent_is_small():
    sent = sum(len(gzip.compress(file.read_bytes())) for file in SOURCES.rglob("*.*") if file.suffix in (".js", ".css", ".html", ".svg"))
    assert sent <= 150 * 1024


def make_log(db):
    """A log with a checkpoint that a witness cosigned: erased values, numbers with many digits, and 300 events of another tenant."""
    h.build_log(db)
    id_, = db.conn.execute("SELECT id FROM immutable.events WHERE actor_id = 'user-a3'").fetchone()
    db.conn.execute("SELECT * FROM immutable.erase(%s, 'acme', ARRAY['actor_name', 'metadata.amount', 'targets.0'], 'asked')", [id_])
    db.conn.execute("SELECT immutable.track(%s::jsonb)", [
        '{"tenant_id": "acme", "actor_id": "user-n", "action": "price.set", "metadata": {"price": 1.10, '
        '"long": 123456789012345678901234567890, "__proto__": {"a": 0.000}}}'])
    db.conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) SELECT 'bulk', 'u', 'x' FROM generate_series(1, 300)")
    model = Model(db.conn).append().store()
    model.sign()
    model.cosign()


@pytest.mark.timeout(600)
def test_every_feature_in_a_browser(db, http):
    if not CHROMIUM or not MODULES.exists():
        pytest.skip("there is no Chromium, or tests/browser/node_modules is not installed")
    make_log(db)

    def token(tenant):
        return db.conn.execute("SELECT immutable.create_viewer_token(%s) ->> 'token'", [tenant]).fetchone()[0]

    environment = {
        "program": http.url, "chromium": CHROMIUM, "token": token("acme"), "bulk": token("bulk"), "witness": W1.verifier.name,
        "trust": {"origin": LOG.verifier.name, "logKeys": [str(LOG.verifier)], "witnessKeys": [str(W1.verifier)], "tenantId": "acme"},
    }
    done = subprocess.run(["node", "viewer.mjs", json.dumps(environment), os.environ.get("SCENARIO", "")], cwd=FOLDER, capture_output=True, text=True, timeout=600)
    results = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    for result in results:
        print(f"{result['milliseconds']:6} ms  {result['name']}  {result.get('notes') or ''}")
    failed = [f"{result['name']}:\n{result['error']}" for result in results if result["error"]]
    assert results and not failed and done.returncode == 0, "\n\n".join(failed) or done.stderr
