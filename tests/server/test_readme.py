"""The SQL in the README and the docs is run as a reader would type it, top to bottom in one session."""

import pathlib
import re

import pytest
from psycopg import sql

ROOT = pathlib.Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```sql\n(.*?)^```", re.M | re.S)


def blocks(file):
    found = BLOCK.findall((ROOT / file).read_text())
    assert found, f"{file} has no SQL"
    return found


@pytest.fixture
def empty(server):
    """A database without the extension; the roles of the README go with it."""
    name = "test_readme"
    with server.connect() as admin:
        for statement in ("DROP DATABASE IF EXISTS {}", "CREATE DATABASE {} TEMPLATE template0"):
            admin.execute(sql.SQL(statement).format(sql.Identifier(name)))
        yield name
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
        admin.execute("DROP ROLE IF EXISTS app, auditor, officer, feed, bi_acme")


def run(server, database, texts):
    """Runs blocks in one psql; gives what each printed. A block that says `fails: SQLSTATE` has to."""
    script = ["\\set ON_ERROR_STOP on", "\\pset footer off"]
    for text in texts:
        expected = re.search(r"-- fails: (\w{5})", text)
        script.append("\\echo ~~~")
        if expected:
            script += ["\\set ON_ERROR_STOP off", text, "\\set ON_ERROR_STOP on",
                       f"SELECT :'LAST_ERROR_SQLSTATE' = '{expected[1]}' AS expected \\gset",
                       "\\if :expected", "\\else", "\\warn this should have failed",
                       "SELECT 1/0;", "\\endif"]
        else:
            script.append(text)
    done = server.run("psql", "-X", "-q", "-d", database, "-f", "-", input="\n".join(script))
    return done.stdout.split("~~~\n")[1:]


def test_every_block_of_the_readme_runs(server, empty):
    texts = blocks("README.md")
    printed = dict(zip(texts, run(server, empty, texts)))

    def output(fragment):
        (text,) = [text for text in printed if fragment in text]
        return printed[text]

    assert re.search(r"\b0 \|\s+1 \| \\x[0-9a-f]{64}", output("RETURNING id, lane, seq"))
    assert output("track_batch").count("recorded") == 3
    assert "23502" in output("track_batch")
    assert re.search(r"t\s+\|\s+6\s+\|\s+2\s+\|\s+0", output("breaks_found FROM immutable.verify_chain()"))
    assert re.search(r"wrong\s*\n-+\n\s+0\n", output("AS wrong"))
    assert re.search(r"valid\s*\n-+\n\s+t\n", output("heads => :'heads'"))
    assert len(re.findall(r"\| actor_id *$", output("dry_run => true"), re.M)) == 2 * 5
    assert re.search(r"t\s+\|\s+5\n", output("valid, events_erased")) and "GDPR" in output("valid, events_erased")
    assert re.search(r"\| metadata\.token\n", output("metadata.token"))
    assert re.search(r"document.shared +\| Sarah Chen", output("AS without_token"))
    assert re.search(r"without_token\s*\n-+\n\s+0\n", output("AS without_token"))
    assert re.search(r"seen\s*\n-+\n org_7rT2xBc\n", output("AS seen"))
    assert "has_more" in output("get_events") and "Sarah Chen" in output("get_events")


def test_every_block_of_the_format_runs(db):
    db.conn.execute("INSERT INTO immutable.events (actor_id, action) VALUES ('u', 'a.b')")
    for printed in run(db.server, db.name, blocks("docs/hash-format.md")):
        assert re.search(r"wrong\s*\n-+\n\s+0\n", printed)


def test_every_block_of_operations_runs(db):
    conn = db.connect(autocommit=False)
    conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('t', 'u', 'a.b')")
    printed = run(db.server, db.name, blocks("docs/operations.md"))
    assert re.search(rf"{conn.info.backend_pid} \|\s+0 \| t", printed[0])


def test_every_block_of_import_runs(db):
    db.conn.execute("CREATE TABLE old_audit AS SELECT n::bigint AS id, 'org_' || n % 300 AS org, 'u1' AS who, 'doc.read' AS what, "
                    "'doc' AS kind, 'd1' AS ref, NULL::jsonb AS data, timestamptz '2019-12-31' + n * interval '1 minute' AS at "
                    "FROM generate_series(1, 3000) n")
    printed = run(db.server, db.name, blocks("docs/import.md"))
    assert re.search(r"missing\s*\n-+\n\s+0\n", printed[3])
    assert re.search(r"t\s+\|\s+3001\n", printed[3])
    assert re.search(r"2019-12-01 .*\|\s+5\n", printed[4])


def test_every_block_of_backup_and_restore_runs(db):
    db.conn.execute("SELECT immutable.record_restore('ticket 4711')")
    (printed,) = run(db.server, db.name, blocks("docs/backup-and-restore.md"))
    assert "ticket 4711" in printed


def test_every_block_of_scale_out_runs(db):
    run(db.server, db.name, blocks("docs/scale-out.md"))
    options, = db.conn.execute("SELECT reloptions FROM pg_class WHERE oid = 'immutable.events'::regclass").fetchone()
    assert "autovacuum_freeze_min_age=0" in options
