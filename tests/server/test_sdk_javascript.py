"""The JavaScript client of the project, the TypeScript that the hosted service's documents print, plain requests as that
service's own client sends them, and curl."""

import json
import re
import shutil

import helpers_sdk
import pytest
from helpers_sdk import CLIENT, SDK, TSC, examples, node, run
from test_readme import check_shown

SCOPES = ["write", "read", "verify", "mint", "export"]
# Names by which the documents import the client.
NAMES = ["getimmutable", "@getimmutable/sdk", "pg-immutable-client"]


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


# ---------------------------------------------------------------------------------------------------------------------
# The client by itself

def test_the_client_by_itself():
    done = run("node", "--test", cwd=CLIENT, status=None)
    assert done.returncode == 0 and re.search(r"^# pass (1[89]|[2-9]\d)$", done.stdout, re.M), done.stdout


def test_the_client_needs_no_package():
    package = json.loads((CLIENT / "package.json").read_text())
    assert package["private"] is True and not {"dependencies", "peerDependencies"} & package.keys()
    imports = [name for file in [CLIENT / "index.js", *(CLIENT / "src").glob("*.js")]
               for name in re.findall(r"^(?:import|export) .*from \"(.*)\"", file.read_text(), re.M)]
    assert imports and all(name.startswith("./") for name in imports), imports


# ---------------------------------------------------------------------------------------------------------------------
# The code that the documents print

@pytest.fixture
def project(tmp_path):
    """project({file: TypeScript}) compiles modules with the client's published types, as strictly as can be, and gives the
    folder with their JavaScript."""
    def compile(modules):
        # As `npm pack` does, so that the types are those that a user of the package gets. It also checks the client's own.
        types = tmp_path / "types"
        run(TSC, "--project", CLIENT, "--noEmit", "false", "--declaration", "--emitDeclarationOnly", "--outDir", types)
        for name in NAMES:
            package = tmp_path / "node_modules" / name
            shutil.copytree(CLIENT, package, ignore=shutil.ignore_patterns("node_modules", "types", "tests"))
            shutil.copytree(types, package / "types")
        (tmp_path / "package.json").write_text('{"type": "module"}')
        for name, text in modules.items():
            (tmp_path / name).write_text(text)
        run(TSC, "--strict", "--target", "es2022", "--module", "nodenext", "--moduleResolution", "nodenext", "--skipDefaultLibCheck",
            "--lib", "es2022,dom", "--types", "", *(tmp_path / name for name in modules))
        return tmp_path
    return compile


def test_the_typescript_of_the_documents_runs_as_printed(db, http, project):
    """`import` lines included. What a page leaves to its reader, a client and the function process(), stands before it."""
    key = http.key(SCOPES)
    setting = (f'import {{ ImmutableClient, type AuditEvent }} from "pg-immutable-client";\n'
               f'const client = new ImmutableClient({{ apiKey: "{key}", baseUrl: "{http.url}" }});\n'
               "const process = (event: AuditEvent) => console.log(event.action);\n")
    modules = {name: examples(name, http.url, key)[""] for name in ("project-management.ts", "targets.ts", "list-events.ts")}
    modules["list-events.ts"] = setting + modules["list-events.ts"]
    # What the types are to refuse.
    modules["refused.ts"] = setting + """
        // @ts-expect-error: a filter that there is not
        client.getEvents({ tenant: "t" });
        // @ts-expect-error: no actor
        client.track({ action: "a.b" });
        // @ts-expect-error: an actor's id is no object
        client.actor({ id: "u" });
        // @ts-expect-error: an answer of a batch may have no id
        client.trackBatch([]).then(({ events }) => events.map((event) => event.id.length));
        """
    folder = project(modules)

    printed = run("node", folder / "project-management.js").stdout.splitlines()
    assert sorted(re.sub(r"^\S{26}Z", "", line) for line in printed[:-1]) == [
        "project.archived on null", "project.created on null", "task.created on null", "task.member_assigned on null"]
    recorded = db.conn.execute(
        "SELECT action, actor_id, session_id, resource_type, metadata, (SELECT array_agg(t ->> 'id' ORDER BY t ->> 'id') FROM jsonb_array_elements(targets) t) "
        "FROM immutable.events WHERE action LIKE 'task.%' OR action LIKE 'project.%' ORDER BY created_at, seq").fetchall()
    assert [row[:4] for row in recorded] == [
        ("project.created", "user_8f3k2", "sess_29dk3f8a", "project"), ("task.created", "user_8f3k2", "sess_29dk3f8a", "task"),
        ("task.member_assigned", "user_8f3k2", "sess_29dk3f8a", "task"), ("task.completed", "user_3m7p1q", "sess_44bf9c2e", "task"),
        ("project.archived", "user_8f3k2", "sess_29dk3f8a", "project")]
    assert [row[5] for row in recorded] == [None, ["proj_4a9f2c", "task_7b2e9d"], ["proj_4a9f2c", "task_7b2e9d", "user_3m7p1q"],
                                            ["proj_4a9f2c", "task_7b2e9d"], None]
    assert recorded[3][4] == {"task_id": "task_7b2e9d", "time_spent_hours": 12.5}
    # The viewer's token opens the tenant that it names, where nothing was recorded.
    assert http.get("/api/v1/events", printed[-1]).json()["data"] == []

    run("node", folder / "targets.js")
    shared = db.conn.execute("SELECT actor_name, jsonb_path_query_array(targets, '$[*].id') FROM immutable.events "
                             "WHERE action = 'document.shared' ORDER BY created_at, seq").fetchall()
    ids = ["folder_3mK9pLq", "team_5bR7cNx"]
    assert shared == [("Sarah Chen", ids), (None, ids)]

    db.conn.execute("INSERT INTO immutable.events (actor_id, action) SELECT 'u', 'bulk.' || n FROM generate_series(1, 230) n")
    walked = run("node", folder / "list-events.js").stdout.splitlines()
    total, = db.conn.execute("SELECT count(*) FROM immutable.events").fetchone()
    assert len(walked) == total and {f"bulk.{n}" for n in range(1, 231)} < set(walked)


def test_curl(db, http):
    key = http.key(SCOPES)
    event = (helpers_sdk.EXAMPLES / "targets.json").read_text()
    sent = run("curl", "-sS", "-f", "-X", "POST", f"{http.url}/api/v1/events", "-H", f"Authorization: Bearer {key}",
               "-H", "Content-Type: application/json", "-d", event)
    id_ = json.loads(sent.stdout)["id"]
    found = [json.loads(run("bash", "-c", text.replace("curl ", "curl -sS -f ", 1)).stdout) for text in examples("curl.sh", http.url, key).values()]
    assert [[event["id"] for event in page["data"]] for page in found] == [[id_], [id_]]
    assert [target["type"] for target in found[1]["data"][0]["targets"]] == ["folder", "team"]


# ---------------------------------------------------------------------------------------------------------------------
# Against the server

def test_every_method_of_the_client(db, http):
    db.conn.execute("INSERT INTO immutable.events (actor_id, action) VALUES ('u', 'x.y')")
    db.conn.execute("CALL immutable.checkpoint()")
    done = run("node", SDK / "client.mjs", CLIENT / "index.js", http.url, http.key(SCOPES))
    said = dict(lines(done.stdout))
    assert said["track"]["status"] == said["builder"]["status"] == "queued"
    assert said["again"]["status"] == "duplicate" and said["again"]["id"] == said["builder"]["id"]
    assert [answer["status"] for answer in said["batch"]["events"]] == ["queued", "error"]
    assert said["batch"]["events"][1]["error"] == "validation_failed"
    assert [event["action"] for event in said["events"]["data"]] == ["doc.made", "doc.shared"]
    assert said["events"]["pagination"]["has_more"] is True and said["events"]["pagination"]["total"] == 3
    event = said["event"]["data"]
    assert (event["actor_id"], event["actor_name"], event["resource_id"], event["version"]) == ("7", "Ωmega 😀", "5", 0)
    assert [target["id"] for target in event["targets"]] == ["f1", "e"] and event["metadata"] == {}
    assert event["occurred_at"] == "2026-01-02T03:04:05.678000Z" and event["session_id"] == "s1"
    assert said["verify"]["data"]["valid"] is True
    assert said["token"]["token"] and said["seen"] == 3
    assert (said["forbidden"]["status"], said["forbidden"]["code"]) == (403, "forbidden")
    assert said["alerts"]["data"] == [] and said["alerts"]["pagination"]["has_more"] is False
    assert (said["export"]["status"], said["export"]["total_rows"], said["export"]["lines"]) == ("completed", 3, 4)
    assert said["anchor"]["data"]["id"] == said["anchors"]["data"][0]["id"] == said["verified"]["data"]["anchor_id"]
    assert said["verified"]["data"]["valid"] is True
    assert (said["invalid"]["status"], said["invalid"]["code"]) == (422, "validation_failed") and "action" in said["invalid"]["errors"]
    assert (said["absent"]["status"], said["absent"]["code"]) == (404, "not_found")
    assert (said["unauthenticated"]["status"], said["unauthenticated"]["message"]) == (401, "Invalid or missing API key.")


def test_requests_as_the_documented_client_sends_them(db, http):
    done = run("node", SDK / "fetch.mjs", http.url, http.key(SCOPES))
    said = {name: (status, answer) for name, status, answer in lines(done.stdout)}
    statuses = {name: status for name, (status, _) in said.items()}
    assert statuses == {"number": 202, "targets": 202, "batch": 202, "events": 200, "target": 200, "verify": 200, "token": 200,
                        "tokens": 200, "wide": 422, "export": 202, "no such path": 404, "no such method": 405}
    assert said["events"][1]["pagination"] | {"next_cursor": "x"} == {**said["events"][1]["pagination"], "next_cursor": "x", "has_more": True, "total": 3}
    actor, metadata = db.conn.execute("SELECT actor_id, metadata FROM immutable.events WHERE id = %s", [said["number"][1]["id"]]).fetchone()
    assert (actor, metadata) == ("7", {"n": None, "when": "1970-01-01T00:00:00.000Z"})
    shared, = said["target"][1]["data"]
    assert shared["id"] == said["targets"][1]["id"] and shared["targets"][0]["name"] == "n"
    assert said["token"][1]["viewer_token"] and isinstance(said["token"][1]["expires_at"], int)
    export = said["export"][1]
    assert export["id"] == export["data"]["id"] and export["data"]["status"] == "pending"
    for name in ("wide", "no such path", "no such method"):
        assert isinstance(said[name][1]["error"], str) and said[name][1]["message"]


def test_a_page_reads_with_a_token_from_another_origin(db, http):
    db.conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, actor_name, action) "
                    "SELECT 't1', 'u', 'n' || n, 'a.b' FROM generate_series(1, 5) n")
    answer = http.post("/api/v1/viewer-token", http.key(["mint"]), {"tenant_id": "t1"}).json()
    found = json.loads(run("node", SDK / "browser.mjs", CLIENT, http.url, answer["token"], http.key(["read"])).stdout)
    assert found["events"] == ["n5", "n4", "n3", "n2", "n1"]
    assert found["expired"] == [401, "unauthenticated"] and found["key"] is None
    # The browser's own preflight refuses the POST, or the server does.
    assert found["write"] in ([0, "network"], [403, "forbidden"])


def test_a_key_of_a_tenant_and_the_builder(db, http):
    program = """
        const [module, baseUrl, apiKey] = process.argv.slice(2);
        const { ImmutableClient } = await import(module);
        const client = new ImmutableClient({ apiKey, baseUrl });
        const call = (promise) => promise.then((a) => a.status, (e) => [e.status, e.code]);
        console.log(JSON.stringify([await call(client.actor("u").track("a.b")), await call(client.actor("u").tenant("other").track("a.b"))]));"""
    done = node(program, CLIENT / "index.js", http.url, http.key(["write"], "org_7rT2xBc"))
    assert json.loads(done.stdout) == ["queued", [403, "forbidden"]]
    assert db.conn.execute("SELECT tenant_id FROM immutable.events WHERE action = 'a.b'").fetchall() == [("org_7rT2xBc",)]


# ---------------------------------------------------------------------------------------------------------------------
# The guide

def test_the_javascript_of_the_guide(http, tmp_path):
    """All blocks are one module, as a reader would type them."""
    shutil.copytree(CLIENT, tmp_path / "node_modules/pg-immutable-client")
    found = helpers_sdk.blocks("js")
    (tmp_path / "guide.mjs").write_text("".join(f'{block.text}\nconsole.log("~~~");\n' for block in found))
    done = run("node", tmp_path / "guide.mjs", environment=helpers_sdk.settings(http, http.key(SCOPES)))
    for block, printed in zip(found, done.stdout.split("~~~\n")[:-1], strict=True):
        block.printed = printed
    check_shown(found)
    assert all(block.shown is not None for block in found)


def test_the_commands_of_the_guide(http):
    found = helpers_sdk.blocks("sh")
    for block in found:
        block.printed = run("bash", "-c", block.text, environment=helpers_sdk.settings(http, http.key(SCOPES))).stdout
    check_shown(found)
    assert all(block.shown is not None for block in found)


def test_the_readme_of_the_client(http, tmp_path):
    shutil.copytree(CLIENT, tmp_path / "node_modules/pg-immutable-client")
    text, = re.findall(r"^```js\n(.*?)^```", (CLIENT / "README.md").read_text(), re.M | re.S)
    (tmp_path / "readme.mjs").write_text(text.replace("imk_…", http.key(SCOPES)).replace("https://audit.example.com", http.url))
    assert re.fullmatch(r"\S+Z task.created null\n", run("node", tmp_path / "readme.mjs").stdout)
