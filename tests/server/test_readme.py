"""The code in the README and the guides is run as a reader would type it, top to bottom in one session, and prints what is
shown below it; the index has every guide. Links are test_docs.py's."""

import json
import pathlib
import re

import psycopg
import pytest
import quickjs
from psycopg import sql

ROOT = pathlib.Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.M | re.S)
ROLES = ["delivery", "app", "auditor", "officer", "feed", "bi_acme", "keeper", "web", "records"]
# Guides that are run in a database of their own, and what is there before the first block.
EXTENSION = "CREATE EXTENSION immutable;"
EVENTS = EXTENSION + ("INSERT INTO immutable.events (tenant_id, actor_id, action) "
                      "SELECT 'org_7rT2xBc', 'u', 'document.viewed' FROM generate_series(1, 20);")
GUIDES = {"README.md": "", "docs/action-schemas.md": EXTENSION, "docs/alerts.md": EXTENSION,
          "docs/api-keys.md": EXTENSION, "docs/deliveries.md": EXTENSION,
          "docs/application.md": EXTENSION, "docs/erasure.md": EXTENSION, "docs/evidence.md": EVENTS,
          "docs/exports.md": EVENTS, "docs/maintenance.md": EVENTS, "docs/managed.md": EXTENSION,
          "docs/reading.md": EVENTS, "docs/reports.md": EXTENSION, "docs/retention.md": EXTENSION, "docs/runbook.md": EVENTS, "docs/security-model.md": EVENTS, "docs/segments.md": EVENTS, "docs/server.md": EXTENSION,
          "docs/testing.md": EXTENSION, "docs/verification.md": EVENTS}


class Block:
    """A block of SQL, and what is shown to be its output."""

    def __init__(self, text):
        self.text, self.shown, self.printed = text, None, None


def blocks(file, language="sql"):
    """The blocks of a language; a block of text right after one is its output."""
    found, end = [], None
    text = (ROOT / file).read_text()
    for match in BLOCK.finditer(text):
        if match[1] == language:
            found.append(Block(match[2]))
        elif match[1] == "text" and found and end is not None and not text[end:match.start()].strip():
            found[-1].shown = match[2]
        end = match.end() if match[1] == language else None
    return found


@pytest.fixture
def empty(server):
    """A database without the extension; the roles of the guides go with it."""
    name = "test_readme"
    with server.connect() as admin:
        for statement in ("DROP DATABASE IF EXISTS {}", "CREATE DATABASE {} TEMPLATE template0"):
            admin.execute(sql.SQL(statement).format(sql.Identifier(name)))
        yield name
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        admin.execute(f"DROP ROLE IF EXISTS {', '.join(ROLES)}")


def run(server, database, found):
    """Runs blocks in one psql, and keeps what each printed. A line that says `fails: SQLSTATE` has to."""
    script = ["\\set ON_ERROR_STOP on", "\\pset footer off"]
    for block in found:
        script.append("\\echo ~~~")
        for line in block.text.splitlines():
            expected = re.search(r"-- fails: (\w{5})", line)
            if not expected:
                script.append(line)
                continue
            script += ["\\set ON_ERROR_STOP off", line, "\\set ON_ERROR_STOP on",
                       f"SELECT :'LAST_ERROR_SQLSTATE' = '{expected[1]}' AS expected \\gset",
                       "\\if :expected", "\\else", "\\warn this should have failed",
                       "SELECT 1/0;", "\\endif"]
    done = server.run("psql", "-X", "-q", "-d", database, "-f", "-", input="\n".join(script))
    for block, printed in zip(found, done.stdout.split("~~~\n")[1:], strict=True):
        block.printed = printed
    return found


def normal(text):
    """The lines of an output without what changes from run to run, and without its frame."""
    for pattern, word in ((r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UUID"), (r"[0-9a-f]{64}", "HASH"),
                          (r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)(Z|[+-]\d\d)", "TIME")):
        text = re.sub(pattern, word, text)
    lines = (re.sub(r"\s*\|\s*", " | ", re.sub(r"\s*\+$", "", line)).strip() for line in text.splitlines())
    return [line for line in lines if line and not re.fullmatch(r"[-+]+", line)]


def check_shown(found):
    """What a block shows, line for line, is part of what it prints. JSON may have its lines where it likes."""
    for block in found:
        if block.shown is not None and block.shown.startswith("{"):
            shown, printed = ("".join("".join(normal(text)).split()) for text in (block.shown, block.printed))
            assert shown in printed, f"{block.text}\nshows\n{shown}\nand prints\n{printed}"
        elif block.shown is not None:
            shown, printed = normal(block.shown), normal(block.printed)
            assert any(printed[at:at + len(shown)] == shown for at in range(len(printed) - len(shown) + 1)), \
                f"{block.text}\nshows\n" + "\n".join(shown) + "\nand prints\n" + "\n".join(printed)


def output(found, fragment):
    (printed,) = [block.printed for block in found if fragment in block.text]
    return printed


@pytest.mark.parametrize("guide", GUIDES)
def test_every_block_of_a_guide_runs_and_prints_what_it_shows(server, empty, guide):
    with server.connect(empty) as conn:
        conn.execute(GUIDES[guide] or "SELECT")
    found = blocks(guide)
    assert found, f"{guide} has no SQL"
    check_shown(run(server, empty, found))
    with server.connect(empty) as conn:
        assert conn.execute("SELECT valid FROM immutable.verify_chain()").fetchone() == (True,)


def test_the_readme(server, empty):
    found = run(server, empty, blocks("README.md"))
    assert sum(block.shown is not None for block in found) == 1
    assert re.search(r"\| +0 \| +1$", output(found, "RETURNING id, lane, seq"), re.M)
    assert re.search(r"document.shared +\| Sarah Chen", output(found, "AS without_token"))
    assert re.search(r"without_token\s*\n-+\n\s+0\n", output(found, "AS without_token"))
    assert re.search(r"key_is_made\s*\n-+\n\s+t\n", output(found, "key_is_made"))


def test_the_erasing_of_the_guide(server, empty):
    with server.connect(empty) as conn:
        conn.execute(EXTENSION)
    found = run(server, empty, blocks("docs/erasure.md"))
    first = output(found, "dry_run => true")
    assert len(re.findall(r"^ actor_id *$", first, re.M)) == 2 and len(re.findall(r"^ metadata.size *$", first, re.M)) == 2
    assert re.search(r"^ t +\| +1\n", first, re.M) and "GDPR" in first


def python(guide, **names):
    """Runs the blocks of Python of a guide, after its SQL, in one namespace."""
    found = blocks(guide, "python")
    assert found
    names["json"] = json
    for block in found:
        exec(compile(block.text, guide, "exec"), names)
    return names


def test_the_python_of_the_application_guide(server, empty):
    with server.connect(empty) as conn:
        conn.execute(EXTENSION)
    run(server, empty, blocks("docs/application.md"))
    with server.connect(empty, "app") as app, server.connect(empty, "auditor") as auditor:
        names = python("docs/application.md", conn=app, auditor=auditor)
        total, = auditor.execute("SELECT count(*) FROM immutable.events WHERE tenant_id = 'org_7rT2xBc'").fetchone()
        assert len(names["delivered"]) == total > 5
        assert names["delivered"][-1]["action"] == "invoice.paid" and names["delivered"][-1]["actor"]["id"] == "user_2hG9kLm"
        # It goes on where it was.
        app.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('org_7rT2xBc', 'u', 'later')")
        later = []
        names["copy_events"](auditor, "org_7rT2xBc", names["position"], lambda events, position: later.extend(events))
        assert [event["action"] for event in later] == ["later"]


def javascript(guide, conn, **names):
    """Runs the blocks of JavaScript of a guide as node-pg would: every parameter reaches the server as a text."""
    found = blocks(guide, "js")
    assert found
    for block in found:
        context = quickjs.Context()
        for name, value in names.items():
            context.set(name, value)
        context.eval("""var queries = [], failure = null;
            const client = { query: async (text, values = []) => { queries.push([text, values]); return { rows: [] }; } };""")
        context.eval("(async () => {" + block.text + "})().catch(error => { failure = String(error); })")
        while context.execute_pending_job():
            pass
        assert context.get("failure") is None, context.get("failure")
        queries = json.loads(context.eval("JSON.stringify(queries)"))
        assert queries
        with psycopg.RawCursor(conn) as cursor:
            for text, values in queries:
                assert all(isinstance(value, str) for value in values), values
                cursor.execute(text, values)


def test_the_javascript_of_the_application_guide(server, empty):
    with server.connect(empty) as conn:
        conn.execute(EXTENSION)
    run(server, empty, blocks("docs/application.md"))
    with server.connect(empty, "app") as conn:
        javascript("docs/application.md", conn, tenantId="org_js", userId="user_js")
    with server.connect(empty, "auditor") as conn:
        recorded = conn.execute("SELECT actor_id, action, targets #>> '{0,id}' FROM immutable.events "
                                "WHERE tenant_id = 'org_js' ORDER BY seq").fetchall()
        assert recorded == [("user_js", "invoice.paid", "cus_1"), ("user_js", "document.shared", "team_5bR7cNx")]


def test_a_copy_of_the_template_of_the_guide_begins_its_own_log(server):
    statements = re.findall(r"^    (\S.*;)$", (ROOT / "docs/testing.md").read_text(), re.M)
    assert statements == ["CREATE DATABASE audit_template;", "CREATE EXTENSION immutable;"]
    with server.connect() as admin:
        admin.execute("DROP DATABASE IF EXISTS test_of_template")
        admin.execute("DROP DATABASE IF EXISTS audit_template")
        try:
            admin.execute(statements[0])
            with server.connect("audit_template") as conn:
                conn.execute(statements[1])
            admin.execute("CREATE DATABASE test_of_template TEMPLATE audit_template")
            with server.connect("test_of_template") as conn:
                conn.execute("SELECT immutable.track('u', 'a')")
                assert conn.execute("SELECT array_agg(action) FROM immutable.events").fetchone() == (["a"],)
        finally:
            admin.execute("DROP DATABASE IF EXISTS test_of_template")
            admin.execute("DROP DATABASE IF EXISTS audit_template")


def test_the_relay_of_the_guide(server, empty):
    """Events arrive once, also when the relay ends between the two commits; one that is refused stops it, and stays."""
    with server.connect(empty) as source:
        source.execute(EXTENSION)
        run(server, empty, blocks("docs/managed.md"))
        with server.connect(empty) as log:
            relay = python("docs/managed.md")["relay"]

            class Dies:
                """A source that is gone once the log has committed."""
                def transaction(self):
                    return source.transaction()

                def execute(self, statement, *arguments):
                    if statement.startswith("DELETE"):
                        raise ConnectionError
                    return source.execute(statement, *arguments)

            with pytest.raises(ConnectionError):
                relay(Dies(), log)
            count = "SELECT (SELECT count(*) FROM audit_outbox), (SELECT count(*) FROM immutable.events)"
            assert source.execute(count).fetchone() == (1, 1)
            assert relay(source, log) == 1
            assert source.execute(count).fetchone() == (0, 1)
            assert relay(source, log) == 0
            source.execute("INSERT INTO audit_outbox (event) VALUES ('{\"action\": \"a\"}')")
            with pytest.raises(ValueError, match="refuses"):
                relay(source, log)
            assert source.execute(count).fetchone() == (1, 1)


def test_every_block_of_the_format_runs(db):
    db.conn.execute("INSERT INTO immutable.events (actor_id, action) VALUES ('u', 'a.b')")
    for block in run(db.server, db.name, blocks("docs/hash-format.md")):
        assert re.search(r"wrong\s*\n-+\n\s+0\n", block.printed)


def test_every_block_of_operations_runs(db):
    conn = db.connect(autocommit=False)
    conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('t', 'u', 'a.b')")
    found = blocks("docs/operations.md")
    who_waits = [block for block in found if "pg_locks" in block.text]
    run(db.server, db.name, who_waits)
    assert re.search(rf"{conn.info.backend_pid} \|\s+0 \| t", output(who_waits, "pg_locks"))
    conn.commit()
    # To the end, where the extension is dropped.
    check_shown(run(db.server, db.name, found))


def test_every_block_of_import_runs(db):
    db.conn.execute(re.search(r"^    (CREATE TABLE old_audit .*);$", (ROOT / "docs/import.md").read_text(), re.M)[1])
    db.conn.execute("INSERT INTO old_audit SELECT n, 'org_' || n % 300, 'u1', 'doc.read', 'doc', 'd1', NULL, "
                    "timestamptz '2019-12-31' + n * interval '1 minute' FROM generate_series(1, 3000) n")
    printed = [block.printed for block in run(db.server, db.name, blocks("docs/import.md"))]
    assert re.search(r"missing\s*\n-+\n\s+0\n", printed[3])
    assert re.search(r"t\s+\|\s+3001\n", printed[3])
    assert re.search(r"2019-12-01 .*\|\s+5\n", printed[4])


def test_every_block_of_backup_and_restore_runs(db):
    db.conn.execute("SELECT immutable.record_restore('ticket 4711')")
    found = run(db.server, db.name, blocks("docs/backup-and-restore.md"))
    assert any("ticket 4711" in block.printed for block in found)


def test_every_block_of_scale_out_runs(db):
    on_one_machine = (ROOT / "docs/scale-out.md").read_text().split("## Many machines", 1)[0]
    # The others are run by tests/citus/test_guide.py.
    check_shown(run(db.server, db.name, [block for block in blocks("docs/scale-out.md") if block.text in on_one_machine]))
    options, = db.conn.execute("SELECT reloptions FROM pg_class WHERE oid = 'immutable.events'::regclass").fetchone()
    assert "autovacuum_freeze_min_age=0" in options


# Guides whose blocks are run by a test of their own: above, in test_errors.py, in test_applications.py, in test_sdk_*.py, in
# test_deliveries_destinations.py, in test_capture_guide.py or in tests/browser/features.mjs.
ELSEWHERE = {"docs/backup-and-restore.md", "docs/delivery-formats.md", "docs/errors.md", "docs/hash-format.md", "docs/import.md",
             "docs/operations.md", "docs/orm.md", "docs/row-changes.md", "docs/scale-out.md", "docs/sdk.md", "docs/viewer.md"}


# ---------------------------------------------------------------------------------------------------------------------
# The index

DOCUMENTS = ["README.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md"))]


def test_every_guide_is_in_the_index():
    assert "](docs/README.md)" in (ROOT / "README.md").read_text()
    linked = {f"docs/{name}" for name in re.findall(r"\]\(([\w-]+\.md)", (ROOT / "docs/README.md").read_text())}
    assert linked == {document for document in DOCUMENTS if document.startswith("docs/")} - {"docs/README.md"}


def test_the_code_of_every_guide_is_run():
    with_code = {document for document in DOCUMENTS if any(blocks(document, language) for language in ("sql", "python", "js"))}
    assert with_code == GUIDES.keys() | ELSEWHERE


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 220
