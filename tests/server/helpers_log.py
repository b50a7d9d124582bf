"""A small log to tamper with, and what verification says about it. Hashes that tests expect are computed by the Python
implementation in tests/python, never taken from the server's own verdict."""

import contextlib
import pathlib
import sys
from typing import NamedTuple, Optional

from psycopg import sql
from psycopg.types.json import Jsonb

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "python"))
import immutable_format as python_format  # noqa: E402

COLUMNS = python_format.COLUMNS
MOST_LISTED = 1000


class Break(NamedTuple):
    """One break as verify_breaks() reports it, without its detail; hashes are hex."""

    type: str
    tenant_id: Optional[str]
    lane: Optional[int]
    seq: Optional[int]
    event_id: Optional[str]
    expected: Optional[str] = None
    actual: Optional[str] = None


def plain(bytea):
    """The hex digits of a hash as row_to_json shows it."""
    return None if bytea is None else bytea[2:]


def bytea(hex_digits):
    return None if hex_digits is None else bytes.fromhex(hex_digits)


class Log:
    """The events of a database as the Python implementation reads them, by (tenant_id, lane, seq)."""

    def __init__(self, conn, table="immutable.events"):
        conn.execute("SET timezone = 'UTC'")
        conn.execute("SET bytea_output = 'hex'")
        lines = conn.execute(f"SELECT row_to_json(e)::text FROM {table} e").fetchall()
        self.rows = [python_format.read_row(line) for line, in lines]
        self.by_place = {(row["tenant_id"], int(row["lane"]), int(row["seq"])): row for row in self.rows}

    def __getitem__(self, place):
        return self.by_place[place]

    def hash(self, *place):
        """The stored hash."""
        return plain(self[place]["event_hash"])

    def previous(self, *place):
        return plain(self[place]["previous_event_hash"])


# What can be wrong with a row, with hashes that follow from the row itself.

def at(row):
    return row["tenant_id"], int(row["lane"]), int(row["seq"]), row["id"]


def hash_mismatch(row):
    return Break("hash_mismatch", *at(row), python_format.event_hash(row), plain(row["event_hash"]))


def chain_break(row, expected):
    """`expected`: the hash of the event before it."""
    return Break("chain_break", *at(row), expected, plain(row["previous_event_hash"]))


def hole(after, seq):
    """Events are missing from `seq` to the one before `after`, which names the hash of the last of them."""
    return Break("missing_event", *at(after)[:2], seq, None, plain(after["previous_event_hash"]))


def head_gone(row, now=None):
    """A saved head `row`; `now` is what is in its place."""
    event_id, actual = (None, None) if now is None else (now["id"], plain(now["event_hash"]))
    return Break("missing_event", *at(row)[:3], event_id, plain(row["event_hash"]), actual)


def target_mismatch(row):
    return Break("target_mismatch", *at(row))


def stray_target(row):
    """A row of event_targets that belongs to no target of an event: it has no place in a chain."""
    return Break("target_mismatch", row["tenant_id"], None, None, row["id"])


def erased_unrecorded(row, commitment):
    return Break("erasure_mismatch", *at(row), None, commitment)


def erased_is_back(row, commitment):
    return Break("erasure_mismatch", *at(row), commitment, None)


def _order(found):
    return tuple((value is not None, value) for value in found)


def _call(scope):
    """Named arguments of a call, and their values."""
    return sql.SQL(", ").join(sql.SQL("{} => %s").format(sql.Identifier(name)) for name in scope), [
        Jsonb(value) if name in ("heads", "since") else value for name, value in scope.items()]


def verify_breaks(conn, **scope):
    arguments, values = _call(scope)
    rows = conn.execute(sql.SQL(
        "SELECT type, tenant_id, lane, seq, event_id::text, encode(expected_hash, 'hex'), encode(actual_hash, 'hex') "
        "FROM immutable.verify_breaks({})").format(arguments), values).fetchall()
    return [Break(*row) for row in rows]


def verify_chain(conn, **scope):
    """The one row of verify_chain() as a dict, with its breaks as Break."""
    arguments, values = _call(scope)
    cursor = conn.execute(sql.SQL("SELECT * FROM immutable.verify_chain({})").format(arguments), values)
    rows = cursor.fetchall()
    assert len(rows) == 1
    result = dict(zip((column.name for column in cursor.description), rows[0]))
    for found in result["breaks"]:
        assert set(found) == {"tenant_id", "lane", "seq", "event_id", "type", "expected_hash", "actual_hash", "detail"}
        assert found["detail"]
    result["breaks"] = [Break(found["type"], found["tenant_id"], found["lane"], found["seq"], found["event_id"],
                              found["expected_hash"], found["actual_hash"]) for found in result["breaks"]]
    return result


def verify(conn, **scope):
    """The service's answer."""
    scope = {"limit" if name == "max_events" else name: value for name, value in scope.items()}
    arguments, values = _call(scope)
    answer, = conn.execute(sql.SQL("SELECT immutable.verify({})").format(arguments), values).fetchone()
    assert set(answer) == {"data"}
    assert set(answer["data"]) == {"valid", "events_checked", "events_total", "complete", "heads_checked", "anchored",
                                   "checkpoint_size", "cosigned_by", "cosigned_at", "recorded_late", "pruned", "breaks"}
    assert (answer["data"]["heads_checked"], answer["data"]["anchored"]) == (0, False)
    return answer["data"]


def check_breaks(conn, *expected, **scope):
    """Exactly these breaks are found: by verify_breaks(), verify_chain(), and verify() where it has such arguments."""
    expected = sorted(expected, key=_order)
    listed = verify_breaks(conn, **scope)
    assert sorted(listed, key=_order) == expected

    whole = verify_chain(conn, **scope)
    if len(expected) <= MOST_LISTED:
        assert sorted(whole["breaks"], key=_order) == expected
    else:
        assert len(whole["breaks"]) == MOST_LISTED
        assert set(whole["breaks"]) <= set(expected)
    assert whole["breaks_found"] == len(expected)
    assert whole["valid"] is (not expected)

    with in_parallel(conn):
        assert verify_breaks(conn, **scope) == listed, "in a parallel plan"

    if not {"tenant_id", "heads", "since", "checkpoint"} & set(scope):
        service = verify(conn, **scope)
        shown = [(found["event_id"], found["type"], found["expected_hash"], found["actual_hash"])
                 for found in service["breaks"]]
        wanted = sorted([(found.event_id, found.type, found.expected, found.actual) for found in expected], key=_order)
        if len(expected) <= MOST_LISTED:
            assert sorted(shown, key=_order) == wanted, "verify()"
        else:
            assert len(shown) == MOST_LISTED and set(shown) <= set(wanted), "verify()"
        assert service["valid"] is (not expected)
        assert service["events_checked"] == whole["events_checked"]


PARALLEL = {"max_parallel_workers_per_gather": "2", "parallel_setup_cost": "0", "parallel_tuple_cost": "0.1",
            "min_parallel_table_scan_size": "0", "parallel_leader_participation": "off"}


@contextlib.contextmanager
def in_parallel(conn):
    """Makes everything run in parallel workers that can."""
    for name, value in PARALLEL.items():
        conn.execute("SELECT set_config(%s, %s, false)", [name, value])
    try:
        yield
    finally:
        for name in PARALLEL:
            conn.execute(sql.SQL("RESET {}").format(sql.Identifier(name)))


def heads(conn):
    """As an operator saves them."""
    return conn.execute("SELECT jsonb_agg(h) FROM immutable.heads() h").fetchone()[0] or []


def unguard(conn):
    """Lets DDL on the log's objects through without recording it, as a superuser can; status() reports that."""
    for event in ("start", "end", "drop"):
        conn.execute(f"ALTER EVENT TRIGGER immutable_ddl_{event} DISABLE")


@contextlib.contextmanager
def behind_triggers(conn):
    """Changes that a superuser makes with the triggers switched off, foreign keys included."""
    conn.execute("SET session_replication_role = replica")
    try:
        yield
    finally:
        conn.execute("RESET session_replication_role")


def drop_checks(conn):
    """Lets behind_triggers() store rows that have not the form of an event."""
    unguard(conn)
    conn.execute('ALTER TABLE immutable.events DISABLE TRIGGER "~immutable_apply"')


def update(conn, place, **columns):
    """Changes columns of one event behind the triggers' back, and gives the row as it is then."""
    assignments = sql.SQL(", ").join(sql.SQL("{} = %s").format(sql.Identifier(name)) for name in columns)
    values = [Jsonb(value) if isinstance(value, (dict, list)) else value for value in columns.values()]
    with behind_triggers(conn):
        now = conn.execute(
            sql.SQL("UPDATE immutable.events e SET {} WHERE tenant_id = %s AND lane = %s AND seq = %s "
                    "RETURNING row_to_json(e)::text").format(assignments), [*values, *place]).fetchall()
    (line,), = now
    return python_format.read_row(line)


def delete(conn, *places, with_targets=True):
    with behind_triggers(conn):
        for place in places:
            (event_id,), = conn.execute(
                "DELETE FROM immutable.events WHERE tenant_id = %s AND lane = %s AND seq = %s RETURNING id", place)
            if with_targets:
                conn.execute("DELETE FROM immutable.event_targets WHERE tenant_id = %s AND event_id = %s",
                             [place[0], event_id])


def insert_row(conn, row, table="immutable.events"):
    """Inserts a row of the Python implementation as it is, behind the triggers' back."""
    names = sql.SQL(", ").join(map(sql.Identifier, COLUMNS))
    with behind_triggers(conn):
        conn.execute(
            sql.SQL("INSERT INTO {} ({}, xact) SELECT {}, pg_current_xact_id() "
                    "FROM json_populate_record(NULL::immutable.events, %s::json)").format(
                sql.SQL(table), names, names), [python_format.canonical(text_form(row), max_depth=None)])


def text_form(row):
    """A row with None for what it lacks, ready to be written as JSON."""
    return {column: row.get(column) for column in COLUMNS}


def forge(row, **changes):
    """The row with these changes and the hash that fits them."""
    forged = {**row, **changes}
    digest = python_format.event_hash(forged)
    assert digest is not None, python_format.why_no_document(forged)
    return {**forged, "event_hash": "\\x" + digest}


CALLER = ("tenant_id", "actor_id", "actor_name", "actor_type", "action", "action_category", "resource_type",
          "resource_id", "resource_name", "targets", "metadata", "session_id", "idempotency_key", "ip_address",
          "ip_country", "ip_city", "user_agent", "version", "occurred_at")
TARGETS = [{"type": "folder", "id": "f-1", "name": "Reports", "metadata": {"depth": 2, "share": 1.1}},
           {"type": "user", "id": "u-7"}]


def add_event(conn, tenant_id, name, **columns):
    """Records an event with a value in every column. `name` distinguishes it from all others."""
    given = dict(
        tenant_id=tenant_id, actor_id=f"user-{name}", actor_name=f"User {name}", actor_type="user",
        action="document.shared", action_category="access", resource_type="document", resource_id=f"doc-{name}",
        resource_name=f"Document {name}", targets=[], metadata={"reason": f"ticket {name}", "amount": 12},
        session_id=f"session-{name}", idempotency_key=f"key-{name}", ip_address="203.0.113.7", ip_country="DE",
        ip_city="Köln", user_agent="Mozilla/5.0", version=3, occurred_at="2026-03-15T14:32:18.8Z")
    given.update(columns)
    names = sql.SQL(", ").join(map(sql.Identifier, given))
    marks = sql.SQL(", ").join([sql.Placeholder()] * len(given))
    conn.execute(sql.SQL("INSERT INTO immutable.events ({}) VALUES ({})").format(names, marks),
                 [Jsonb(value) if isinstance(value, (dict, list)) else value for value in given.values()])


def build_log(db, prefix=""):
    """Tenant acme has six events in lane 0 and four in lane 1, recorded in turns; globex has four, no tenant two.
    Events with an odd seq in acme's lane 0 have two targets."""
    with db.connect(autocommit=False) as first, db.connect() as second:
        for seq in range(1, 7):
            add_event(first, "acme", f"{prefix}a{seq}", targets=TARGETS if seq % 2 else [])
            if seq in (2, 3, 5, 6):
                # Lane 0 is taken until the other transaction ends. (The very first one keeps everybody waiting: it
                # makes the log's identity.)
                add_event(second, "acme", f"{prefix}b{seq}")
            first.commit()
    for number in range(4):
        add_event(db.conn, "globex", f"{prefix}g{number}")
    for number in range(2):
        add_event(db.conn, "", f"{prefix}n{number}")
    log = Log(db.conn)
    assert sorted(log.by_place) == sorted(
        [("acme", 0, seq) for seq in range(1, 7)] + [("acme", 1, seq) for seq in range(1, 5)]
        + [("globex", 0, seq) for seq in range(1, 5)] + [("", 0, seq) for seq in range(1, 3)])
    check_breaks(db.conn)
    return log
