"""Bytes of stored values, changed in the data file, of events of many shapes. What PostgreSQL would print
differently from what was recorded is a break; nothing crashes the server; and nothing keeps the other events from being
verified, exported, shown or erased.

IMMUTABLE_DAMAGES=100000 changes as many values as that; IMMUTABLE_SEED makes a run again."""

import json
import os
import random

import pytest

import helpers_log as h
from conftest import Database
from helpers_damage import Damages
from helpers_random import Random
from helpers_servers import as_server

DAMAGES = int(os.environ.get("IMMUTABLE_DAMAGES", "2000"))
ROUND = 2000
SEED = int(os.environ.get("IMMUTABLE_SEED", random.randrange(10 ** 9)))


def one(conn, statement, *values):
    return conn.execute(statement, values or None).fetchone()[0]


def check_round(log, in_every_way=True):
    """`in_every_way`: also with the other plans that verification has."""
    conn = log.conn
    # As autovacuum does whenever it likes.
    conn.execute("ANALYZE immutable.events, immutable.event_targets")
    damaged = {str(id): column for id, column in conn.execute("SELECT id, col FROM damages")}
    breaks = h.verify_breaks(conn)
    broken = {found.event_id for found in breaks if found.type == "hash_mismatch"}

    # Whatever verification does not find reads as it was: asked last, as PostgreSQL's own functions may crash on the rest.
    assert broken <= set(damaged)
    unfound = [id for id in damaged if id not in broken]
    changed = conn.execute(
        "SELECT e.id FROM immutable.events e JOIN tenants t USING (tenant_id, id) "
        "WHERE e.id = ANY (%s::uuid[]) AND md5(e::text) <> t.before", [unfound]).fetchall()
    assert not changed, log.describe(changed[0][0])
    gone = one(conn, "SELECT count(*) FROM tenants t WHERE id = ANY (%s::uuid[]) AND NOT EXISTS ("
               "SELECT FROM immutable.events e WHERE e.tenant_id = t.tenant_id AND e.id = t.id)", unfound)
    assert gone == 0

    # Their neighbours are whole, except for links to changed events and records of erasures in unreadable ones.
    others = {str(other): damaged[str(id)] for other, id in conn.execute("SELECT other, id FROM tenants")}
    for found in breaks:
        if found.event_id in others:
            assert others[found.event_id] in ("event_hash", "tenant_id"), found

    events = one(conn, "SELECT count(*) FROM immutable.events")
    assert conn.execute("SELECT breaks_found, events_checked FROM immutable.verify_chain()").fetchone() == (len(breaks), events)
    if in_every_way:
        with h.in_parallel(conn):
            assert h.verify_breaks(conn) == breaks
        in_order = h.verify_breaks(conn, max_events=10 ** 6)
        assert sorted(in_order, key=h._order) == sorted(breaks, key=h._order)
        # Targets whose tenant is another now are strays, which only a whole run sees.
        placed = [found for found in breaks if found.lane is not None]
        assert sorted(h.verify_breaks(conn, since=[]), key=h._order) == sorted(placed, key=h._order)
    assert one(conn, "SELECT count(*) FROM immutable.export_events()") == events + 2
    check_readers(log, damaged, broken)


def check_readers(log, damaged, broken):
    """Pages, feeds and erasures of every tenant."""
    conn = log.conn
    for function in ("get_events(tenant_id => t.tenant_id)", "get_events(tenant_id => t.tenant_id, \"order\" => 'asc')",
                     "get_events(tenant_id => t.tenant_id, search => 'a')", "changes(t.tenant_id)"):
        for id, other, answer in conn.execute(f"SELECT id, other, immutable.{function} FROM tenants t").fetchall():
            shown = {event["id"]: event for event in answer["data"]}
            assert str(other) in shown, log.describe(id)
            # A search does not find what cannot be read.
            if damaged[str(id)] != "tenant_id" and (str(id) in shown or "search" not in function):
                assert str(id) in shown, log.describe(id)
                unreadable = shown[str(id)].get("unreadable", [])
                assert set(unreadable) <= {damaged[str(id)]}
                assert not unreadable or str(id) in broken
    position = None
    seen = 0
    while (answer := one(conn, "SELECT immutable.changes(after => %s::jsonb, \"limit\" => 10000)", position))["data"]:
        seen += len(answer["data"])
        position = json.dumps(answer["position"])
    assert seen == one(conn, "SELECT count(*) FROM immutable.events")
    assert one(conn, "SELECT count(immutable.get_event(id)) FROM tenants") == len(damaged)
    assert one(conn, "SELECT count(*) FROM tenants t, immutable.erase_subject(t.tenant_id, 'nobody', 'request')") == 0
    conn.execute("SELECT count(*) FROM tenants t, immutable.erase_subject(t.tenant_id, 'other', 'request', dry_run => true)")
    for part in log.parts():
        # Every undamaged event has its actor erased; the damaged ones may have, too.
        conn.execute(f"SELECT immutable.erase_subject(t.tenant_id, 'other', 'request') FROM tenants t WHERE {part}")
    left = {str(id) for id, in conn.execute("SELECT t.id FROM tenants t JOIN immutable.events e ON e.id = t.other "
                                            "AND e.tenant_id = t.tenant_id WHERE e.erased IS NULL")}
    assert not left, log.describe(min(left))


@pytest.mark.timeout(120 + DAMAGES // 10)
def test_any_change_of_a_stored_value(db):
    print("seed", SEED)
    log = Damages(db, SEED, jit="on")
    for first in range(0, DAMAGES, ROUND):
        log.fill(min(ROUND, DAMAGES - first))
        assert one(log.conn, "SELECT valid FROM immutable.verify_chain()")
        log.damage()
        check_round(log, first == 0)
        print(first + ROUND, "changes")


def test_every_byte_of_small_values(db):
    """A number's own header and digits, and the headers and entries around them."""
    values = ['{"amount": 0}', '{"amount": 1}', '{"amount": 250}', '{"amount": 9999}', '{"amount": -1.5}',
              '{"amount": 12345678}', '{"a": {"b": [250]}}']
    log = Damages(db, 1, [{"actor_id": "a", "action": "a", "metadata": value, "targets": "[]"} for value in values])
    sizes = [one(db.conn, "SELECT pg_column_size(%s::jsonb) - 4", value) for value in values]
    changes = [("flip", 1 << bit) for bit in range(8)] + [("set", byte) for byte in (0, 24, 32, 33, 255)]
    plans = [[(at, byte, how) for at in range(size) for how, byte in changes] for size in sizes]
    # The shapes take turns.
    log.fill(len(values) * max(map(len, plans)))
    tenants = db.conn.execute("SELECT number, id FROM tenants").fetchall()
    log.damage([(id, "metadata", *plans[number % len(values)][number // len(values) % len(plans[number % len(values)])])
                for number, id in tenants])
    check_round(log)


def test_a_number_whose_length_was_changed(db):
    """The first way in which a changed number verified."""
    conn = db.conn
    h.add_event(conn, "acme", "a", metadata={"amount": 250})
    conn.execute("CREATE CAST (bytea AS jsonb) WITHOUT FUNCTION; CREATE CAST (jsonb AS bytea) WITHOUT FUNCTION")
    with h.behind_triggers(conn):
        conn.execute("UPDATE immutable.events SET metadata = set_byte(metadata::bytea, "
                     "position('\\x20000000'::bytea IN metadata::bytea) - 1, 24)::jsonb")
    assert one(conn, "SELECT metadata ->> 'amount' FROM immutable.events") == "0"
    found, = h.verify_breaks(conn)
    assert (found.type, found.tenant_id, found.lane, found.seq) == ("hash_mismatch", "acme", 0, 1)
    assert one(conn, "SELECT immutable.canonical(e) FROM immutable.events e") is None
    line = conn.execute("SELECT * FROM immutable.export_events() OFFSET 1 LIMIT 1").fetchone()[0]
    assert json.loads(line)["no_document"]["why"].startswith("metadata cannot be read")
    event = one(conn, "SELECT immutable.get_event(id) FROM immutable.events")["data"]
    assert (event["metadata"], event["unreadable"]) == (None, ["metadata"])


@pytest.mark.parametrize("column", ["target_type", "target_id", "target_name", "target_metadata"])
def test_rows_of_event_targets(db, column):
    """Bytes of the rows in which pages look up targets."""
    conn = db.conn
    log = Damages(db, SEED)
    log.fill(300)
    kind = "jsonb" if column == "target_metadata" else "text"
    with h.behind_triggers(conn):
        changed = conn.execute(f"""UPDATE immutable.event_targets SET {column} = set_byte({column}::bytea,
            (random() * (octet_length({column}::bytea) - 1))::int, (random() * 255)::int)::{kind}
            WHERE octet_length({column}::bytea) > 0 AND position = (random() * 3)::int
            RETURNING event_id::text""").fetchall()
    found = h.verify_breaks(conn)
    assert {each.type for each in found} == {"target_mismatch"}
    assert {each.event_id for each in found} <= {id for id, in changed}
    unfound = {id for id, in changed} - {each.event_id for each in found}
    assert one(conn, f"SELECT count(*) FROM immutable.event_targets d JOIN immutable.events e ON e.id = d.event_id "
               f"AND e.tenant_id = d.tenant_id WHERE e.id = ANY (%s::uuid[]) AND d.{column}::text IS DISTINCT FROM "
               f"(e.targets -> d.position::int ->> '{column[7:]}'){'::jsonb::text' if kind == 'jsonb' else ''}",
               list(unfound)) == 0
    assert h.verify_chain(conn)["breaks_found"] == len(found)
    assert len(h.verify_breaks(conn, since=[])) == len(found)
    page = conn.execute("SELECT immutable.get_events(tenant_id => tenant_id, target_type => 'user') FROM tenants").fetchall()
    assert len(page) == 300


@pytest.mark.parametrize("has_index", [False, True])
def test_search(db, has_index):
    """A search looks through the text of metadata, which PostgreSQL's own functions do not survive printing."""
    conn = db.conn
    log = Damages(db, SEED)
    if has_index:
        conn.execute("CREATE EXTENSION pg_trgm")
        conn.execute("SELECT immutable.enable_search()")
    log.fill(600)
    assert one(conn, "SELECT count(*) FROM immutable.events WHERE immutable.text_of(metadata) <> metadata::text "
               "OR immutable.text_of(targets) <> targets::text") == 0
    log.damage([(id, "metadata", *rest) for id, _, *rest in log.plan("metadata")])
    for needle in ("a", "amount", "250"):
        for id, answer in conn.execute("SELECT other, immutable.get_events(tenant_id => tenant_id, search => %s) FROM tenants",
                                       [needle]):
            assert answer["data"] or needle != "a"
        answer = one(conn, "SELECT immutable.get_events(search => %s, \"limit\" => 100)", needle)
        assert len(answer["data"]) > 10 or needle != "a"


# ---------------------------------------------------------------------------------------------------------------------
# Values outside the row: compressed, or cut into chunks

def long_events(randomly):
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    noise = lambda size: "".join(randomly.choices(letters, k=size))
    words = lambda size: " ".join(randomly.choices([noise(6) for _ in range(30)], k=size // 7))
    plain = {"actor_id": "somebody", "action": "a", "metadata": "{}", "targets": "[]"}
    yield {**plain, "metadata": json.dumps({"noise": noise(12000), "n": 1})}
    yield {**plain, "metadata": json.dumps({"words": words(20000), "n": 1})}
    yield {**plain, "metadata": json.dumps({"words": words(3000), "n": 1})}
    yield {**plain, "targets": json.dumps([{"type": "t", "id": noise(60), "metadata": {"n": n}} for n in range(90)])}
    yield {**plain, "user_agent": noise(4000)}
    yield {**plain, "metadata": json.dumps({"a": "ab" * 10000}), "user_agent": words(4000)}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("compression", ["pglz", "lz4"])
def test_values_that_are_not_stored_in_the_row(cluster, compression):
    """Chunks that are lost, bytes of chunks and of compressed values, and pointers to chunks."""
    server = cluster()
    db = Database(server)
    log = Damages(db, SEED, list(long_events(Random(SEED))))
    conn = log.conn
    if compression not in one(conn, "SELECT array_agg(v) FROM pg_settings, unnest(enumvals) v "
                              "WHERE name = 'default_toast_compression'"):
        return  # This PostgreSQL has no other.
    for column in ("metadata", "targets", "user_agent"):
        conn.execute(f"ALTER TABLE immutable.events ALTER {column} SET COMPRESSION {compression}")
    conn.execute("CREATE EXTENSION pg_surgery")
    log.fill(300)
    conn.execute("CHECKPOINT")
    toast_file = one(conn, f"SELECT pg_relation_filepath('{log.toast}')")
    edits, plan, killed = [], [], []
    for id, (column, value, file, offset) in log.stored(("metadata", "targets", "user_agent")).items():
        is_elsewhere = value[0] == 1
        how = log.random.choice(("kill", "chunk", "chunk", "row") if is_elsewhere else ("row",))
        if how == "row":
            # After the length, which says where the next column begins.
            first = 2 if is_elsewhere else 4
            edits.append((file, offset + log.random.randrange(first, len(value) if log.random.random() < 0.5 else
                                                              min(first + 16, len(value)))))
        else:
            place, size, offset = log.random.choice(log.chunks(value))
            if how == "kill":
                killed.append(place)
            else:
                edits.append((toast_file, offset + log.random.randrange(size)))
        plan.append((id, column, 0, 0, how))
    log.note(plan)
    conn.execute("SELECT heap_force_kill(%s::regclass, %s::tid[])", [log.toast, killed])
    has_checksums = one(conn, "SHOW data_checksums") == "on"
    conn.close()
    server.stop()
    if has_checksums:
        as_server(server.bin / "pg_checksums", "--disable", "-D", server.data)
    for file, place in edits:
        with open(server.data / file, "r+b") as opened:
            opened.seek(place)
            byte = opened.read(1)[0]
            opened.seek(place)
            opened.write(bytes([log.random.choice((byte ^ 1 << log.random.randrange(8), 0, 255 - byte))]))
    server.start()
    log.begin(db.connect())
    check_round(log)
    assert {how for how, in log.conn.execute("SELECT DISTINCT how FROM damages")} == {"kill", "chunk", "row"}
    lost = [str(id) for id, in log.conn.execute("SELECT id FROM damages WHERE how = 'kill'")]
    breaks = h.verify_breaks(log.conn)
    # Each is one break, with its place.
    for id in lost:
        found, = [each for each in breaks if each.event_id == id]
        assert found.type == "hash_mismatch" and found.tenant_id and found.lane == 0 and found.seq == 1
    for id in lost[:3]:
        refused = log.conn.execute("SELECT tenant_id FROM tenants WHERE id = %s", [id]).fetchone()[0]
        with pytest.raises(Exception, match=f"of event {id} cannot be read"):
            log.conn.execute("SELECT * FROM immutable.find_events(tenant_id => %s)", [refused])


# ---------------------------------------------------------------------------------------------------------------------
# Consumers and readers continue after a damaged event

def pages(conn, order, **filters):
    """The ids of all events, a page of one event at a time."""
    cursor, seen = None, []
    arguments = "".join(f"{name} => %({name})s, " for name in filters)
    for _ in range(100):
        answer = one_of(conn, f"SELECT immutable.get_events({arguments} \"cursor\" => %(cursor)s, \"limit\" => 1, "
                        "\"order\" => %(order)s)", {**filters, "cursor": cursor, "order": order})
        seen += [event["id"] for event in answer["data"]]
        if not answer["pagination"]["has_more"]:
            return seen
        cursor = answer["pagination"]["next_cursor"]
        assert cursor, "there is more, and no way to it"
    raise AssertionError("the pages do not end")


def feed(conn, tenant=None, limit=1):
    """The ids of all events, as a consumer of changes() gets them."""
    position, seen = None, []
    for _ in range(100):
        answer = one_of(conn, "SELECT immutable.changes(%(tenant)s, %(after)s::jsonb, %(limit)s)",
                        {"tenant": tenant, "after": position, "limit": limit})
        seen += [event["id"] for event in answer["data"]]
        if not answer["data"]:
            return seen
        position = json.dumps(answer["position"])
    raise AssertionError("the feed does not end")


def one_of(conn, statement, values):
    return conn.execute(statement, values).fetchone()[0]


def ids_of(conn, condition="true"):
    return {str(id) for id, in conn.execute(f"SELECT id FROM immutable.events WHERE {condition}")}


@pytest.fixture
def six(db):
    conn = db.conn
    for tenant in ("acme", "globex"):
        for n in range(6):
            h.add_event(conn, tenant, str(n))
    h.drop_checks(conn)
    conn.execute("CREATE CAST (bytea AS text) WITHOUT FUNCTION")
    return conn


@pytest.mark.parametrize("created_at", ["infinity", "-infinity", "0044-03-15 BC", "294000-01-01"])
def test_pages_after_an_event_without_a_valid_time(six, created_at):
    """A page's last event has a cursor, whatever time it has."""
    h.update(six, ("acme", 0, 3), created_at=created_at)
    for order in ("desc", "asc"):
        assert sorted(pages(six, order)) == sorted(ids_of(six))
        assert sorted(pages(six, order, tenant_id="acme")) == sorted(ids_of(six, "tenant_id = 'acme'"))


@pytest.mark.parametrize("bytes_of_it", ["ff", "61c3", "00", "61"])
def test_readers_after_an_event_whose_tenant_is_not_valid_text(six, bytes_of_it):
    with h.behind_triggers(six):
        six.execute(f"UPDATE immutable.events SET tenant_id = '\\x{bytes_of_it}'::bytea::text WHERE tenant_id = 'acme' AND seq = 3")
    for order in ("desc", "asc"):
        assert sorted(pages(six, order)) == sorted(ids_of(six))
    assert sorted(feed(six)) == sorted(ids_of(six))


@pytest.mark.parametrize("event_hash", ["NULL", "''", "'\\x0102'"])
def test_a_feed_after_an_event_without_a_hash(six, event_hash):
    """The position names it by its hash, and the consumer passes that back."""
    six.execute("ALTER TABLE immutable.events ALTER event_hash DROP NOT NULL")
    with h.behind_triggers(six):
        six.execute(f"UPDATE immutable.events SET event_hash = {event_hash} WHERE tenant_id = 'acme' AND seq = 3")
    assert sorted(feed(six)) == sorted(ids_of(six))
    assert sorted(feed(six, "acme")) == sorted(ids_of(six, "tenant_id = 'acme'"))


def test_a_feed_after_a_lane_below_0(six):
    h.update(six, ("acme", 0, 6), lane=-1, seq=1)
    assert sorted(feed(six, "acme")) == sorted(ids_of(six, "tenant_id = 'acme'"))


@pytest.mark.parametrize("created_at", ["infinity", "-infinity", "2001-01-01"])
@pytest.mark.parametrize("limit", [1, 2, 3, 5])
def test_a_feed_skips_nothing_where_times_are_out_of_order(six, created_at, limit):
    """The order of a lane is that of its numbers: a page that is cut by created_at would leave events behind for good."""
    for seq in (2, 5):
        h.update(six, ("acme", 0, seq), created_at=created_at)
        assert sorted(feed(six, "acme", limit)) == sorted(ids_of(six, "tenant_id = 'acme'"))


def test_heads_of_an_event_without_an_id(six):
    head, = [head for head in h.heads(six) if head["tenant_id"] == "acme"]
    six.execute("ALTER TABLE immutable.events DROP CONSTRAINT events_pkey CASCADE, ALTER id DROP NOT NULL")
    with h.behind_triggers(six):
        six.execute("UPDATE immutable.events SET id = NULL WHERE tenant_id = 'acme' AND seq = 6")
    answer = six.execute("SELECT valid, heads_checked FROM immutable.verify_chain(heads => %s::jsonb)", [json.dumps([head])])
    assert answer.fetchone() == (False, 1)


@pytest.mark.parametrize("has_index", [False, True])
def test_a_search_beside_a_lost_name(db, has_index):
    """Chunks of a name that are gone: the events beside it are found, and an index can be built."""
    conn = db.conn
    noise = Random(SEED).randbytes(512 * 4).hex()
    for n in range(3):
        h.add_event(conn, "acme", str(n), actor_name=noise[:1024] if n == 1 else "Sarah",
                    resource_name=noise[1024:2048] if n == 1 else None, user_agent=noise[2048:] if n == 1 else None)
    toast = one(conn, "SELECT reltoastrelid::regclass FROM pg_class WHERE oid = 'immutable.events'::regclass")
    conn.execute("CREATE EXTENSION pg_surgery; CREATE EXTENSION pg_trgm")
    assert one(conn, f"SELECT count(DISTINCT chunk_id) FROM {toast}") >= 2
    conn.execute(f"SELECT heap_force_kill('{toast}'::regclass, ARRAY(SELECT ctid FROM {toast}))")
    if has_index:
        conn.execute("SELECT immutable.enable_search()")
    for tenant in (None, "acme"):
        for needle, expected in (("sarah", 2), ("shared", 3), ("document", 3)):
            answer = one_of(conn, "SELECT immutable.get_events(tenant_id => %(tenant)s, search => %(needle)s)",
                            {"tenant": tenant, "needle": needle})
            assert len(answer["data"]) == answer["pagination"]["total"] == expected
    assert one(conn, "SELECT count(*) FROM immutable.export_events(search => 'sarah')") == 2 + 2
