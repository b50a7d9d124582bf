"""The description of the API: held to the routes that the program has, to the scopes that open them, and to what it answers."""

import json
import os
import pathlib
import re
import subprocess
import sys

import helpers_keys as keys
import helpers_tree as t
import openapi_spec_validator
import pytest
from conftest import ROOT

SERVER = ROOT / "crates/server"
TEXT = (SERVER / "openapi.json").read_text()
DESCRIPTION = json.loads(TEXT)
OPERATIONS = {(method.upper(), path): operation for path, item in DESCRIPTION["paths"].items() for method, operation in item.items()}
# The pages and scripts of the viewer are no API.
ROUTES = [path for path in (SERVER / "src").rglob("*.rs") if "viewer" not in path.relative_to(SERVER / "src").parts]


def responses(operation):
    found = {}
    for status, response in operation["responses"].items():
        while "$ref" in response:
            response = DESCRIPTION["components"]["responses"][response["$ref"].rsplit("/", 1)[1]]
        found[int(status)] = response
    return found


def test_it_is_a_valid_description_and_is_served_as_it_is(http):
    openapi_spec_validator.validate(DESCRIPTION)
    answer = http.get("/openapi.json")
    assert answer.status_code == 200 and answer.text == TEXT and answer.headers["content-type"] == "application/json"
    version, = re.findall(r'^version = "(.*)"$', (ROOT / "Cargo.toml").read_text(), re.M)
    assert DESCRIPTION["info"]["version"] == version


def test_every_route_is_described_and_every_description_has_a_route():
    routes = set()
    for path in ROUTES:
        code = path.read_text().split("#[cfg(test)]")[0]
        for route, methods in re.findall(r'\.route\(\s*"([^"]+)",\s*((?:[^()]|\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\))*)\)', code):
            for method in re.findall(r"\b(get|post|put|patch|delete|head|any)\(", methods):
                routes.add((method.upper(), route.replace("{*", "{")))
    assert routes == set(OPERATIONS)


def test_every_status_that_the_program_answers_with_is_described():
    """Of the names of statuses in the code, none is missing from the description."""
    names = {"BAD_REQUEST": 400, "UNAUTHORIZED": 401, "FORBIDDEN": 403, "NOT_FOUND": 404, "REQUEST_TIMEOUT": 408, "CONFLICT": 409, "GONE": 410,
             "PAYLOAD_TOO_LARGE": 413, "UNSUPPORTED_MEDIA_TYPE": 415, "UNPROCESSABLE_ENTITY": 422, "TOO_MANY_REQUESTS": 429, "INTERNAL_SERVER_ERROR": 500,
             "NOT_IMPLEMENTED": 501, "SERVICE_UNAVAILABLE": 503, "OK": 200, "ACCEPTED": 202, "FOUND": 302}
    # 405 is of what is no operation, 204 of OPTIONS.
    used = {name for path in ROUTES for name in re.findall(r"StatusCode::([A-Z_]+)", path.read_text().split("#[cfg(test)]")[0])}
    used -= {"METHOD_NOT_ALLOWED", "NO_CONTENT"}
    assert used <= set(names), used - set(names)
    described = {status for operation in OPERATIONS.values() for status in responses(operation)}
    assert {names[name] for name in used} <= described
    for (method, path), operation in OPERATIONS.items():
        statuses = set(responses(operation))
        if operation["security"]:
            assert {401, 403, 422, 429, 500, 503} <= statuses, path
        if method == "POST":
            assert {400, 408, 413, 415, 422} <= statuses, path
        if "{" in path:
            assert 404 in statuses, path
        for status, response in responses(operation).items():
            if status >= 400:
                assert response["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Error"}


@pytest.fixture
def public(db, program, tmp_path):
    """A server with a public key, and a log in which each operation finds something."""
    file = tmp_path / "public-key"
    file.write_text(keys.create(db.conn, ["verify"])["key"])
    return program(public_key_file=file)


def filled(db, http):
    """What stands in paths: ids of what there is."""
    event, = db.conn.execute("SELECT immutable.track('u1', 'a.b', targets => '[{\"type\": \"x\"}]', metadata => '{\"a\": 1}') ->> 'id'").fetchone()
    t.checkpoint(db.conn)
    key = http.key(keys.SCOPES)
    export = http.post("/api/v1/exports", key).json()["id"]
    assert http.get(f"/api/v1/exports/{export}", key).json()["data"]["status"] == "completed"
    anchor = http.get("/api/v1/anchors", key).json()["data"][0]["id"]
    return {"/api/v1/events/{id}": event, "/api/v1/exports/{id}": export, "/api/v1/exports/{id}/download": export, "/api/v1/anchors/{id}": anchor,
            "/api/v1/anchors/{id}/verify": anchor, "/api/v1/public/anchors/{id}/verify": anchor, "/tile/{path}": "0/000.p/1"}


BODIES = {"/api/v1/events": {"actor_id": "u1", "action": "a.b"}, "/api/v1/events/batch": {"events": [{"actor_id": "u1", "action": "a.b"}]},
          "/api/v1/viewer-token": {"tenant_id": "t"}, "/api/v1/viewer-tokens": {"tenant_id": "t"}, "/api/v1/exports": {"actor_id": "u1"}}


def test_a_scope_opens_what_is_described_and_nothing_else(db, public):
    ids = filled(db, public)
    made = {scope: public.key([scope]) for scope in keys.SCOPES}
    everything = public.key(keys.SCOPES)
    token = public.post("/api/v1/viewer-token", everything, {"actor_id": "u1"}).json()["token"]
    expired = token.rsplit(".", 1)[0] + "." + "A" * 43
    ticket = public.get(f"/api/v1/exports/{ids['/api/v1/exports/{id}']}", everything).json()["data"]["download_url"].split("signature=")[1]
    seen = set()
    for (method, path), operation in OPERATIONS.items():
        at = re.sub(r"\{\w+\}", ids.get(path, ""), path) + ("?tx_hash=0x1" if path.endswith("lookup") else "")

        def status(bearer, at=at, method=method, path=path):
            return public.request(method, at, bearer, **({"json": BODIES[path]} if method == "POST" else {})).status_code
        scopes = {scope for way in operation["security"] for scope in way.get("key", [])}
        opened = {"/api/v1/public/anchors/lookup": 404}.get(path, 200 if path.endswith(("viewer-token", "viewer-tokens")) else 302 if path.endswith("download") else
                                                           202 if method == "POST" else 200)
        assert opened in responses(operation) , path
        if not scopes:
            assert operation["security"] == [] and {status(bearer) for bearer in (None, "rubbish", token, made["read"])} == {opened}, path
            continue
        seen |= scopes
        assert {scope: status(key) for scope, key in made.items()} == {scope: opened if scope in scopes else 403 for scope in made}, path
        assert status(token) == (opened if {"viewerToken": []} in operation["security"] else 403), path
        assert status(ticket) == 403, path
        assert {status(bearer) for bearer in (None, expired, "imk_" + "A" * 43, "rubbish")} == {401}, path
        if {"signature": []} in operation["security"]:
            assert public.get(f"{at}?signature={ticket}").status_code == 200
    # admin opens nothing over HTTP.
    assert seen == set(keys.SCOPES) - {"admin"}


def test_other_methods_and_paths_are_answered_as_objects(http):
    for path, item in DESCRIPTION["paths"].items():
        for method in {"get", "post", "put", "patch", "delete"} - set(item):
            answer = http.request(method.upper(), re.sub(r"\{\w+\}", "x", path))
            assert answer.status_code == 405, (method, path, answer.status_code)
            assert answer.json()["error"] == "method_not_allowed"
            assert {word.strip().lower() for word in answer.headers["allow"].split(",")} - {"head", "options"} == set(item)
    for path in ("/", "/api", "/api/v1", "/api/v2/events", "/api/v1/events/", "/api/v1/exports", "/tile/", "//", "/api/v1/anchors/a/b", "/%00", "/%ff", "/api/v1/events/x/y"):
        answer = http.get(path)
        assert answer.status_code in (404, 405) and isinstance(answer.json()["message"], str), path


def schemathesis(http, bearer, ids, directory, *arguments):
    """Drives the running program by the description; gives what it says if anything is wrong."""
    # Not what a description cannot say: which texts are times, cursors or patterns.
    config = ['checks.positive_data_acceptance.enabled = false']
    for path, thing in ids.items():
        name, = re.findall(r"\{(\w+)\}", path)
        config += ["[[operations]]", f'include-name = "GET {path}"', f'parameters = {{ "path.{name}" = "{thing}" }}']
    (directory / "schemathesis.toml").write_text("\n".join(config))
    command = [pathlib.Path(sys.executable).parent / "schemathesis", "--config-file", directory / "schemathesis.toml",
               "run", SERVER / "openapi.json", "--url", http.url, "-H", f"Authorization: Bearer {bearer}", "--generation-deterministic",
               "--no-color", "--no-shrink", "--continue-on-failure", "--request-timeout", "10", *arguments]
    done = subprocess.run(list(map(str, command)), cwd=directory, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    print(done.stdout)
    return None if done.returncode == 0 else done.stdout


# More for a run by hand: IMMUTABLE_SCHEMATHESIS=200.
EXAMPLES = os.environ.get("IMMUTABLE_SCHEMATHESIS", "2")


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("who, phases", [("key", "coverage,fuzzing"), ("token", "fuzzing")])
def test_no_request_that_can_be_described_breaks_it(db, public, tmp_path, who, phases):
    ids = filled(db, public)
    bearer = public.key(keys.SCOPES)
    if who == "token":
        bearer = public.post("/api/v1/viewer-token", bearer, {"actor_id": "u1"}).json()["token"]
    wrong = schemathesis(public, bearer, ids, tmp_path, "--max-examples", EXAMPLES, "--phases", phases)
    assert wrong is None, wrong
    assert "panicked" not in public.log.read_text()


GUIDE = (ROOT / "docs/http-api.md").read_text()
# What differs from run to run: ids, hashes, times, tokens, notes.
DIFFERS = [("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID"), ("\\b[0-9a-f]{64}\\b", "HASH"), (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", "TIME"),
           (r"e\w*\.[\w-]+\.[\w-]+", "TOKEN"), (r"http://[\d.:]+", "URL"), ("anc_[0-9a-f]{8}", "anc_ID"), ('"expires_at": \\d+', '"expires_at": TIME'),
           ('"next_cursor": "[\\w-]+"', '"next_cursor": CURSOR'), ('"checkpoint": "[^"]*"', '"checkpoint": NOTE')]


def masked(text):
    text = json.dumps(json.loads(text), sort_keys=True) if text.startswith("{") else text.strip()
    for pattern, word in DIFFERS:
        text = re.sub(pattern, word, text)
    return text


def test_the_guide_names_every_path_and_shows_what_is_answered(db, http, tmp_path):
    for path in DESCRIPTION["paths"]:
        assert f"{path}`" in GUIDE or f"{path}," in GUIDE, path
    for status in {status for operation in OPERATIONS.values() for status in responses(operation) if status >= 400} - {500}:
        assert re.search(rf"^\|.*\b{status}\b", GUIDE, re.M), status
    event = {"tenant_id": "org_7rT2xBc", "actor_id": "user_2hG9kLm", "actor_name": "Sarah Chen", "actor_type": "user", "resource": "document", "resource_id": "doc_1",
             "resource_name": "Q4 report", "metadata": {"via": "link"}, "targets": [{"type": "user", "id": "user_5"}]}
    for action in ("user.invited", "document.created", "document.shared"):
        made, = db.conn.execute("SELECT immutable.track(%s::jsonb) ->> 'id'", (json.dumps({**event, "action": action}),)).fetchone()
    db.conn.execute("INSERT INTO immutable.alerts (id, rule_id, rule_name, rule_type, tenant_id, event_id, is_of_actor, reason, triggered_at) "
                    "VALUES (gen_random_uuid(), gen_random_uuid(), 'Deletions', 'high_volume_destructive', 'org_7rT2xBc', %s, true, '10 events like *.deleted', now())", (made,))
    t.checkpoint(db.conn)
    script = "set -e\n" + "\necho '~~~'\n".join(re.findall(r"^```sh\n(.*?)^```", GUIDE, re.M | re.S))
    environment = {**os.environ, "URL": http.url, "KEY": f"Authorization: Bearer {http.key(keys.SCOPES)}"}
    done = subprocess.run(["bash", "-c", script], env=environment, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert done.returncode == 0, done.stderr
    shown = re.findall(r"^```sh\n.*?^```\n\n```(?:json|text)\n(.*?)^```", GUIDE, re.M | re.S)
    printed = done.stdout.split("~~~\n")
    assert len(shown) == len(printed) > 6
    for ours, theirs in zip(shown, printed, strict=True):
        assert masked(ours) == masked(theirs), theirs
