"""Logs whose stored bytes are changed: many tenants of two events each, one that is damaged and one that must not suffer
for it."""

import json

import helpers_log as h
from helpers_random import Random
from psycopg.types.json import set_json_loads

# The columns whose values have bytes of a length of their own, and their types.
TEXTS = ("tenant_id", "actor_id", "actor_name", "actor_type", "action", "action_category", "resource_type", "resource_id",
         "resource_name", "session_id", "idempotency_key", "ip_country", "ip_city", "user_agent", "recorded_by")
BYTEAS = ("previous_event_hash", "event_hash", "salt")
JSONBS = ("targets", "metadata", "erased")
TYPES = {**dict.fromkeys(TEXTS, "text"), **dict.fromkeys(BYTEAS, "bytea"), **dict.fromkeys(JSONBS, "jsonb"),
         "ip_address": "inet"}
WEIGHTS = {**dict.fromkeys(TYPES, 4), **dict.fromkeys(JSONBS, 40), "ip_address": 15}

NUMBERS = ["0", "1", "9", "-1", "250", "-250", "9999", "10000", "-10000", "99990000", "12345678",
           "123456789012345678901234567890", "0.5", "-0.5", "1.10", "0.00", "-1.250", "0.0001", "0.00001", "1e20", "1e300",
           "1e-300", "-1e64", "1e4000", "1.5e-4000", "333333333.33333329"]
NESTED = '{"a":{"b":[1,[2,{"c":null,"d":[]}],{}],"e":"x"},"f":[[],[[0.5]],{"g":true}],"h":false}'
METADATA = [
    "{}", '{"amount": 250}', '{"amount": 12345678}', "{%s}" % ",".join(f'"n{n}":{value}' for n, value in enumerate(NUMBERS)),
    json.dumps({"list": list(range(70))}),
    json.dumps({f"key{n * 7 % 100:02}" if n % 3 else "k" * n: n for n in range(100)}),
    NESTED, '{"a":%s,"b":%s}' % (NESTED, NESTED),
    '{"text":"K\\u00f6ln \\u20ac \\ud83d\\ude00","":"empty","\\u00e9":"\\u0001\\n\\"\\\\"}', '{"t":true,"f":false,"n":null}',
    json.dumps({"long": "ab" * 1500}), json.dumps({"deep": [[[[[[[[[[1]]]]]]]]]]}),
]
TARGETS = [
    "[]", '[{"type":"t","id":"a"},{"type":"u"}]', json.dumps(h.TARGETS),
    json.dumps([{"type": "user", "id": f"u{n}", "metadata": {"n": n, "share": n / 8}} for n in range(40)]),
]
ADDRESSES = ["203.0.113.7", "10.0.0.0/8", "2001:db8::1", "::/0"]
GIVEN = ("actor_id", "actor_name", "actor_type", "action", "action_category", "resource_type", "resource_id",
         "resource_name", "targets", "metadata", "session_id", "idempotency_key", "ip_address", "ip_country", "ip_city",
         "user_agent", "version")


def shapes(randomly, chosen=24, random_ones=16):
    """Events as {column: text}."""
    for n in range(chosen):
        yield {"actor_id": "somebody", "action": "a", "metadata": METADATA[n % len(METADATA)],
               "targets": TARGETS[n // 2 % len(TARGETS)], "actor_name": "Jos\u00e9", "resource_type": "doc",
               "resource_id": "d1", "resource_name": "x" * 200, "ip_country": "DE", "session_id": "s",
               "ip_address": ADDRESSES[n % len(ADDRESSES)]}
    for number in range(random_ones):
        yield {**randomly.event(number), "idempotency_key": "k"}


def as_json(event):
    """The event as one JSON text; the text of its JSON columns stays as it is."""
    return "{" + ",".join(f'"{name}":{event[name] if name in JSONBS else json.dumps(event[name])}'
                          for name in GIVEN if event.get(name) is not None) + "}"


class Damages:
    def __init__(self, db, seed, events=None, jit="off"):
        """To compile queries takes longer than to run them."""
        self.random = Random(seed)
        self.jit = jit
        self.begin(db.conn)
        for kind in ("text", "jsonb", "inet"):
            self.conn.execute(f"CREATE CAST (bytea AS {kind}) WITHOUT FUNCTION")
            self.conn.execute(f"CREATE CAST ({kind} AS bytea) WITHOUT FUNCTION")
        h.drop_checks(self.conn)
        self.conn.execute("CREATE TABLE tenants (number int PRIMARY KEY, tenant_id text COLLATE \"C\" UNIQUE, "
                          "id uuid UNIQUE, other uuid, before text)")
        self.conn.execute("CREATE TABLE damages (id uuid PRIMARY KEY, col text, at int, byte int, how text)")
        self.conn.execute("CREATE TABLE shapes (number int PRIMARY KEY, event jsonb)")
        with self.conn.cursor() as cursor:
            cursor.executemany("INSERT INTO shapes VALUES (%s, %s)",
                               list(enumerate(as_json(event) for event in events or shapes(self.random))))
        self.columns = ", ".join(name for name in GIVEN if name not in JSONBS)

    def begin(self, conn):
        """Continues with this connection."""
        self.conn = conn
        # Numbers as text: one whose weight has changed may have 100,000 digits.
        set_json_loads(lambda text: json.loads(text, parse_int=str, parse_float=str), conn)
        for setting in (f"jit = {self.jit}", "client_min_messages = error", "immutable.max_chains_per_transaction = 1000",
                        "immutable.max_metadata_keys = 1000", "immutable.max_targets = 1000"):
            conn.execute(f"SET {setting}")

    def fill(self, tenants):
        """Forgets the events before, and records new ones, some of which are partly erased."""
        conn = self.conn
        with h.behind_triggers(conn):
            for table in ("immutable.event_targets", "immutable.events", "tenants", "damages"):
                conn.execute(f"DELETE FROM {table}")
        conn.execute("INSERT INTO tenants SELECT n, md5(n || %s), gen_random_uuid(), gen_random_uuid() "
                     "FROM generate_series(0, %s - 1) n", [str(self.random.random()), tenants])
        for part in self.parts():
            conn.execute(
                f"INSERT INTO immutable.events (id, tenant_id, targets, metadata, {self.columns}) "
                f"SELECT t.id, t.tenant_id, coalesce(e.targets, '[]'), coalesce(e.metadata, '{{}}'), "
                f"{', '.join('e.' + name for name in self.columns.split(', '))} FROM tenants t "
                "JOIN shapes s ON s.number = t.number %% (SELECT count(*) FROM shapes), "
                f"LATERAL jsonb_populate_record(NULL::immutable.events, s.event) e WHERE {part}".replace("%%", "%"))
            conn.execute("INSERT INTO immutable.events (id, tenant_id, actor_id, action, metadata) "
                         f"SELECT other, tenant_id, 'other', 'a', '{{\"n\": 1}}' FROM tenants t WHERE {part}")
            conn.execute("SELECT immutable.erase(t.id, t.tenant_id, '{actor_id,resource_name,targets.0}', 'request') "
                         "FROM tenants t JOIN immutable.events e USING (tenant_id, id) WHERE t.number % 5 = 0 "
                         f"AND jsonb_array_length(e.targets) > 0 AND e.resource_name IS NOT NULL AND {part}")
        conn.execute("UPDATE tenants t SET before = md5(e::text) FROM immutable.events e "
                     "WHERE e.tenant_id = t.tenant_id AND e.id = t.id")
        conn.execute("ANALYZE")

    def parts(self):
        """The tenants in parts, as conditions: a transaction may lock so many chains."""
        last, = self.conn.execute("SELECT max(number) FROM tenants").fetchone()
        return [f"t.number BETWEEN {first} AND {first + 499}" for first in range(0, last + 1, 500)]

    def plan(self, *only):
        """Which bytes of which value of each tenant's first event are changed."""
        randomly = self.random
        sizes = self.conn.execute(
            f"SELECT t.id, {', '.join(f'octet_length(e.{name}::bytea)' for name in TYPES)} "
            "FROM tenants t JOIN immutable.events e USING (tenant_id, id)").fetchall()
        for id, *lengths in sizes:
            there = [(name, length) for name, length in zip(TYPES, lengths) if length and name in (only or TYPES)]
            (column, length), = randomly.choices(there, [WEIGHTS[name] for name, _ in there])
            how, = randomly.choices(("set", "flip", "cut", "add", "swap", "zero"), (40, 40, 3, 3, 10, 4))
            at = randomly.randrange(randomly.choice((length, min(length, 64))))
            byte = randomly.choice((0, 1, 0x10, 0x20, 0x40, 0x50, 0x80, 0xff, randomly.randrange(256)))
            yield id, column, at, 1 << randomly.randrange(8) if how == "flip" else byte, how

    def note(self, plan):
        with self.conn.cursor() as cursor, cursor.copy("COPY damages FROM STDIN") as copy:
            for row in plan:
                copy.write_row(row)

    def damage(self, plan=None):
        """Carries the plan out behind the triggers' back."""
        plan = list(plan or self.plan())
        self.note(plan)
        with h.behind_triggers(self.conn):
            for column, kind in TYPES.items():
                # Words that change places: keys, entries, headers.
                self.conn.execute(f"""
                    UPDATE immutable.events e SET {column} = (CASE how
                        WHEN 'set' THEN set_byte(v, at, byte)
                        WHEN 'flip' THEN set_byte(v, at, get_byte(v, at) # byte)
                        WHEN 'cut' THEN substr(v, 1, at)
                        WHEN 'add' THEN substr(v, 1, at) || set_byte('x', 0, byte) || substr(v, at + 1)
                        WHEN 'swap' THEN substr(v, 1, word) || substr(v, word + 5, 4) || substr(v, word + 1, 4)
                                         || substr(v, word + 9)
                        WHEN 'zero' THEN substr(v, 1, word) || '\\x00000000'::bytea || substr(v, word + 5) END)::{kind}
                    FROM (SELECT f.tableoid, f.ctid AS place, f.{column}::bytea AS v, d.*, d.at / 4 * 4 AS word
                          FROM damages d JOIN tenants t USING (id)
                          JOIN immutable.events f ON f.tenant_id = t.tenant_id AND f.id = t.id
                          WHERE d.col = '{column}') x
                    WHERE e.ctid = x.place""")

    def describe(self, id):
        """What was done to an event."""
        return self.conn.execute("SELECT d.*, s.number, s.event FROM damages d JOIN tenants t USING (id) "
                                 "JOIN shapes s ON s.number = t.number % (SELECT count(*) FROM shapes) "
                                 "WHERE d.id = %s", [id]).fetchone()

    # ------------------------------------------------------------------------------------------------------------------
    # In the files of a server of its own

    def stored(self, names):
        """Where the values of these columns lie: {id: (column, attribute's bytes, file, offset)} of one column each that is
        not in the row as it is."""
        conn = self.conn
        conn.execute("CREATE EXTENSION IF NOT EXISTS pageinspect")
        numbers = dict(conn.execute("SELECT attname, attnum FROM pg_attribute "
                                    "WHERE attrelid = 'immutable.events'::regclass AND attnum > 0").fetchall())
        file, = conn.execute("SELECT pg_relation_filepath('immutable.events')").fetchone()
        found = {}
        for id, block, begin, data, attributes in conn.execute("""
                SELECT t.id, p.block, i.lp_off + i.t_hoff, i.t_data,
                       tuple_data_split('immutable.events'::regclass, i.t_data, i.t_infomask, i.t_infomask2, i.t_bits)
                FROM tenants t JOIN immutable.events e USING (tenant_id, id),
                     LATERAL (SELECT (e.ctid::text::point)[0]::int AS block, (e.ctid::text::point)[1]::int AS item) p,
                     LATERAL heap_page_items(get_raw_page('immutable.events', p.block)) i WHERE i.lp = p.item""").fetchall():
            values = [(name, attributes[numbers[name] - 1]) for name in names]
            odd = [(name, value) for name, value in values if value and (value[0] == 1 or value[0] & 3 == 2)]
            if odd:
                name, value = self.random.choice(odd)
                found[id] = name, value, file, block * 8192 + begin + data.index(value)
        return found

    def chunks(self, pointer):
        """The chunks that a pointer's value consists of: their ctid, size, and where their data lie in the file."""
        value = int.from_bytes(pointer[10:14], "little")
        return [(place, len(data), block * 8192 + begin + tuple_data.rindex(data))
                for place, data, block, begin, tuple_data in self.conn.execute(
                    f"SELECT c.ctid::text, c.chunk_data, p.block, i.lp_off + i.t_hoff, i.t_data FROM {self.toast} c, "
                    "LATERAL (SELECT (c.ctid::text::point)[0]::int AS block, (c.ctid::text::point)[1]::int AS item) p, "
                    f"LATERAL heap_page_items(get_raw_page('{self.toast}', p.block)) i "
                    "WHERE c.chunk_id = %s AND i.lp = p.item", [value])]

    @property
    def toast(self):
        return self.conn.execute("SELECT reltoastrelid::regclass::text FROM pg_class "
                                 "WHERE oid = 'immutable.events'::regclass").fetchone()[0]
