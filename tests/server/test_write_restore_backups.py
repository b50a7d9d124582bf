"""Which dumps are complete, and what a partly restored log is: a dump that leaves rows out fails, and no part of a
log passes for the whole."""

import pathlib
import re

import psycopg
import pytest

from helpers_servers import is_valid, record, rows, seams
from test_write_restore import check_equal, check_goes_on, dump, fill, refused, restore, target  # noqa: F401

PROBLEMS = "SELECT unnest(problems) FROM immutable.status()"


@pytest.fixture
def logins(db):
    """Logins of every kind that might run a dump."""
    made = {"plain": db.create_role("IN ROLE pg_read_all_data"),
            "auditor": db.create_role("IN ROLE pg_read_all_data, immutable_auditor"),
            "reader": db.create_role("IN ROLE pg_read_all_data"),
            "heir": db.create_role(),
            "exempt": db.create_role("BYPASSRLS IN ROLE pg_read_all_data")}
    db.conn.execute("SELECT immutable.grant_tenant(%s, 't')", [made["reader"]])
    db.conn.execute(f"GRANT {made['plain']} TO {made['heir']}")
    return made


def dump_as(db, user, path, *options):
    return restore(db.server, "pg_dump", "-F", "c", "-d", db.name, "-f", path, *options, user=user, options={}, check=False)


@pytest.mark.parametrize("form", [[], ["--inserts"]])
def test_a_dump_that_leaves_rows_out_fails(db, logins, tmp_path, form):
    fill(db.conn)
    for name in ("plain", "auditor", "reader", "heir"):
        whole = dump_as(db, logins[name], tmp_path / "dump", *form)
        assert whole.returncode != 0 and "row-level security" in whole.stderr
        part = dump_as(db, logins[name], tmp_path / "dump", "--enable-row-security", *form)
        assert part.returncode != 0 and "row security would leave out the rows of immutable." in part.stderr, name
        assert "without --enable-row-security" in part.stderr
    # With events alone an auditor's dump lacks nothing.
    db.conn.execute("SET immutable.allow_ddl = on; DROP EXTENSION immutable; RESET immutable.allow_ddl; CREATE EXTENSION immutable")
    db.conn.execute("REVOKE immutable_viewer FROM " + logins["reader"])
    record(db.conn)
    for name in ("plain", "reader", "heir"):
        assert dump_as(db, logins[name], tmp_path / "dump", "--enable-row-security", *form).returncode != 0
    whole = dump_as(db, logins["auditor"], tmp_path / "whole", "--enable-row-security", *form)
    assert whole.returncode == 0, whole.stderr
    assert str(rows(db.conn, "SELECT id FROM immutable.events")[0][0]) in db.server.run(
        "pg_restore", "-f", "-", str(tmp_path / "whole")).stdout


def test_a_member_of_pg_read_all_data_gets_an_error_about_row_security(db, logins):
    """A query of events shows what the policies let through, as any does; what a dump would leave out is an error."""
    fill(db.conn)
    conn = db.connect(logins["plain"])
    assert conn.execute("SELECT count(*) FROM immutable.events").fetchone() == (0,)
    assert conn.execute("SELECT count(*) FROM immutable.viewer_keys").fetchone() == (0,)
    for table in ("log", "revocations", "tenant_grants"):
        for query in ("SELECT * FROM {}", "SELECT count(*) FROM {}", "SELECT FROM {} a JOIN {} b ON true", "SELECT 1 WHERE EXISTS (TABLE {})"):
            diag = refused(conn, "42501", query.format(*[f"immutable.{table}"] * 2))
            assert table in diag.message_primary and "BYPASSRLS" in diag.message_hint
    assert db.connect(logins["auditor"]).execute("SELECT count(*) FROM immutable.log").fetchone() == (1,)
    # Row security does not apply to the owner, superusers and BYPASSRLS.
    assert db.connect(logins["exempt"]).execute("SELECT count(*) FROM immutable.revocations").fetchone() == (2,)


def test_status_names_the_logins_whose_dumps_fail(db, logins):
    said, = [problem for problem, in rows(db.conn, PROBLEMS) if "pg_read_all_data" in problem]
    for name, role in logins.items():
        assert (role in said) is (name != "exempt"), name
    notices = []
    conn = db.connect()
    conn.add_notice_handler(lambda notice: notices.append((notice.message_primary, notice.message_hint)))
    conn.execute("SET immutable.allow_ddl = on; DROP EXTENSION immutable; RESET immutable.allow_ddl; CREATE EXTENSION immutable")
    (warned, hint), = [notice for notice in notices if "pg_dump" in notice[0]]
    assert logins["plain"] in warned and logins["exempt"] not in warned and "BYPASSRLS" in hint


@pytest.mark.parametrize("kind", ["whole", "log"])
def test_the_login_that_the_guide_makes_dumps_everything(db, server, target, tmp_path, kind):  # noqa: F811
    fill(db.conn, db.create_role())
    backup = db.create_role("BYPASSRLS")
    db.conn.execute(f"GRANT USAGE ON SCHEMA immutable TO {backup}")
    # The statements of docs/backup-and-restore.md.
    guide = (pathlib.Path(__file__).resolve().parents[2] / "docs/backup-and-restore.md").read_text()
    grants = re.findall(r"^    (GRANT SELECT ON immutable\..*) TO backup;$", guide, re.M)
    assert len(grants) == 6
    for grant in grants:
        db.conn.execute(f"{grant} TO {backup}")
    db.conn.execute(f"GRANT USAGE ON SCHEMA app TO {backup}; GRANT SELECT ON ALL TABLES IN SCHEMA app TO {backup}")
    for secret in ("viewer_keys", "log_secrets"):
        refused(db.connect(backup), "42501", f"SELECT count(*) FROM immutable.{secret}")
    done = dump_as(db, backup, tmp_path / "dump", *(["-n", "immutable", "-e", "immutable"] if kind == "log" else []))
    assert done.returncode == 0, done.stderr
    restore(server, "pg_restore", "-e", "--no-privileges", "-d", target, tmp_path / "dump")
    with server.connect(target) as restored:
        check_equal(db, restored)
        check_goes_on(restored)


def problems(conn):
    return [problem for problem, in rows(conn, PROBLEMS) if "identity" in problem]


@pytest.mark.parametrize("how", ["excluded", "listed"])
def test_a_copy_without_events_does_not_pass_for_the_log(db, server, target, tmp_path, how):  # noqa: F811
    fill(db.conn)
    if how == "excluded":
        path = dump(db, tmp_path / "dump", "-F", "c", "--exclude-table-data=immutable.events")
        restore(server, "pg_restore", "-e", "-d", target, path)
    else:
        path = dump(db, tmp_path / "dump", "-F", "c")
        listed = server.run("pg_restore", "-l", str(path)).stdout
        (tmp_path / "list").write_text("".join(
            line for line in listed.splitlines(True) if "TABLE DATA immutable events" not in line))
        restore(server, "pg_restore", "-e", "-L", tmp_path / "list", "-d", target, path)
    with server.connect(target) as restored:
        said, = problems(restored)
        assert "no event" in said
        writer = server.connect(target)
        assert record(writer, "staging") == (0, 1)
        seam, = seams(restored)
        assert seam["from"] is None and "last_event_at" not in seam
        assert rows(restored, "SELECT action FROM immutable.events ORDER BY created_at") == [("immutable.restored",), ("staging",)]
        record(writer)
        assert len(seams(restored)) == 1 and problems(restored) == []
        writer.close()


def test_a_copy_of_the_schema_is_a_log_of_its_own(db, server, target, tmp_path):  # noqa: F811
    fill(db.conn)
    path = dump(db, tmp_path / "dump", "-F", "c", "--exclude-table-data=immutable.*")
    restore(server, "pg_restore", "-e", "-d", target, path, options={})
    with server.connect(target) as restored:
        record(restored)
        assert seams(restored) == [] and problems(restored) == []
        assert rows(restored, "SELECT log_id FROM immutable.log") != rows(db.conn, "SELECT log_id FROM immutable.log")


def test_events_restored_before_the_identity_wait_for_it(db, server, target, tmp_path):  # noqa: F811
    fill(db.conn)
    path = dump(db, tmp_path / "dump", "-F", "c", "--exclude-table-data=immutable.log")
    restore(server, "pg_restore", "-e", "-d", target, path)
    with server.connect(target) as restored, server.connect(target) as other:
        said, = problems(restored)
        assert "no identity" in said
        for tenant in ("t", "", "new"):
            diag = refused(restored, "55000", "INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES (%s, 'u', 'a')", [tenant])
            assert "no identity" in diag.message_primary
        assert rows(restored, "SELECT count(*) FROM immutable.log") == [(0,)] and seams(restored) == []
        # The identity of another log is refused.
        restored.execute("SET immutable.restore = on")
        refused(restored, "XX001", "INSERT INTO immutable.log (log_id, created_at) VALUES (gen_random_uuid(), now())")
        restored.execute("RESET immutable.restore")
        # Following the hint works.
        statements = diag.message_hint.split(": ", 1)[1].rstrip(".").split("; ")
        assert len(statements) == 3
        for statement in statements:
            restored.execute(statement)
        assert rows(restored, "SELECT log_id FROM immutable.log") == rows(db.conn, "SELECT log_id FROM immutable.log")
        assert problems(restored) == []
        check_goes_on(other)


def test_grants_alone_are_a_restore_too(db, server, target, tmp_path):  # noqa: F811
    fill(db.conn, db.create_role())
    path = dump(db, tmp_path / "dump", "-F", "c", "--exclude-table-data=immutable.log", "--exclude-table-data=immutable.events")
    member = db.create_role("BYPASSRLS")
    with server.connect(target) as restored:
        restored.execute("CREATE EXTENSION immutable")
        restored.execute(f"GRANT immutable_restorer TO {member}; GRANT SET ON PARAMETER immutable.restore TO {member}")
        try:
            restore(server, "pg_restore", "-e", "--data-only", "-n", "immutable", "-d", target, path, user=member)
            assert record(restored, "first") == (0, 1)
            assert len(seams(restored)) == 1 and problems(restored) == [] and is_valid(restored)
        finally:
            restored.execute(f"REVOKE immutable_restorer FROM {member}; REVOKE SET ON PARAMETER immutable.restore FROM {member}")


def test_a_database_made_from_a_template_begins_its_own_log(db, server):
    """The extension in a template does not count as a restore."""
    for conn in db.connections:
        conn.close()
    name = f"{db.name}_copy"
    with server.connect() as admin:
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {db.name}")
        try:
            with server.connect(name) as copy:
                record(copy)
                assert seams(copy) == [] and problems(copy) == [] and is_valid(copy)
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_the_owner_of_the_database_dumps_the_rest(db, tmp_path):
    fill(db.conn)
    owner = db.create_role()
    db.conn.execute(f"ALTER DATABASE {db.name} OWNER TO {owner}; ALTER SCHEMA app OWNER TO {owner}; ALTER TABLE app.t OWNER TO {owner}")
    try:
        assert dump_as(db, owner, tmp_path / "dump").returncode != 0
        for option in ("-N", "--exclude-extension=immutable") if db.server.major >= 17 else ("-N",):
            done = dump_as(db, owner, tmp_path / "dump", *([option, "immutable"] if option == "-N" else [option]))
            assert done.returncode == 0, (option, done.stderr)
    finally:
        db.conn.execute(f"ALTER DATABASE {db.name} OWNER TO postgres; ALTER SCHEMA app OWNER TO postgres; ALTER TABLE app.t OWNER TO postgres")
