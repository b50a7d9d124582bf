"""The functions that erase, on a population: what is gone is gone from everywhere, what is left verifies in both
implementations, and nobody can guess what was there. What else a superuser can do to erased rows: test_verify_tamper.py."""

import hashlib
import pathlib
import random
import re

import psycopg
import pytest

import helpers_log as h
from helpers_log import (Log, TARGETS, add_event, build_log, check_breaks, delete, erased_is_back, erased_unrecorded,
                         hash_mismatch, python_format, target_mismatch, update)
from test_read_export import export, verify

SEED = 20260401
PLACE = ("acme", 0, 3)  # has two targets
ONES = "11" * 32


@pytest.fixture
def officer(db):
    """A connection that may only erase."""
    role = db.create_role()
    db.conn.execute(f"GRANT immutable_eraser TO {role}")
    return db.connect(role)


def erase(officer, event, *paths):
    """Erases paths of a row; gives them as the function does."""
    rows = officer.execute("SELECT event_id::text, path FROM immutable.erase(%s, %s, %s, 'ticket 17')",
                           [event["id"], event["tenant_id"], list(paths)]).fetchall()
    assert {event_id for event_id, _ in rows} <= {event["id"]}
    return [path for _, path in rows]


def erase_subject(officer, tenant_id, subject_id, **options):
    arguments = "".join(f", {name} => %s" for name in options)
    return officer.execute(f"SELECT event_id::text, path FROM immutable.erase_subject(%s, %s, 'ticket 18'{arguments})",
                           [tenant_id, subject_id, *options.values()]).fetchall()


# ---------------------------------------------------------------------------------------------------------------------
# A population

EVENTS = 20_000
PERSONS = 5_000
SUBJECTS = 1_000
TENANTS = 20

# Each person has a tenant, an id and a name, distinguished by a number. A person is an event's actor, resource, target or
# assignee, or is mentioned in its metadata; the names are beside the ids.
POPULATE = f"""
    INSERT INTO immutable.events (tenant_id, actor_id, actor_name, action, resource_type, resource_id, resource_name,
                                  targets, metadata, session_id, ip_address, ip_country, user_agent)
    SELECT 'tenant ' || tenant, 'person-' || a, 'name-' || a, 'task.changed', 'thing',
           CASE WHEN n % 3 = 0 THEN 'person-' || b ELSE 'thing-' || n END,
           CASE WHEN n % 3 = 0 THEN 'name-' || b ELSE 'Thing' END,
           CASE WHEN n % 4 = 0
                THEN jsonb_build_array(jsonb_build_object('type', 'folder', 'id', 'folder-' || n),
                                       jsonb_build_object('type', 'user', 'id', 'person-' || c, 'name', 'name-' || c,
                                                          'metadata', jsonb_build_object('was', 'name-' || c)))
                ELSE '[]' END,
           CASE n % 5 WHEN 0 THEN jsonb_build_object('assignee_id', 'person-' || c, 'assignee_name', 'name-' || c)
                      WHEN 1 THEN jsonb_build_object('note', 'moved by person-' || b || ', at once', 'size', n)
                      WHEN 2 THEN jsonb_build_object('all', jsonb_build_array(jsonb_build_object('person-' || c, n)))
                      ELSE jsonb_build_object('size', n) END,
           'session-' || a, ('203.0.113.' || n % 256)::inet, 'NP', 'curl/' || n
    FROM (SELECT n, tenant, to_char(p.a * {TENANTS} + tenant, 'FM00000') AS a,
                 to_char(p.b * {TENANTS} + tenant, 'FM00000') AS b, to_char(p.c * {TENANTS} + tenant, 'FM00000') AS c
          FROM generate_series(1, {EVENTS}) n, LATERAL (
              SELECT n % {TENANTS} AS tenant, (hashint8extended(n, 1) % 125 + 125)::int AS a,
                     (hashint8extended(n, 2) % 125 + 125)::int AS b, (hashint8extended(n, 3) % 125 + 125)::int AS c) p
         ) x"""
PERSON = re.compile(r"(?:person|name|session)-(\d{5})")


def persons_in(conn, where="true"):
    """{event id: the numbers of the persons it says something about}, from all of a row's text and its targets'."""
    with conn.cursor("persons") as cursor:
        cursor.execute(
            "SELECT e.id::text, e::text || coalesce((SELECT string_agg(t::text, '') FROM immutable.event_targets t "
            f"WHERE t.tenant_id = e.tenant_id AND t.event_id = e.id), '') FROM immutable.events e WHERE {where}")
        return {event_id: set(PERSON.findall(text)) for event_id, text in cursor}


def persons_in_files(db):
    """The numbers of the persons whose id or name is anywhere in the database's files."""
    db.conn.execute("CHECKPOINT")
    directory, oid = db.conn.execute(
        "SELECT current_setting('data_directory'), oid::text FROM pg_database WHERE datname = current_database()"
    ).fetchone()
    pattern = re.compile(PERSON.pattern.encode())
    found = set()
    for file in (pathlib.Path(directory) / "base" / oid).iterdir():
        found.update(number.decode() for number in pattern.findall(file.read_bytes()))
    return found


@pytest.mark.timeout(600)
def test_erasing_a_thousand_of_five_thousand_persons(db, officer, tmp_path):
    db.conn.execute(POPULATE)
    db.conn.execute("ANALYZE")
    reading = db.connect(autocommit=False)
    before = persons_in(reading)
    reading.commit()
    everybody = set().union(*before.values())
    assert len(before) == EVENTS and 0.99 * PERSONS < len(everybody) <= PERSONS
    assert persons_in_files(db) == everybody

    subjects = set(random.Random(SEED).sample(sorted(everybody), SUBJECTS))
    done = set()
    for turn, number in enumerate(sorted(subjects)):
        call = f"tenant {int(number) % TENANTS}", f"person-{number}"
        options = {"metadata_keys": ["assignee_name", "no such key"]}
        preview = erase_subject(officer, *call, **options, dry_run=True) if turn % 4 == 0 else None
        erased = erase_subject(officer, *call, **options)
        assert preview in (None, erased)
        assert not done & set(erased), "erased twice"
        done.update(erased)
        if turn % 20 == 0:
            assert erase_subject(officer, *call, **options) == []

    # Gone from exactly the events that said something about them, and from all of each.
    concerned = {event_id for event_id, persons in before.items() if persons & subjects}
    assert {event_id for event_id, _ in done} == concerned
    after = persons_in(reading)
    reading.commit()
    assert not subjects & set().union(*after.values())
    untouched = {event_id: persons for event_id, persons in before.items() if event_id not in concerned}
    assert {event_id: after[event_id] for event_id in untouched} == untouched
    assert db.conn.execute("SELECT count(*) FROM immutable.events WHERE erased IS NOT NULL").fetchone()[0] == len(
        concerned)
    # The records list every value once, and name no person.
    recorded, = db.conn.execute(
        "SELECT sum(jsonb_array_length(t -> 'metadata' -> 'commitments')) FROM immutable.events, "
        "jsonb_array_elements(targets) t WHERE action = 'immutable.event_erased'").fetchone()
    assert recorded == len(done)

    # The log is whole for the server and for the other implementation.
    result = h.verify_chain(db.conn)
    assert (result["valid"], result["breaks"], result["events_erased"]) == (True, [], len(concerned))
    reading.execute("SET timezone = 'UTC'")
    reading.execute("SET bytea_output = 'hex'")
    with reading.cursor("rows") as cursor:
        cursor.execute("SELECT row_to_json(e)::text FROM immutable.events e ORDER BY tenant_id, lane, seq")
        links = [python_format.link(python_format.read_row(line)) for line, in cursor]
    reading.commit()
    assert list(python_format.walk(links)) == []
    assert len(links) == result["events_checked"] > EVENTS

    # And outside the database: the program and the other implementation read the export and say the same.
    path = tmp_path / "export.ndjson"
    status, summary = verify(export(db, path), path)
    # Nothing from outside confirms it, so the status is 3.
    assert (status, summary["whole"], summary["erasures_checked"]) == (3, True, True)
    assert summary["verdict"] == "consistent, not anchored"
    assert (summary["events_checked"], summary["values_erased"]) == (result["events_checked"], len(done))
    assert set(PERSON.findall(path.read_text())) == set().union(*after.values())

    # VACUUM alone takes the rows away, but may leave bytes of theirs in a page's free space; and the planner's
    # statistics are a copy of values too, until the next ANALYZE. As the README says:
    db.conn.execute("VACUUM (FULL, ANALYZE) immutable.events")
    db.conn.execute("VACUUM (FULL, ANALYZE) immutable.event_targets")
    db.conn.execute("VACUUM FULL pg_catalog.pg_statistic")
    left = persons_in_files(db)
    assert not subjects & left
    assert left == set().union(*after.values())
    assert h.verify_chain(db.conn)["valid"]


def test_salts_are_erased_too(db, officer):
    """With its salt, a guess could be tried against a commitment."""
    add_event(db.conn, "acme", "one")
    add_event(db.conn, "acme", "two")
    rows = Log(db.conn)
    erase(officer, rows["acme", 0, 1], "actor_name")
    for table in ("immutable.events", "immutable.event_targets", "pg_catalog.pg_statistic"):
        db.conn.execute(f"VACUUM FULL {table}")
    db.conn.execute("CHECKPOINT")
    directory, oid = db.conn.execute(
        "SELECT current_setting('data_directory'), oid::text FROM pg_database WHERE datname = current_database()"
    ).fetchone()
    files = b"".join(file.read_bytes() for file in (pathlib.Path(directory) / "base" / oid).iterdir())
    salts = [bytes.fromhex(h.plain(rows["acme", 0, seq]["salt"])) for seq in (1, 2)]
    assert [salt in files for salt in salts] == [False, True]


def test_erased_values_leave_the_search_index(db, officer):
    """Found by the index before, by nothing afterwards; and VACUUM takes its entries away, the trigrams of the name."""
    db.conn.execute("CREATE EXTENSION pg_trgm")
    db.conn.execute("SELECT immutable.enable_search()")
    db.conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, actor_name, action, metadata) SELECT 'acme', "
                    "'u' || n, 'Plain', 'a.b', '{\"size\": 1}' FROM generate_series(1, 300) n")
    add_event(db.conn, "acme", "one", actor_name="Zyqqwx Vvkzjh", metadata={"note": "said by Zyqqwx Vvkzjh", "size": 1})
    db.conn.execute("ANALYZE immutable.events")
    # By the index alone: the rows that its entries lead to, before any row is read.
    expression, = db.conn.execute("SELECT pg_get_expr(indexprs, indrelid) FROM pg_index "
                                  "WHERE indexrelid = 'immutable.events_search'::regclass").fetchone()
    db.conn.execute("SET enable_seqscan = off; SET enable_indexscan = off")

    def candidates():
        plan, = db.conn.execute("EXPLAIN (ANALYZE, FORMAT JSON, TIMING off) SELECT FROM immutable.events "
                                f"WHERE {expression} LIKE '%zyqqwx vvkzjh%'").fetchone()
        (index,) = plan[0]["Plan"]["Plans"]
        assert index["Index Name"] == "events_search"
        return index["Actual Rows"]

    search = "SELECT count(*) FROM immutable.find_events(search => 'Zyqqwx Vvkzjh')"
    assert (candidates(), db.conn.execute(search).fetchone()) == (1, (1,))
    row, = [row for row in Log(db.conn).rows if row["actor_name"] == "Zyqqwx Vvkzjh"]
    erase(officer, row, "actor_name", "metadata.note")
    assert db.conn.execute(search).fetchone() == (0,)
    assert "Zyqqwx" not in everything_left(db.conn)
    db.conn.execute("VACUUM immutable.events")
    assert candidates() == 0


# ---------------------------------------------------------------------------------------------------------------------
# Guessing

COUNTRIES = ["AT", "CH", "DE", "FR", "IN", "NP", "US"]
SECRETS = {"ip_country": COUNTRIES, "actor_name": ["Ann", "Bob", "Sarah Chen", "Zoe"],
           "metadata.hiv_positive": [True, False, None], "metadata.age": [python_format.Number(n) for n in range(120)],
           "targets.0": [{"id": f"u{n}", "type": "user"} for n in range(100)]}


def everything_left(conn, table_names=("immutable.events", "immutable.event_targets", "immutable.log")):
    return "\n".join(text for name in table_names for text, in conn.execute(f"SELECT x::text FROM {name} x"))


def guess(left, salts):
    """Every value of a short list, with every salt known, as the event's or as the value's own, against every
    commitment: what an attacker with the whole database can do. Gives {path: value} of the hits."""
    commitments = set(re.findall(r"(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])", left))
    hits = {}
    for path, values in SECRETS.items():
        for salt in salts:
            for leaf_salt in (salt.hex(), python_format.leaf_salt(salt, path)):
                for value in values:
                    if python_format.commitment(leaf_salt, path, value) in commitments:
                        hits[path] = value
    return hits


def test_guessing_what_was_erased(db, officer):
    add_event(db.conn, "acme", "one", ip_country="NP", actor_name="Sarah Chen", user_agent="curl",
              metadata={"hiv_positive": True, "age": 42, "size": 1}, targets=[{"type": "user", "id": "u77"}])
    row = Log(db.conn)["acme", 0, 1]
    salt = bytes.fromhex(h.plain(row["salt"]))
    paths = sorted(SECRETS)
    assert sorted(erase(officer, row, *paths)) == paths
    check_breaks(db.conn)
    left = everything_left(db.conn)
    assert row["salt"][2:] not in left

    # Whatever is left that has the form of a salt or could have been made from one: all runs of 16 bytes.
    digits = re.findall(r"[0-9a-f]{32,}", left.replace("-", ""))
    salts = {bytes.fromhex(run[at:at + 32]) for run in digits for at in range(0, len(run) - 31, 2)} | {bytes(16)}
    assert len(salts) > 100
    assert guess(left, salts) == {}
    # The salts of the remaining values are among them, and prove only those values.
    leaf = python_format.leaf_salt(salt, "user_agent")
    assert bytes.fromhex(leaf) in salts
    document = db.conn.execute("SELECT immutable.canonical(e) FROM immutable.events e WHERE seq = 1").fetchone()[0]
    assert python_format.commitment(leaf, "user_agent", "curl") in document

    # With the salt, which is what a copy made before the erasure has, every value is found at once.
    assert guess(left, {salt}) == {"ip_country": "NP", "actor_name": "Sarah Chen", "metadata.hiv_positive": True,
                                   "metadata.age": "42", "targets.0": {"id": "u77", "type": "user"}}


# ---------------------------------------------------------------------------------------------------------------------
# Tampering after an erasure

@pytest.fixture
def log(db):
    return build_log(db)


ERASED = ("actor_id", "actor_name", "metadata.reason", "targets.0")


@pytest.fixture
def erased(db, officer, log):
    """The row with some of its values erased."""
    assert erase(officer, log[PLACE], *ERASED) == list(ERASED)
    check_breaks(db.conn)
    return Log(db.conn)[PLACE]


def commitments_of(log, *paths):
    return [python_format.commitments(log[PLACE])[path] for path in paths]


def test_a_column_set_to_null_beside_the_erased(db, log, erased):
    check_breaks(db.conn, hash_mismatch(update(db.conn, PLACE, resource_name=None)))


def test_a_well_formed_erasure_without_a_record(db, log, erased):
    """An UPDATE by the owner, which the guard accepts as an erasure."""
    more = python_format.erase(erased, ["resource_name", "targets.1"])
    update(db.conn, PLACE, resource_name=None, erased=more["erased"], targets=more["targets"])
    db.conn.execute("UPDATE immutable.event_targets SET target_id = NULL, target_name = NULL, target_metadata = NULL "
                    "WHERE event_id = %s AND position = 1", [erased["id"]])
    check_breaks(db.conn, *(erased_unrecorded(erased, commitment)
                            for commitment in commitments_of(log, "resource_name", "targets.1")))


def test_an_erased_target_has_an_id_again(db, log, erased):
    now = update(db.conn, PLACE, targets=[{**erased["targets"][0], "id": "somebody"}, erased["targets"][1]])
    assert python_format.event_hash(now) is None
    check_breaks(db.conn, h.Break("hash_mismatch", *h.at(now), None, log.hash(*PLACE)), target_mismatch(now))


def test_an_erased_target_has_another_type(db, log, erased):
    now = update(db.conn, PLACE, targets=[{"type": "other"}, erased["targets"][1]])
    check_breaks(db.conn, hash_mismatch(now), target_mismatch(now))


@pytest.mark.parametrize("change", ["target_id = 'f-1'", "target_name = 'Reports'", "target_metadata = '{}'"])
def test_an_erased_targets_row_has_a_value_again(db, log, erased, change):
    with h.behind_triggers(db.conn):
        db.conn.execute(f"UPDATE immutable.event_targets SET {change} WHERE event_id = %s AND position = 0",
                        [erased["id"]])
    check_breaks(db.conn, target_mismatch(erased))


def test_an_erased_targets_commitment_altered(db, log, erased):
    hashes = {**erased["erased"]["commitments"], "targets": {"0": ONES}}
    now = update(db.conn, PLACE, erased={**erased["erased"], "commitments": hashes})
    check_breaks(db.conn, hash_mismatch(now), erased_unrecorded(now, ONES),
                 erased_is_back(now, *commitments_of(log, "targets.0")))


def test_erased_targets_commitments_swapped(db, officer, log, erased):
    assert erase(officer, erased, "targets.1") == ["targets.1"]
    now = Log(db.conn)[PLACE]
    hashes = now["erased"]["commitments"]
    swapped = {**hashes, "targets": {"0": hashes["targets"]["1"], "1": hashes["targets"]["0"]}}
    check_breaks(db.conn, hash_mismatch(update(db.conn, PLACE, erased={**now["erased"], "commitments": swapped})))


def test_a_columns_commitment_moved_to_the_metadata(db, log, erased):
    hashes = dict(erased["erased"]["commitments"])
    hashes["metadata"] = sorted([*hashes["metadata"], hashes.pop("actor_name")])
    now = update(db.conn, PLACE, erased={**erased["erased"], "commitments": hashes})
    check_breaks(db.conn, hash_mismatch(now))


def test_the_records_commitments_altered(db, log, erased):
    record = Log(db.conn)["acme", 0, 7]
    assert record["action"] == "immutable.event_erased"
    with h.behind_triggers(db.conn):
        db.conn.execute("UPDATE immutable.events SET targets = jsonb_set(targets, '{0,metadata,commitments,0}', %s) "
                        "WHERE id = %s", [psycopg.types.json.Jsonb(ONES), record["id"]])
    now = Log(db.conn)["acme", 0, 7]
    listed = record["targets"][0]["metadata"]["commitments"][0]
    check_breaks(db.conn, hash_mismatch(now), target_mismatch(now), erased_unrecorded(erased, listed),
                 erased_is_back(erased, ONES))


def test_the_record_removed(db, log, erased):
    delete(db.conn, ("acme", 0, 7))
    check_breaks(db.conn, *(erased_unrecorded(erased, commitment) for commitment in commitments_of(log, *ERASED)))


# ---------------------------------------------------------------------------------------------------------------------
# Restored from before the erasure

def copy_of(conn):
    """A backup of events and targets."""
    for name in ("events", "event_targets"):
        conn.execute(f"CREATE TABLE public.saved_{name} AS TABLE immutable.{name}")


def restore(conn, keep="false"):
    """Puts the rows of the backup in place of the current ones; `keep` says which current ones stay."""
    with h.behind_triggers(conn):
        for name, of in (("event_targets", "event_id"), ("events", "id")):
            conn.execute(f"DELETE FROM immutable.{name} x WHERE NOT EXISTS (SELECT FROM immutable.events e "
                         f"WHERE e.tenant_id = x.tenant_id AND e.id = x.{of} AND ({keep}))")
        for name in ("events", "event_targets"):
            conn.execute(f"INSERT INTO immutable.{name} SELECT * FROM public.saved_{name}")


def test_events_restored_from_before_the_erasure(db, officer, log):
    """Rows come back from before the erasure, the records of which are still there."""
    copy_of(db.conn)
    erased = erase_subject(officer, "acme", "user-a3") + erase_subject(officer, "acme", "user-b5")
    assert len(erased) > 10
    check_breaks(db.conn)
    restore(db.conn, keep="e.action = 'immutable.event_erased'")
    by_id = {row["id"]: row for row in log.rows}
    expected = [erased_is_back(by_id[event_id], python_format.commitments(by_id[event_id])[path])
                for event_id, path in erased]
    check_breaks(db.conn, *expected)
    # Erasing again what the records list makes the log valid.
    again = erase_subject(officer, "acme", "user-a3") + erase_subject(officer, "acme", "user-b5")
    assert again == erased
    check_breaks(db.conn)


def test_whole_log_restored_from_before_the_erasure(db, officer, log):
    """If the records are gone too, only saved heads show it; what the functions returned is erased again."""
    copy_of(db.conn)
    erased = erase_subject(officer, "acme", "user-a3")
    heads = h.heads(db.conn)
    record = Log(db.conn)["acme", 0, 7]
    restore(db.conn)
    check_breaks(db.conn)
    check_breaks(db.conn, h.head_gone(record), heads=heads)
    for event_id in {event_id for event_id, _ in erased}:
        paths = [path for of, path in erased if of == event_id]
        assert erase(officer, {"id": event_id, "tenant_id": "acme"}, *paths) == paths
    check_breaks(db.conn)
    left = everything_left(db.conn)
    assert "user-a3" not in left and "user-a4" in left


def test_an_erasure_cancelled_midway_changes_nothing(db, officer):
    """All or nothing, even if some records are written already."""
    db.conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) "
                    "SELECT 'acme', 'u1', 'a' FROM generate_series(1, 2000)")
    db.conn.execute("""
        CREATE FUNCTION public.stop() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF new.seq = 1500 THEN PERFORM pg_catalog.pg_cancel_backend(pg_catalog.pg_backend_pid()); END IF;
            RETURN new;
        END $$""")
    db.conn.execute("CREATE TRIGGER stop BEFORE UPDATE ON immutable.events FOR EACH ROW EXECUTE FUNCTION public.stop()")
    with pytest.raises(psycopg.errors.QueryCanceled):
        erase_subject(officer, "acme", "u1")
    assert db.conn.execute("SELECT count(*), count(erased) FROM immutable.events").fetchone() == (2000, 0)
    check_breaks(db.conn)
    db.conn.execute("DROP TRIGGER stop ON immutable.events")
    assert len(erase_subject(officer, "acme", "u1")) == 2000
    check_breaks(db.conn)


def test_hashes_are_the_same_before_and_after(db, officer, log):
    """All that can be erased, of every event; the heads saved before still hold."""
    heads = h.heads(db.conn)
    for row in log.rows:
        erase(officer, row, *python_format.commitments(row))
    now = Log(db.conn)
    for row in log.rows:
        place = row["tenant_id"], int(row["lane"]), int(row["seq"])
        document = python_format.document(now[place])
        assert document == python_format.document(row)
        assert hashlib.sha256(document.encode()).hexdigest() == now.hash(*place) == log.hash(*place)
        assert now[place]["erased"]["salts"] == {}
    check_breaks(db.conn, heads=heads)
    assert TARGETS[1]["id"] not in everything_left(db.conn)


OF_SHARDS = {
    "shard_record_own": ["0", "'t'", "'immutable.restored'", "NULL", "NULL", "'[]'", "'{}'", "'a'", "'role'", "'r'"],
    "shard_erase": ["0", "'t'", "'why'", "'a'", "'role'", "'r'", "gen_random_uuid()", "'{actor_id}'"],
    "shard_erase_subject": ["0", "'t'", "'why'", "'a'", "'role'", "'r'", "'{u1}'", "'{}'", "NULL", "false"],
}


@pytest.mark.parametrize("function", OF_SHARDS)
def test_functions_of_shards_are_the_owners_and_harmless_in_a_log_that_is_not_distributed(db, function):
    arguments = OF_SHARDS[function]
    for group in ["immutable_viewer", "immutable_writer", "immutable_auditor", "immutable_eraser", "immutable_restorer"]:
        with db.connect(db.create_role(f"IN ROLE {group}")) as conn, pytest.raises(psycopg.errors.InsufficientPrivilege):
            conn.execute(f"SELECT immutable.{function}({', '.join(arguments)})")
    for missing in [None, *range(len(arguments))]:
        given = ["NULL" if place == missing else argument for place, argument in enumerate(arguments)]
        with pytest.raises((psycopg.errors.ObjectNotInPrerequisiteState, psycopg.errors.NullValueNotAllowed)):
            db.conn.execute(f"SELECT immutable.{function}({', '.join(given)})")
    assert db.conn.execute("SELECT count(*) FROM immutable.events").fetchone() == (0,)
