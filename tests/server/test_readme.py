"""The SQL and the Python in the README and the guides are run as a reader would type them, top to bottom in one session,
and print what is shown below them; links lead somewhere."""

import json
import pathlib
import re

import pytest
from psycopg import sql

ROOT = pathlib.Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.M | re.S)
ROLES = ["app", "auditor", "officer", "feed", "bi_acme"]
# Guides that are run in a database of their own, and what is there before the first block.
EXTENSION = "CREATE EXTENSION immutable;"
EVENTS = EXTENSION + ("INSERT INTO immutable.events (tenant_id, actor_id, action) "
                      "SELECT 'org_7rT2xBc', 'u', 'document.viewed' FROM generate_series(1, 20);")
GUIDES = {"README.md": "", "docs/application.md": EXTENSION, "docs/erasure.md": EXTENSION, "docs/managed.md": EXTENSION,
          "docs/reports.md": EXTENSION, "docs/runbook.md": EVENTS, "docs/testing.md": EXTENSION, "docs/verification.md": EVENTS}


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
    assert sum(block.shown is not None for block in found) == 2
    assert re.search(r"\| +0 \| +1$", output(found, "RETURNING id, lane, seq"), re.M)
    assert re.search(r"document.shared +\| Sarah Chen", output(found, "AS without_token"))
    assert re.search(r"without_token\s*\n-+\n\s+0\n", output(found, "AS without_token"))
    assert re.search(r" t +\| t +\| +1\n", output(found, "heads => :'heads'"))


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


def test_the_python_of_the_readme(server, empty):
    run(server, empty, blocks("README.md"))
    with server.connect(empty, "app") as conn:
        python("README.md", conn=conn)
    with server.connect(empty, "auditor") as conn:
        assert conn.execute("SELECT count(*) FROM immutable.events WHERE action = 'document.deleted'").fetchone() == (1,)


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
    found = run(db.server, db.name, blocks("docs/operations.md"))
    assert re.search(rf"{conn.info.backend_pid} \|\s+0 \| t", output(found, "pg_locks"))


def test_every_block_of_import_runs(db):
    db.conn.execute("CREATE TABLE old_audit AS SELECT n::bigint AS id, 'org_' || n % 300 AS org, 'u1' AS who, 'doc.read' AS what, "
                    "'doc' AS kind, 'd1' AS ref, NULL::jsonb AS data, timestamptz '2019-12-31' + n * interval '1 minute' AS at "
                    "FROM generate_series(1, 3000) n")
    printed = [block.printed for block in run(db.server, db.name, blocks("docs/import.md"))]
    assert re.search(r"missing\s*\n-+\n\s+0\n", printed[3])
    assert re.search(r"t\s+\|\s+3001\n", printed[3])
    assert re.search(r"2019-12-01 .*\|\s+5\n", printed[4])


def test_every_block_of_backup_and_restore_runs(db):
    db.conn.execute("SELECT immutable.record_restore('ticket 4711')")
    found = run(db.server, db.name, blocks("docs/backup-and-restore.md"))
    assert any("ticket 4711" in block.printed for block in found)


def test_every_block_of_scale_out_runs(db):
    run(db.server, db.name, blocks("docs/scale-out.md"))
    options, = db.conn.execute("SELECT reloptions FROM pg_class WHERE oid = 'immutable.events'::regclass").fetchone()
    assert "autovacuum_freeze_min_age=0" in options


# ---------------------------------------------------------------------------------------------------------------------
# Links

DOCUMENTS = ["README.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md"))]


def anchors(path):
    """Those of a page's headings."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", path.read_text(), flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document):
    path = ROOT / document
    text = re.sub(r"`[^`]*`", "", re.sub(r"^```.*?^```", "", path.read_text(), flags=re.M | re.S))
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), f"{document} links to {link}"
        assert not anchor or anchor in anchors(target), f"{document} links to {link}"


def test_every_page_is_linked_from_the_readme():
    linked = set(re.findall(r"\]\((docs/[\w-]+\.md)", (ROOT / "README.md").read_text()))
    assert linked == {document for document in DOCUMENTS if document.startswith("docs/")}


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 220
