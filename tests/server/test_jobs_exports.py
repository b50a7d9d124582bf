"""Exports for download: what is in one, for how long, and for whom; and that its lines are CSV for other readers and verify
offline."""

import csv
import io
import json
import uuid

import psycopg
import pytest

import helpers_keys as k
import helpers_log as h
from conftest import Database
from test_read_export import verify

NAMES = ("id,actor_id,actor_name,actor_type,action,action_category,resource,resource_id,resource_name,targets,metadata,"
         "tenant_id,session_id,ip_address,ip_country,ip_city,user_agent,idempotency_key,version,event_hash,"
         "previous_event_hash,occurred_at,created_at,lane,seq,recorded_by,log_id,erased,unreadable")
TIME = "to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
# The cells of a row, as SQL makes them.
AS_SQL = ["id::text", "actor_id", "actor_name", "actor_type", "action", "action_category", "resource_type", "resource_id",
          "resource_name", "targets::text", "metadata::text", "tenant_id", "session_id", "host(ip_address)", "ip_country",
          "ip_city", "user_agent", "idempotency_key", "version::text", "encode(event_hash, 'hex')",
          "encode(previous_event_hash, 'hex')", TIME.format("occurred_at"), TIME.format("created_at"), "lane::text",
          "seq::text", "recorded_by", "log_id::text"]


def create(conn, **filters):
    given = ", ".join(f"{name} => %({name})s" for name in filters)
    answer, = conn.execute(f"SELECT immutable.create_export({given})", filters).fetchone()
    assert answer == {"data": {"id": answer["id"], "status": "pending"}, "id": answer["id"]}
    return answer["id"]


def get(conn, export):
    answer, = conn.execute("SELECT immutable.get_export(%s)", [export]).fetchone()
    return answer and answer["data"]


def rows(conn, export, form="csv"):
    return [line for line, in conn.execute("SELECT immutable.export_rows(%s, %s)", [export, form]).fetchall()]


def cells(conn, export, form="csv"):
    """The rows of the CSV, as Python reads them; each has as many cells as there are names."""
    table = list(csv.reader(io.StringIO("\n".join(rows(conn, export, form)), newline="")))
    assert ",".join(table[0]) == NAMES and {len(row) for row in table} == {len(table[0])}
    return [dict(zip(table[0], row)) for row in table[1:]]


def actors(conn, export):
    return [row["actor_id"] for row in cells(conn, export)]


def track(conn, tenant="acme", actor="u1", **given):
    names = "".join(f", {name} => %({name})s" for name in given)
    event, = conn.execute(f"SELECT immutable.track(tenant_id => %(t)s, actor_id => %(a)s, action => 'a.b'{names})",
                          {"t": tenant, "a": actor, **given}).fetchone()
    return event


def maintain(conn):
    return conn.execute("CALL immutable.run_maintenance()").fetchone()[0]["exports"]


def refused(conn, statement, *arguments):
    with pytest.raises(psycopg.Error) as error:
        conn.execute(statement, arguments).fetchall()
    return error.value.sqlstate, error.value.diag.message_primary


def refused_rows(conn, export, form="csv"):
    return refused(conn, "SELECT immutable.export_rows(%s, %s)", export, form)


def refused_get(conn, export):
    return refused(conn, "SELECT immutable.get_export(%s)", export)


@pytest.fixture(scope="module")
def shared(server):
    database = Database(server)
    yield database
    database.close()


# ---------------------------------------------------------------------------------------------------------------------
# What is in an export

def test_the_events_that_were_committed(db, tmp_path):
    """Not those of transactions that ran, were prepared, or recorded the export; whatever commits later."""
    conn = db.conn
    track(conn, actor="before")
    with db.connect(autocommit=False) as running, db.connect(autocommit=False) as own:
        track(running, actor="running")
        track(own, actor="own")
        # A transaction with a greater number than that of `own` ends before the pin.
        track(conn, actor="also before")
        export = create(own, tenant_id="acme")
        assert actors(own, export) == ["before", "also before"]
        track(own, actor="own, later")
        own.commit()
        assert sorted(actors(conn, export)) == ["also before", "before"]
        running.commit()
    track(conn, actor="later")
    assert sorted(actors(conn, export)) == ["also before", "before"]
    status, summary = verify([line.encode() for line in rows(conn, export, "ndjson")], tmp_path / "export")
    assert status == 3 and summary["whole"] and summary["events_checked"] == 2
    # Each attempt has the same bytes.
    assert rows(conn, export) == rows(conn, export)
    assert get(conn, export)["total_rows"] == 2


def test_a_download_while_others_write(db):
    conn = db.conn
    for number in range(300):
        track(conn, actor=f"u{number}")
    export = create(conn)
    with db.connect(autocommit=False) as reader, db.connect() as writer:
        cursor = reader.cursor("download")
        cursor.execute("SELECT immutable.export_rows(%s, 'ndjson')", [export])
        lines = [line for line, in cursor.fetchmany(50)]
        for number in range(5):
            track(writer, actor="during")
        lines += [line for line, in cursor.fetchall()]
    # What the export itself recorded is not in it either.
    assert len(lines) == 302 and lines == rows(conn, export, "ndjson")
    assert json.loads(lines[-1])["events"] == 300
    assert not any("during" in line for line in lines)


def test_the_filters_are_those_of_get_events(shared):
    conn = shared.conn
    tenant = "filters"
    for number in range(6):
        track(conn, tenant, f"u{number % 3}", resource="doc", resource_id=f"d{number}", session_id=f"s{number % 2}",
              metadata=psycopg.types.json.Jsonb({"note": f"Größe {number}"}),
              targets=psycopg.types.json.Jsonb([{"type": "team", "id": f"t{number % 2}"}]))
    for filters in ({"actor_id": "u1"}, {"action": "a.*"}, {"resource": "doc", "resource_id": "d3"}, {"session_id": "s1"},
                    {"target_type": "team", "target_id": "t0"}, {"search": "GRÖSSE 4"}, {"search": "größe"},
                    {"from_date": "2020-01-01", "to_date": "2020-01-02"}, {"from_date": "2020-01-01"},
                    {"actor_id": "nobody"}, {"from_date": "infinity"}):
        export = create(conn, tenant_id=tenant, **filters)
        given = ", ".join(f"{name} => %({name})s" for name in filters)
        page, = conn.execute(f"SELECT immutable.get_events(tenant_id => 'filters', {given}, \"limit\" => 100)",
                             filters).fetchone()
        assert {row["id"] for row in cells(conn, export)} == {event["id"] for event in page["data"]}, filters
        shown = get(conn, export)
        assert (shown["status"], shown["total_rows"]) == ("completed", len(page["data"])), filters
        assert set(shown["filters"]) == {"tenant_id", *filters}


def test_hostile_filters(shared):
    conn = shared.conn
    track(conn, "hostile", "'; DROP TABLE immutable.events; --")
    track(conn, "hostile", "$1")
    for actor, found in ("'; DROP TABLE immutable.events; --", 1), ("$1", 1), ("%", 0), ("\\", 0), ('"', 0):
        export = create(conn, tenant_id="hostile", actor_id=actor)
        assert len(cells(conn, export)) == found and get(conn, export)["filters"]["actor_id"] == actor
    assert refused(conn, "SELECT immutable.create_export(search => repeat('x', 4097))")[0] == "22001"
    assert refused(conn, "SELECT immutable.create_export(action => 'a,b')")[0] == "22023"
    assert refused(conn, "SELECT immutable.create_export(from_date => 'soon')")[0] == "22007"
    export = create(conn, tenant_id="hostile", search="ä" * 2048)
    assert cells(conn, export) == [] and get(conn, export)["total_rows"] == 0


# ---------------------------------------------------------------------------------------------------------------------
# CSV

TEXTS = ["plain", "a,b", 'say "no"', '"', '""', "two\nlines", "dos\r\nlines", "\r", "\n", " padded ", "tab\t", "\\N", "\\.", "\\",
         "=1+1", "@x", "é ä 漢字 \U0001f600", "\x01\x02\x7f", "\u2028\u2029\x85", "\ufeff", "'", ";", "NULL", "x" * 255]


@pytest.fixture(scope="module")
def texts(shared):
    """An export of events with every kind of character in every text."""
    conn = shared.conn
    for text in TEXTS:
        track(conn, "csv", text, actor_name=text, resource="doc", resource_id=text, resource_name=text, session_id=text,
              user_agent=text, ip_address="192.0.2.7", ip_city=text, version=-7,
              metadata=psycopg.types.json.Jsonb({text: text, "n": [1, {"b": None}]}),
              targets=psycopg.types.json.Jsonb([{"type": "t", "id": text, "name": text}]))
    # An empty text is not NULL.
    track(conn, "csv", "last", actor_name="", metadata=psycopg.types.json.Jsonb({"big": "y\n" * 20_000}))
    return create(conn, tenant_id="csv")


def expected(conn, tenant):
    cells_of = ", ".join(f"({cell})" for cell in AS_SQL)
    return conn.execute(f"SELECT {cells_of} FROM immutable.events e WHERE e.tenant_id = %s ORDER BY e.lane, e.seq",
                        [tenant]).fetchall()


def same(theirs, ours):
    """Each row's cells, in which JSON is compared as such."""
    assert len(theirs) == len(ours)
    for their, our in zip(theirs, ours):
        for name, left, right in zip(NAMES.split(","), their, our):
            if name in ("targets", "metadata"):
                left, right = json.loads(left), json.loads(right)
            assert left == right, name


def test_python_reads_the_csv(shared, texts):
    found = cells(shared.conn, texts)
    same([[cell or "" for cell in row] for row in expected(shared.conn, "csv")], [list(row.values()) for row in found])
    assert {(row["erased"], row["unreadable"]) for row in found} == {("", "")}


def test_postgresql_reads_the_csv_that_psql_writes(shared, texts, tmp_path):
    """With the options of the documentation. NULL and the empty text stay apart."""
    path = tmp_path / "export.csv"
    shared.server.run("psql", "-X", "-q", "-A", "-t", "-v", "FETCH_COUNT=7", "-v", "ON_ERROR_STOP=1", "-d", shared.name,
                      "-c", f"SELECT immutable.export_rows('{texts}')", "-o", str(path))
    conn = shared.conn
    conn.execute(f"CREATE TEMPORARY TABLE read_back ({', '.join(f'{name} text' for name in NAMES.split(','))})")
    with conn.cursor().copy("COPY read_back FROM STDIN WITH (FORMAT csv, HEADER match)") as copy:
        copy.write(path.read_bytes())
    found = conn.execute("SELECT * FROM read_back ORDER BY lane::int, seq::int").fetchall()
    same(expected(conn, "csv"), [row[:len(AS_SQL)] for row in found])
    assert all(row[len(AS_SQL):] == (None, None) for row in found)
    conn.execute("DROP TABLE read_back")
    # The same bytes as from any driver.
    assert path.read_bytes() == "".join(line + "\n" for line in rows(conn, texts)).encode()


def test_the_guard_against_formulas(shared, texts):
    conn = shared.conn
    plain, guarded = cells(conn, texts), cells(conn, texts, "csv_spreadsheet")
    for before, after in zip(plain, guarded):
        for name, value in before.items():
            is_text = name not in ("targets", "metadata", "version")
            assert after[name] == ("'" + value if is_text and value[:1] in ("=", "+", "-", "@", "\t", "\r") and value else value)
    assert plain[0]["version"] == "-7" and any(row["actor_id"] == "'=1+1" for row in guarded)


def test_ndjson_is_that_of_export_events(shared, texts):
    conn = shared.conn
    lines = rows(conn, texts, "ndjson")
    direct = [line for line, in conn.execute("SELECT immutable.export_events(tenant_id => 'csv')").fetchall()]
    assert lines[1:] == direct[1:]
    header, theirs = json.loads(lines[0]), json.loads(direct[0])
    created_at = get(conn, texts)["created_at"]
    assert header == {**theirs, "created_at": created_at}


def test_a_value_that_cannot_be_read(db, tmp_path):
    conn = db.conn
    track(conn, actor="u1", metadata=psycopg.types.json.Jsonb({"k": "v" * 200}))
    track(conn, actor="u2")
    with h.behind_triggers(conn):
        conn.execute("UPDATE immutable.events SET occurred_at = 'infinity', event_hash = decode(repeat('00', 32), 'hex') WHERE actor_id = 'u1'")
    export = create(conn)
    damaged, sound = cells(conn, export)[:2]
    assert (damaged["occurred_at"], damaged["event_hash"], damaged["unreadable"]) == ("", "00" * 32, "occurred_at")
    assert (sound["actor_id"], sound["unreadable"]) == ("u2", "")
    status, summary = verify([line.encode() for line in rows(conn, export, "ndjson")], tmp_path / "export")
    assert status == 1 and summary["breaks_found"] >= 1


# ---------------------------------------------------------------------------------------------------------------------
# Erasures

def test_erased_between_the_pin_and_the_download(db, tmp_path):
    """The values are gone, and the records of the erasures make the file verify; nothing else that is newer is in it."""
    conn = db.conn
    first = track(conn, actor="alice", actor_name="Alice Smith", metadata=psycopg.types.json.Jsonb({"note": "secret 17"}))
    track(conn, actor="bob")
    track(conn, "globex", "carol")
    whole, acme = create(conn), create(conn, tenant_id="acme")
    filtered = create(conn, tenant_id="acme", action="a.*")
    track(conn, actor="alice", actor_name="newer")
    conn.execute("SELECT immutable.erase(%s, 'acme', '{metadata.note}', 'request 1')", [first["id"]]).fetchall()
    conn.execute("SELECT immutable.erase_subject('acme', 'alice', 'request 2')").fetchall()
    conn.execute("SELECT immutable.erase_subject('globex', 'carol', 'request 3')").fetchall()
    # This record lists no event of the exports.
    newest = track(conn, actor="dave")
    conn.execute("SELECT immutable.erase(%s, 'acme', '{actor_id}', 'request 4')", [newest["id"]]).fetchall()
    h.check_breaks(conn)
    for export, events, records in (whole, 3, 3), (acme, 2, 2), (filtered, 2, 0):
        lines = rows(conn, export, "ndjson")
        text = "\n".join(lines)
        assert not any(value in text for value in ("alice", "Alice", "secret 17", "newer", "dave", "request 4"))
        status, summary = verify([line.encode() for line in lines], tmp_path / "export")
        assert (status, summary["events_checked"], summary.get("later_records", 0)) == (3, events, records), summary
        assert summary["erasures_checked"] == (records > 0)
        assert "alice" not in "\n".join(rows(conn, export))
    erased = [json.loads(row["erased"]) for row in cells(conn, acme) if row["erased"]]
    assert erased == [["actor_id", "actor_name", "metadata"]]
    # Without the records it would not verify.
    without = [line for line in rows(conn, acme, "ndjson") if not line.startswith('{"later_record":')]
    status, summary = verify([line.encode() for line in without], tmp_path / "export")
    assert status == 1 and {found.type for found in summary["breaks"]} == {"erasure_mismatch"}


def test_an_erasure_ends_exports_whose_filters_name_the_person(db):
    conn = db.conn
    event = track(conn, actor="alice", actor_name="Alice Smith", session_id="s-alice", resource="user", resource_id="alice-res",
                  metadata=psycopg.types.json.Jsonb({"email": "alice@example.com"}))
    track(conn, "globex", "alice")
    named = [{"actor_id": "alice"}, {"session_id": "s-alice"}, {"resource_id": "alice-res"},
             {"search": "ALICE smi"}, {"search": "example.com"}]
    others = [{"actor_id": "bob"}, {"tenant_id": "globex", "actor_id": "alice"}, {"search": "nothing"}, {"action": "alice"}, {}]
    made = []
    for filters in named + others:
        made.append(create(conn, **filters))
        maintain(conn)
    conn.execute("SELECT immutable.erase_subject('acme', 'alice', 'a dry run', dry_run => true)").fetchall()
    assert {get(conn, export)["status"] for export in made} == {"completed"}
    conn.execute("SELECT immutable.erase(%s, 'acme', '{resource_id,metadata.email}', 'request 1')", [event["id"]]).fetchall()
    failed = lambda: [get(conn, export)["status"] == "failed" for export in made]
    assert failed() == [False, False, True, False, True] + [False] * 5
    conn.execute("SELECT immutable.erase_subject('acme', 'alice', 'request 2')").fetchall()
    assert failed() == [True] * 5 + [False] * 5
    for export, filters in zip(made, named):
        shown = get(conn, export)
        assert shown["filters"] == dict.fromkeys(filters) and shown["error_message"] == "a value of its filters was erased"
        assert refused_rows(conn, export)[0] == "55000"
    stored = conn.execute("SELECT string_agg(x::text, '') FROM immutable.exports x WHERE status = 'failed'").fetchone()[0]
    assert "lice" not in stored and "example.com" not in stored
    # Nothing that was recorded of the exports names anybody.
    recorded = conn.execute("SELECT string_agg(e.metadata::text || e.resource_id, '') FROM immutable.events e "
                            "WHERE action = 'immutable.export_created'").fetchone()[0]
    assert "actor_id" in recorded and "lice" not in recorded


# ---------------------------------------------------------------------------------------------------------------------
# How many, how long, and what ends them

def test_five_at_once(db):
    conn = db.conn
    track(conn)
    made = [create(conn) for _ in range(5)]
    state, message = refused(conn, "SELECT immutable.create_export()")
    assert (state, message) == ("54000", "5 exports are not counted yet, which is the most at once")
    # A refusal leaves nothing behind.
    assert conn.execute("SELECT count(*) FROM immutable.exports").fetchone() == (5,)
    assert conn.execute("SELECT count(*) FROM immutable.events WHERE action = 'immutable.export_created'").fetchone() == (5,)
    assert get(conn, made[0])["status"] == "completed"
    made.append(create(conn))
    assert refused(conn, "SELECT immutable.create_export()")[0] == "54000"
    assert maintain(conn) == {"completed": 5}
    assert maintain(conn) is None
    assert [get(conn, export)["total_rows"] for export in made] == [1, 2, 3, 4, 5, 6]
    create(conn)
    conn.execute("INSERT INTO immutable.exports SELECT gen_random_uuid(), tenant_id, filters, pin, pinned_in, 'completed', 0, "
                 "NULL, NULL, created_at, expires_at, created_by FROM immutable.exports, generate_series(1, 200) "
                 "WHERE id = %s", [made[0]])
    conn.execute("INSERT INTO immutable.exports SELECT gen_random_uuid(), tenant_id, filters, pin, pinned_in, 'completed', 0, "
                 "NULL, NULL, created_at, expires_at, created_by FROM immutable.exports, generate_series(1, 4)")
    assert refused(conn, "SELECT immutable.create_export()") == (
        "54000", "1000 exports have not expired, which is the most at once")


def test_two_who_make_the_fifth(db):
    """The second waits for the first, and then there are five."""
    conn = db.conn
    for _ in range(4):
        create(conn)
    with db.connect(autocommit=False) as first, db.connect() as second:
        create(first)
        second.execute("SET lock_timeout = '50ms'")
        assert refused(second, "SELECT immutable.create_export()")[0] == "55P03"
        first.commit()
        assert refused(second, "SELECT immutable.create_export()")[0] == "54000"


def test_expired_unknown_and_failed(db):
    conn = db.conn
    track(conn)
    export, failed = create(conn, actor_id="u1"), create(conn, actor_id="u2")
    shown = get(conn, export)
    assert shown["expires_at"][:10] > shown["created_at"][:10] and conn.execute(
        "SELECT expires_at - created_at = '7 days' FROM immutable.exports").fetchone() == (True,)
    assert (shown["file_size"], shown["download_url"], shown["error_message"]) == (None, None, None)
    # Unknown, and unknown formats.
    nobody = str(uuid.uuid4())
    assert get(conn, nobody) is None and get(conn, None) is None
    assert refused_rows(conn, nobody) == ("P0002", f"there is no export {nobody}")
    assert refused_rows(conn, None)[0] == "22004" and refused_rows(conn, export, None)[0] == "22004"
    assert refused_rows(conn, export, "xlsx") == ("22023", "format must be csv, csv_spreadsheet or ndjson")
    # Expired: at once, and after maintenance, which removes the filters.
    conn.execute("UPDATE immutable.exports SET expires_at = now() WHERE id = %s", [export])
    for did in {"expired": 1, "completed": 1}, None:
        assert refused_rows(conn, export) == ("55000", f"export {export} has expired")
        assert refused_get(conn, export) == ("55000", f"export {export} has expired")
        assert maintain(conn) == did
    assert conn.execute("SELECT filters, pin FROM immutable.exports WHERE id = %s", [export]).fetchone() == ({}, None)
    conn.execute("UPDATE immutable.exports SET expires_at = now() - interval '31 days' WHERE id = %s", [export])
    assert maintain(conn) == {"removed": 1} and get(conn, export) is None
    # What a superuser does to a row is no crash.
    for change in ("filters = '[1]'", "filters = '{\"actor_id\": 1, \"x\": {}}'", "counted_to = 'x', status = 'pending'",
                   "pin = NULL", "pinned_in = NULL, status = 'processing'"):
        conn.execute(f"UPDATE immutable.exports SET {change} WHERE id = %s", [failed])
        get(conn, failed)
    assert get(conn, failed)["status"] == "failed" and refused_rows(conn, failed)[0] == "55000"
    # Filters that cannot be read let nothing pass, and other exports are counted.
    damaged, sound = create(conn, actor_id="u1"), create(conn, actor_id="u1")
    for filters in '[]', 'null', '{"actor_id": 1}', '{"actor_id": null}', '{"actor": "u1"}', '{"from_date": "x"}':
        conn.execute("UPDATE immutable.exports SET filters = %s, status = 'pending', counted_to = NULL WHERE id = %s", [filters, damaged])
        conn.execute("UPDATE immutable.exports SET status = 'pending', counted_to = NULL WHERE id = %s", [sound])
        assert maintain(conn) == {"completed": 1} and get(conn, sound)["total_rows"] == 1, filters
        assert (get(conn, damaged)["status"], get(conn, damaged)["error_message"]) == ("failed", "its filters are damaged")
        assert refused_rows(conn, damaged) == ("55000", f"export {damaged} failed: its filters are damaged")


def test_a_seam_ends_exports(db):
    conn = db.conn
    track(conn)
    completed, pending = create(conn), create(conn)
    assert get(conn, completed)["status"] == "completed"
    conn.execute("SELECT immutable.record_restore('a volume was put back')")
    for export in completed, pending:
        shown = get(conn, export)
        assert shown["status"] == "failed" and shown["error_message"].startswith("the log has gone on elsewhere")
        assert shown["ticket"] is None and shown["total_rows"] is None
        assert refused_rows(conn, export)[0] == "55000"
    new = create(conn)
    assert len(cells(conn, new)) == 4 and get(conn, new)["status"] == "completed"
    conn.execute("DELETE FROM immutable.exports WHERE id = %s", [new])


def test_counting_goes_on_where_it_ended(db):
    """Each part of a count begins behind the last event of the one before."""
    conn = db.conn
    for number in range(7):
        track(conn, "acme" if number < 4 else "globex", f"u{number}")
    export = create(conn)
    place, = conn.execute("SELECT lane || ':' || seq || ':' || encode(convert_to(tenant_id, 'UTF8'), 'hex') "
                          "FROM immutable.events WHERE actor_id = 'u2'").fetchone()
    conn.execute("UPDATE immutable.exports SET status = 'processing', counted = 3, counted_to = %s", [place])
    with db.connect() as other:
        other.execute("SET default_transaction_read_only = on")
        shown = get(other, export)
        assert (shown["status"], shown["total_rows"], shown["ticket"]) == ("processing", None, None)
    assert (get(conn, export)["status"], get(conn, export)["total_rows"]) == ("completed", 7)


def test_cancelled_in_mid_stream(db):
    conn = db.conn
    conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) SELECT 'acme', 'u', 'a.b' FROM generate_series(1, 3000)")
    export = create(conn)
    with db.connect(autocommit=False) as reader:
        cursor = reader.cursor("download")
        cursor.execute("SELECT immutable.export_rows(%s)", [export])
        assert len(cursor.fetchmany(10)) == 10
        reader.execute("SAVEPOINT s")
        with pytest.raises(psycopg.errors.QueryCanceled):
            reader.execute("DO $$BEGIN PERFORM pg_cancel_backend(pg_backend_pid()); PERFORM pg_sleep(60); END$$")
        reader.execute("ROLLBACK TO s")
        assert len(cursor.fetchall()) == 2991
    # A caller who stops early leaves nothing open.
    assert len(conn.execute("SELECT immutable.export_rows(%s) LIMIT 5", [export]).fetchall()) == 5
    assert conn.execute("SELECT count(*) FROM pg_cursors").fetchone() == (0,)
    assert len(rows(conn, export)) == 3001


# ---------------------------------------------------------------------------------------------------------------------
# Who

def test_roles(db):
    conn = db.conn
    track(conn)
    export = create(conn)
    for group, state in ("immutable_writer", "42501"), ("immutable_viewer", "42501"), ("immutable_maintainer", "42501"):
        role = db.create_role(f"IN ROLE {group}")
        with db.connect(role) as other:
            assert refused(other, "SELECT immutable.create_export()")[0] == state
            assert refused_get(other, export)[0] == refused_rows(other, export)[0] == state
            assert refused(other, "SELECT * FROM immutable.exports")[0] == state
    auditor = db.create_role("IN ROLE immutable_auditor")
    with db.connect(auditor) as other:
        own = create(other, tenant_id="acme")
        assert get(other, own)["total_rows"] == 1 and get(other, export)["total_rows"] == 1
        assert actors(other, own) == ["u1"]
        assert refused(other, "SELECT * FROM immutable.exports")[0] == "42501"
        assert refused(other, "SELECT immutable.forget_in_exports('acme', '{u1}')")[0] == "42501"
        recorded = conn.execute("SELECT actor_id, tenant_id, metadata FROM immutable.events "
                                "WHERE action = 'immutable.export_created' AND resource_id = %s", [own]).fetchone()
        assert recorded == (auditor, "", {"filters": ["tenant_id"]})
    h.check_breaks(conn)


def test_row_security_of_the_caller(db):
    """An auditor's export is read with the rights of whoever reads it."""
    conn = db.conn
    track(conn)
    export = create(conn)
    role = db.create_role()
    conn.execute(f"GRANT USAGE ON SCHEMA immutable TO {role}")
    conn.execute(f"GRANT EXECUTE ON FUNCTION immutable.export_rows(uuid, text) TO {role}")
    with db.connect(role) as other:
        assert refused_rows(other, export)[0] == "42501"
    conn.execute(f"GRANT SELECT ON immutable.events TO {role}")
    with db.connect(role) as other:
        assert rows(other, export) == [NAMES]


def test_a_dump_has_no_exports(db):
    create(db.conn, actor_id="alice")
    dump = db.server.run("pg_dump", "-d", db.name).stdout
    assert "immutable.events" in dump and "immutable.exports" not in dump and "alice" not in dump


def test_further_policies(db):
    """A role whom a policy of the DBA's limits makes no export: it would be counted, and opened by a ticket, with more rights."""
    conn = db.conn
    track(conn)
    db.unguard()
    auditor = db.create_role("IN ROLE immutable_auditor")
    conn.execute(f"CREATE POLICY fewer ON immutable.events AS RESTRICTIVE FOR SELECT TO {auditor} USING (tenant_id <> 'acme')")
    with db.connect(auditor) as other:
        state, message = refused(other, "SELECT immutable.create_export()")
        assert state == "42501" and "further policies" in message
        # What somebody else made is read with the rights of whoever reads it.
        assert {row["tenant_id"] for row in cells(other, create(conn, tenant_id="acme"))} == set()
    key = k.create(conn, ["export"])
    with db.connect(db.create_role("IN ROLE immutable_server")) as server:
        create(k.show(server, key["proof"]))


@pytest.fixture
def tenants(db):
    return k.Tenants(db)


def test_keys(tenants):
    """A bound key makes exports of its tenant, and sees none that were made with wider rights or for others."""
    admin = tenants.admin
    mine, rival, whole = (tenants.server(tenants.key("export", tenant_id=tenant)["proof"]) for tenant in ("mine", "rival", None))
    made = {"mine": create(mine), "rival": create(rival, tenant_id="rival"), "whole": create(whole),
            "of mine": create(whole, tenant_id="mine"), "admin": create(admin, tenant_id="mine")}
    assert get(mine, made["mine"])["filters"] == {"tenant_id": "mine"}
    assert k.state(mine, "SELECT immutable.create_export(tenant_id => 'rival')") == "42501"
    for connection, sees in (mine, {"mine"}), (rival, {"rival"}), (whole, set(made)), (admin, set(made)):
        for name, export in made.items():
            if name in sees:
                shown = get(connection, export)
                assert shown["total_rows"] == len(cells(connection, export)) > 0, name
                of = {row["tenant_id"] for row in cells(connection, export)}
                assert of == ({"mine", "rival", ""} if name == "whole" else {shown["filters"]["tenant_id"]}), name
            else:
                assert get(connection, export) is None
                assert refused_rows(connection, export) == ("P0002", f"there is no export {export}")
    lines = rows(mine, made["mine"], "ndjson")
    assert json.loads(lines[0])["filters"] == {"tenant_id": "mine"} and json.loads(lines[-1])["events"] == 12
    # It is the tenant's event, by the key.
    recorded = admin.execute("SELECT tenant_id, actor_type, metadata FROM immutable.events WHERE resource_id = %s", [made["mine"]])
    assert recorded.fetchone() == ("mine", "api_key", {"filters": ["tenant_id"]})
    # Each tenant has five, and the others have five together.
    for _ in range(5):
        create(mine)
    assert refused(mine, "SELECT immutable.create_export()")[0] == "54000"
    create(rival)
    create(whole)
    # Other scopes, and no proof.
    token, = admin.execute("SELECT immutable.create_viewer_token('mine') ->> 'token'").fetchone()
    read = tenants.key("read", "write", "verify", "mint", "admin")["proof"]
    for other, state in (tenants.server(read), "42501"), (tenants.server(token), "42501"), (tenants.server(), "28000"):
        for call in "create_export()", f"get_export('{made['mine']}')", f"export_rows('{made['mine']}')":
            assert k.state(other, f"SELECT immutable.{call}") == state, call
    assert k.state(mine, "TABLE immutable.exports") == "42501"


def test_tickets(tenants):
    """A ticket opens the rows of its export, and nothing else, until its key is revoked."""
    key = tenants.key("export", tenant_id="mine")
    holder = tenants.server(key["proof"])
    export, other = create(holder), create(holder, actor_id="u1")
    shown = get(holder, export)
    assert shown["ticket_expires_at"] > shown["created_at"]
    expected_rows = rows(holder, export)
    opened = tenants.server(shown["ticket"])
    assert rows(opened, export) == expected_rows and len(expected_rows) == 13
    # Events that are erased meanwhile, and their records, which row security would hide from a ticket.
    tenants.admin.execute("SELECT immutable.erase(%s, 'mine', '{actor_id}', 'request 1')", [tenants.ids["mine"]]).fetchall()
    assert rows(opened, export, "ndjson") == rows(holder, export, "ndjson")
    assert any(line.startswith('{"later_record"') for line in rows(opened, export, "ndjson"))
    for call in ("create_export()", f"get_export('{export}')", f"export_rows('{other}')", "get_events()", "export_events()"):
        assert k.state(opened, f"SELECT immutable.{call}") == "42501", call
    assert k.state(opened, "SELECT immutable.track('u', 'a.b')") == "42501"
    assert opened.execute("SELECT count(*) FROM immutable.events").fetchone() == (0,)
    # An operator's export of one tenant: its ticket opens that.
    mine = create(tenants.admin, tenant_id="mine")
    ticket = get(tenants.admin, mine)["ticket"]
    assert {row["tenant_id"] for row in cells(tenants.server(ticket), mine)} == {"mine"}
    with opened.transaction():
        cursor = opened.cursor("download")
        cursor.execute("SELECT immutable.export_rows(%s)", [export])
        assert len(cursor.fetchall()) == 13
    tenants.admin.execute("SELECT immutable.revoke_api_key(%s)", [key["id"]])
    assert refused_rows(opened, export)[0] == "28000"
    assert refused_rows(holder, export)[0] == "28000"
    # The export outlives the key.
    assert len(rows(tenants.admin, export)) == 13
