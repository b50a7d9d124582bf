"""Values of row changes against a model: what SQL prints of the old and the new row under the pinned settings. Then what no
statement may fail over: huge values, tables as wide as PostgreSQL allows, and values that cannot be read."""

import hashlib
import hmac
import json
import os
import random
import shutil
import tempfile

import psycopg
import pytest
from psycopg import sql

# Each type with expressions that make values of it.
TYPES = {
    "boolean": ["true", "false"],
    "smallint": ["(random() * 60000 - 30000)::int2"],
    "integer": ["(random() * 4e9 - 2e9)::int4", "0"],
    "bigint": ["(random() * 9e18)::int8", "-9223372036854775808"],
    "numeric": ["(random() * 1000)::numeric(20,5)", "'NaN'", "1e-20", "'-Infinity'", "repeat('9', 200)::numeric"],
    "real": ["random()::real", "'-0'::real", "1e20::real"],
    "double precision": ["random()", "1e300", "'Infinity'"],
    "text": ["md5(random()::text)", "repeat(md5(random()::text), 300)", "''", "E'\\x01\\u2028\"\\\\'"],
    "varchar(40)": ["md5(random()::text)"],
    "char(40)": ["md5(random()::text)"],
    "name": ["md5(random()::text)"],
    "bytea": ["decode(md5(random()::text), 'hex')", "decode(repeat(md5(random()::text), 200), 'hex')", "''"],
    "date": ["'2000-01-01'::date + (random() * 9000)::int", "'infinity'", "'4713-01-01 BC'"],
    "time": ["'12:00:00'::time + random() * interval '6 h'"],
    "timetz": ["'12:00:00+05:30'::timetz"],
    "timestamp": ["'2000-01-01'::timestamp + random() * interval '9000 d'"],
    "timestamptz": ["'2000-01-01'::timestamptz + random() * interval '9000 d'", "'-infinity'"],
    "interval": ["random() * interval '1 year 3 mons 5 d'", "'-1 mons +2 days -00:00:01'"],
    "uuid": ["gen_random_uuid()"],
    "json": ["json_build_object('a', random(), 'b', 'x\"y')", "'{\"a\": \"\\u0000\"}'",
             "(repeat('[', 500) || repeat(']', 500))::json"],
    "jsonb": ["jsonb_build_object('a', random(), 'b', ARRAY[1,2])", "'null'"],
    "integer[]": ["ARRAY[1, NULL, (random() * 9)::int]", "'{}'"],
    "text[]": ["ARRAY['a b', 'c\"d', NULL, 'NULL', '']"],
    "timestamptz[]": ["ARRAY['2000-01-01'::timestamptz + random() * interval '9000 d']"],
    "bytea[]": ["ARRAY['\\x00ff'::bytea]"],
    "mixed": ["ROW(random(), now(), '\\x01'::bytea, 'pg_class'::regclass, 12.5::money)"],
    "tstzrange": ["tstzrange('2000-01-01', '2000-01-01'::timestamptz + random() * interval '9000 d')"],
    "int8multirange": ["'{[1,3),[5,9)}'"],
    "inet": ["'10.0.0.1'::inet + (random() * 1000)::int"],
    "money": ["(random() * 1000)::numeric::money"],
    "regclass": ["'odd.\"a table\"'::regclass", "'pg_class'::regclass"],
    "regproc": ["'now'::regproc"],
    "point": ["point(random(), random())"],
    "bit varying": ["B'10101'"],
    "tsvector": ["to_tsvector('simple', 'a fat cat ' || random())"],
    "\"char\"": ["'x'"],
    "positive": ["(random() * 100)::int + 1"],
    "mood": ["'so so'"],
}
PINNED = {"DateStyle": "ISO, YMD", "TimeZone": "UTC", "IntervalStyle": "postgres", "bytea_output": "hex",
          "extra_float_digits": "1", "lc_monetary": "C", "search_path": "pg_catalog", "quote_all_identifiers": "off"}
ODD = {"DateStyle": "SQL, DMY", "TimeZone": "Asia/Kolkata", "IntervalStyle": "iso_8601", "bytea_output": "escape",
       "extra_float_digits": "-5", "search_path": "odd, public", "quote_all_identifiers": "on"}
NUMBERS = {"boolean", "smallint", "integer", "bigint", "positive"}


def put(conn, settings):
    for name, value in settings.items():
        conn.execute("SELECT set_config(%s, %s, false)", (name, value))


def events(conn, resource_type, since=""):
    return conn.execute("SELECT action, resource_id, metadata::text FROM immutable.events "
                        "WHERE resource_type = %s ORDER BY seq", (resource_type,)).fetchall()


def as_recorded(kind, text):
    if text is None:
        return None
    if kind in NUMBERS:
        return {"t": True, "f": False}[text] if kind == "boolean" else int(text)
    size = len(text.encode())
    return text if size <= 8192 else {"length": size, "sha256": hashlib.sha256(text.encode()).hexdigest()}


def rows(conn, columns):
    """All rows as they are to be recorded, by id."""
    texts = sql.SQL(", ").join(sql.SQL("CASE WHEN {0} IS NULL THEN NULL ELSE textin({1}({0})) END").format(
        sql.Identifier(name), sql.SQL(conn.output[kind])) for name, kind in columns.items())
    found = conn.execute(sql.SQL("SELECT id, {} FROM odd.v ORDER BY id").format(texts)).fetchall()
    return {row[0]: {"id": row[0], **{name: as_recorded(kind, text)
                                      for (name, kind), text in zip(columns.items(), row[1:])}} for row in found}


class Model:
    """A connection that prints as the log does, with the output function of each type."""

    def __init__(self, conn, kinds):
        self.conn = conn
        put(conn, PINNED)
        self.output = {kind: conn.execute("SELECT typoutput::text FROM pg_catalog.pg_type WHERE oid = %s::regtype",
                                          (f"odd.{kind}" if kind in ("mixed", "positive", "mood") else kind,)).fetchone()[0]
                       for kind in kinds}

    def execute(self, *arguments):
        return self.conn.execute(*arguments)


@pytest.mark.parametrize("seed", range(2))
def test_random_rows_are_recorded_as_the_model_prints_them(db, seed):
    chance = random.Random(seed)
    conn = db.conn
    conn.execute("CREATE SCHEMA odd")
    conn.execute("SET search_path = odd, public")
    conn.execute("CREATE TABLE \"a table\" ()")
    conn.execute("CREATE DOMAIN positive AS int CHECK (VALUE > 0)")
    conn.execute("CREATE TYPE mood AS ENUM ('so so')")
    conn.execute("CREATE TYPE mixed AS (f float8, at timestamptz, b bytea, c regclass, m money)")
    columns = {f"c{n} {kind}": kind for n, kind in enumerate(TYPES)}
    conn.execute(sql.SQL("CREATE TABLE v (id int PRIMARY KEY, {})").format(
        sql.SQL(", ").join(sql.SQL("{} {}").format(sql.Identifier(name), sql.SQL(kind)) for name, kind in columns.items())))
    conn.execute("SELECT immutable.track_table('v')")
    model = Model(db.connect(), TYPES)
    put(conn, ODD)

    def some(kind):
        return sql.SQL("NULL" if chance.random() < 0.15 else chance.choice(TYPES[kind]))

    for number in range(15):
        values = sql.SQL(", ").join(sql.SQL("CAST({} AS {})").format(some(kind), sql.SQL(kind)) for kind in columns.values())
        conn.execute(sql.SQL("INSERT INTO v VALUES ({}, {})").format(number, values))
    expected = [("v.created", str(row["id"]), {name: {"new": value} for name, value in row.items()})
                for row in rows(model, columns).values()]
    for _ in range(15):
        before = rows(model, columns)
        number = chance.choice(list(before))
        if chance.random() < 0.2:
            conn.execute("DELETE FROM v WHERE id = %s", (number,))
            expected.append(("v.deleted", str(number), {name: {"old": value} for name, value in before[number].items()}))
            continue
        chosen = chance.sample(list(columns), chance.randint(1, 6))
        changes = sql.SQL(", ").join(sql.SQL("{} = CAST({} AS {})").format(
            sql.Identifier(name), some(columns[name]), sql.SQL(columns[name])) for name in chosen)
        conn.execute(sql.SQL("UPDATE v SET {} WHERE id = {}").format(changes, number))
        after = rows(model, columns)[number]
        changed = {name: {"old": value, "new": after[name]}
                   for name, value in before[number].items() if value != after[name]}
        if changed:
            expected.append(("v.updated", str(number), changed))
    got = [(action, resource_id, json.loads(metadata)) for action, resource_id, metadata in events(conn, "v")]
    assert [event[:2] for event in got] == [event[:2] for event in expected]
    for one, other in zip(got, expected):
        assert one == other
    assert conn.execute("SELECT count(*) FROM immutable.verify_breaks()").fetchone() == (0,)


def test_huge_values_become_their_hash(db):
    conn = db.conn
    conn.execute("CREATE TABLE huge (id int PRIMARY KEY, t text, b bytea, j jsonb)")
    conn.execute("SELECT immutable.track_table('huge')")
    conn.execute("INSERT INTO huge VALUES (1, repeat('0123456789', 10000000), decode(repeat('ab', 20000000), 'hex'), "
                 "jsonb_build_object('a', repeat('\"', 20000000)))")
    conn.execute("UPDATE huge SET t = t || '.', b = b || '\\x01', j = NULL")
    text, data = b"0123456789" * 10_000_000, b"ab" * 20_000_000
    document = b'{"a": "' + b'\\"' * 20_000_000 + b'"}'

    def digest(content):
        return {"length": len(content), "sha256": hashlib.sha256(content).hexdigest()}

    created, updated = [json.loads(metadata) for _, _, metadata in events(conn, "huge")]
    assert created == {"id": {"new": 1}, "t": {"new": digest(text)}, "b": {"new": digest(b"\\x" + data)},
                       "j": {"new": digest(document)}}
    assert updated == {"t": {"old": digest(text), "new": digest(text + b".")}, "j": {"old": digest(document), "new": None},
                       "b": {"old": digest(b"\\x" + data), "new": digest(b"\\x" + data + b"01")}}


def damage(conn, table):
    """Takes away the chunks of all values that are stored out of line."""
    toast = conn.execute("SELECT reltoastrelid::regclass::text FROM pg_class WHERE oid = %s::regclass", (table,)).fetchone()[0]
    conn.execute("CREATE EXTENSION pg_surgery")
    chunks = [tid for tid, in conn.execute(f"SELECT ctid::text FROM {toast}")]
    conn.execute("SELECT heap_force_kill(%s::regclass, %s::tid[])", (toast, chunks))


def test_a_value_that_cannot_be_read_is_said_to_be_so(db):
    conn = db.conn
    conn.execute("CREATE TABLE torn (id int PRIMARY KEY, t text, j jsonb, s text)")
    conn.execute("ALTER TABLE torn ALTER t SET STORAGE EXTERNAL, ALTER j SET STORAGE EXTERNAL")
    conn.execute("INSERT INTO torn SELECT n, repeat('x', 5000), jsonb_build_object('a', repeat('y', 5000)), 's' "
                 "FROM generate_series(1, 3) n")
    conn.execute("SELECT immutable.track_table('torn')")
    damage(conn, "torn")
    with pytest.raises(psycopg.Error):
        conn.execute("SELECT t || '' FROM torn WHERE id = 1").fetchall()
    # What is not changed is not read.
    conn.execute("UPDATE torn SET s = 'new' WHERE id = 1")
    conn.execute("UPDATE torn SET t = 'mended' WHERE id = 2")
    conn.execute("DELETE FROM torn WHERE id = 3")
    assert [json.loads(metadata) for _, _, metadata in events(conn, "torn")] == [
        {"s": {"old": "s", "new": "new"}},
        {"t": {"old": {"unreadable": True}, "new": "mended"}},
        {"id": {"old": 3}, "t": {"old": {"unreadable": True}}, "j": {"old": {"unreadable": True}}, "s": {"old": "s"}}]


@pytest.mark.parametrize("firing", ["statement", "row"])
def test_unchanged_toasted_values_are_not_recorded(db, firing):
    conn = db.conn
    conn.execute("CREATE TABLE t (id int PRIMARY KEY, t text, c text, s text)")
    if firing == "row":
        conn.execute("CREATE TABLE other () INHERITS (t)")
    conn.execute("ALTER TABLE t ALTER t SET STORAGE EXTERNAL")
    conn.execute("INSERT INTO t VALUES (1, repeat('x', 50000), repeat('compressed', 900), 's')")
    conn.execute("SELECT immutable.track_table('t')")
    conn.execute("UPDATE t SET s = 'new'")
    conn.execute("UPDATE t SET t = t || '', c = c || ''")
    conn.execute("UPDATE t SET t = overlay(t placing 'y' from 40000)")
    assert [list(json.loads(metadata)) for _, _, metadata in events(conn, "t")] == [["s"], ["t"]]


def test_masked_values_have_an_hmac_under_the_key_of_the_file(cluster):
    """A file that cannot be used fails no statement, and a key that changes is taken at once."""
    directory = tempfile.mkdtemp()
    name = os.path.join(directory, "key")
    server = cluster(**{"immutable.mask_key_file": name})
    try:
        with server.connect() as conn:
            conn.execute("CREATE EXTENSION immutable")
            conn.execute("CREATE TABLE m (id int PRIMARY KEY, iban text, pin int)")
            conn.execute("SELECT immutable.track_table('m', mask => '{iban,pin}')")
            owner = conn.execute("SELECT (pg_stat_file('PG_VERSION')).size").fetchone()
            assert owner
            conn.execute("INSERT INTO m VALUES (1, 'DE02', NULL)")
            [(_, _, metadata)] = events(conn, "m")
            assert json.loads(metadata) == {"id": {"new": 1}, "iban": {"changed": True}, "pin": {"changed": True}}
            key = bytes(range(32))
            # The server writes the file itself, so that it is its own.
            os.chmod(directory, 0o777)
            conn.execute(sql.SQL("COPY (SELECT {}) TO PROGRAM {}").format(
                key.hex(), f"umask 077; cat > {name}"))
            conn.execute("UPDATE m SET iban = 'DE03', pin = 7")
            metadata = json.loads(events(conn, "m")[-1][2])

            def mac(column, text):
                return hmac.new(key, b"m\0" + column + b"\0" + text, hashlib.sha256).hexdigest()

            assert metadata == {
                "iban": {"changed": True, "old_hmac": mac(b"iban", b"DE02"), "new_hmac": mac(b"iban", b"DE03")},
                "pin": {"changed": True, "old_hmac": None, "new_hmac": mac(b"pin", b"7")}}
            conn.execute(sql.SQL("COPY (SELECT 1) TO PROGRAM {}").format(f"chmod 644 {name}"))
            conn.execute("DELETE FROM m")
            assert json.loads(events(conn, "m")[-1][2])["iban"] == {"changed": True}
    finally:
        shutil.rmtree(directory)


def test_changes_of_a_foreign_table_are_recorded(db):
    """Its triggers fire for each row, because foreign tables have no transition tables."""
    conn = db.conn
    conn.execute("CREATE EXTENSION postgres_fdw")
    conn.execute(f"CREATE SERVER here FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '{db.server.host}', "
                 f"port '{db.server.port}', dbname '{db.name}')")
    conn.execute("CREATE USER MAPPING FOR postgres SERVER here OPTIONS (user 'postgres')")
    conn.execute("CREATE TABLE near (id int PRIMARY KEY, s text, n int)")
    conn.execute("CREATE FOREIGN TABLE far (id int, s text, n int) SERVER here OPTIONS (table_name 'near')")
    conn.execute("SELECT immutable.track_table('far', id_columns => '{id}', exclude => '{n}')")
    conn.execute("INSERT INTO far VALUES (1, 'a', 1), (2, 'b', 2)")
    conn.execute("UPDATE far SET s = 'changed', n = n + 1 WHERE id = 2")
    conn.execute("UPDATE far SET n = n + 1")
    conn.execute("UPDATE far SET s = s")
    conn.execute("DELETE FROM far WHERE id = 1")
    assert [(action, key, json.loads(metadata)) for action, key, metadata in events(conn, "far")] == [
        ("far.created", "1", {"id": {"new": 1}, "s": {"new": "a"}}),
        ("far.created", "2", {"id": {"new": 2}, "s": {"new": "b"}}),
        ("far.updated", "2", {"s": {"old": "b", "new": "changed"}}),
        ("far.deleted", "1", {"id": {"old": 1}, "s": {"old": "a"}})]


def test_xml_is_recorded_as_it_is_printed(db):
    db.conn.execute("CREATE TABLE v (id int PRIMARY KEY, x xml)")
    db.conn.execute("SELECT immutable.track_table('v')")
    try:
        db.conn.execute("INSERT INTO v VALUES (1, '<a b=\"1\">t</a>')")
        value = '<a b="1">t</a>'
    except psycopg.errors.FeatureNotSupported:  # a server that is built without libxml
        db.conn.execute("INSERT INTO v VALUES (1, NULL)")
        value = None
    (metadata,), = db.conn.execute("SELECT metadata FROM immutable.events WHERE resource_type = 'v'").fetchall()
    assert metadata == {"id": {"new": 1}, "x": {"new": value}}
