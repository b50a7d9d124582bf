"""Events of many tenants on all shards, the same as Python values, and what the reading functions must answer about them."""

import datetime
import json
import random
import re
import uuid

from psycopg.types.json import Jsonb

ACTIONS = ["document.viewed", "document.shared", "documents.listed", "user.login", "a%b_c\\d", "billing.rare"]
FILTERS = ["actor_id", "action", "resource", "resource_id", "tenant_id", "session_id", "target_type", "target_id", "search",
           "from_date", "to_date"]
BASE = datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)
# A statement that runs at the shard of a tenant.
AT_SHARD = ("SELECT a.* FROM (SELECT count(*) AS here FROM immutable.placement WHERE tenant_id = %(tenant)s) p "
            "CROSS JOIN LATERAL immutable.{} a")


def fill(log, seed, tenants, events):
    """Events of few values each, so that filters meet; many with the same created_at, on all shards, and some with the same
    id in two tenants."""
    chance = random.Random(seed)
    rows, ids = [], []
    for number in range(events):
        targets = [{"type": chance.choice(["team", "folder"]), **({"id": f"t{chance.randrange(4)}"} if chance.random() < .8 else {})}
                   for _ in range(chance.choice([0, 0, 1, 2, 3]))]
        tenant = chance.choice(tenants)
        given = chance.choice(ids)[1] if ids and chance.random() < .08 else uuid.UUID(int=chance.getrandbits(128), version=4)
        if (tenant, given) in ids:
            continue
        ids.append((tenant, given))
        rows.append((
            given, tenant, f"user_{chance.randrange(6)}", chance.choice(["Sarah Chen", "50% _ \\", None]),
            chance.choices(ACTIONS, [9, 6, 4, 4, 2, .3])[0], chance.choice(["document", "folder", None]),
            chance.choice(["r1", "r2", None]), chance.choice(["Report", 'say "hi"', None]), Jsonb(targets),
            Jsonb(chance.choice([{}, {"k": "back\\slash"}, {"code1": [1]}])), chance.choice([f"s{chance.randrange(5)}", None]), number))
    with log.conn.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO immutable.events (id, tenant_id, actor_id, actor_name, action, resource_type, resource_id, "
            "resource_name, targets, metadata, session_id, version) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)", rows)
    for (events_shard, node), (targets_shard, _) in zip(sorted(log.shards().items()), sorted(log.shards("event_targets").items())):
        with log.on_node(node) as conn, conn.transaction():
            conn.execute("SET LOCAL session_replication_role = replica")
            conn.execute(f"UPDATE {events_shard} SET created_at = %s::timestamptz + interval '1 s' * (version / 25)", [BASE])
            conn.execute(f"UPDATE {targets_shard} t SET created_at = e.created_at FROM {events_shard} e "
                         "WHERE e.id = t.event_id AND e.tenant_id = t.tenant_id")
    log.conn.execute("ANALYZE immutable.events, immutable.event_targets")
    found = load(log)
    assert len({event["id"] for event in found}) < len(found) - 3 and len({event["created_at"] for event in found}) < len(found) / 2
    assert len(found) == len(rows)
    return found


def load(log):
    """All events as a plain query gives them to a superuser."""
    names = ["tenant_id", "id", "created_at", "actor_id", "actor_name", "action", "resource_type", "resource_id", "resource_name",
             "session_id", "targets", "metadata"]
    rows = log.conn.execute(f"SELECT {', '.join(names)} FROM immutable.events").fetchall()
    return [dict(zip(names, row)) for row in rows]


def passes(event, name, value):
    match name:
        case "action":
            return re.fullmatch(".*".join(map(re.escape, value.split("*"))), event["action"]) is not None
        case "resource":
            return event["resource_type"] == value
        case "from_date":
            return event["created_at"] >= value
        case "to_date":
            return event["created_at"] <= value
        case "search":
            searched = "\n".join([event["actor_name"] or "", event["action"], event["resource_name"] or "",
                                  json.dumps(event["metadata"])])
            return value.lower() in searched.lower()
        case _:
            return event[name] == value


def model(events, given, order, tenant=None, actor=None):
    """What a caller who sees a tenant, or an actor of it, or all, must find: (tenant, id) in order."""
    target = {name: given[name] for name in ("target_type", "target_id") if name in given}
    wanted = {"type": target.get("target_type"), "id": target.get("target_id")}
    wanted = {name: value for name, value in wanted.items() if value is not None}
    found = [
        event for event in events
        if (tenant is None or event["tenant_id"] == tenant) and (actor is None or event["actor_id"] == actor)
        and all(passes(event, name, value) for name, value in given.items() if name not in target)
        and (not wanted or any(wanted.items() <= one.items() for one in event["targets"]))]
    found.sort(key=lambda event: (event["created_at"], event["id"].bytes, event["tenant_id"].encode()), reverse=order == "desc")
    return [(event["tenant_id"], str(event["id"])) for event in found]


def some_filters(chance, tenants):
    time = lambda: BASE + datetime.timedelta(seconds=chance.randrange(30))  # noqa: E731
    value = {
        "actor_id": lambda: f"user_{chance.randrange(7)}",
        "action": lambda: chance.choice([*ACTIONS, "document.*", "*.rare", "*", "document*", "*ed", "a%*", "zzz.*"]),
        "resource": lambda: chance.choice(["document", "folder", "none"]),
        "resource_id": lambda: chance.choice(["r1", "r2", "none"]),
        "tenant_id": lambda: chance.choice(tenants),
        "session_id": lambda: f"s{chance.randrange(6)}",
        "target_type": lambda: chance.choice(["team", "folder", "none"]),
        "target_id": lambda: f"t{chance.randrange(5)}",
        "search": lambda: chance.choice(["sarah", "50%", "_", "report", "code1", "nothing", "DOCUMENT"]),
        "from_date": time,
        "to_date": time,
    }
    names = chance.sample(FILTERS, chance.choices([0, 1, 2, 3, 4], [1, 4, 5, 3, 1])[0])
    return {name: value[name]() for name in names}


def call(conn, function, given):
    arguments = ", ".join(f'"{name}" => %s' for name in given)
    return conn.execute(f"SELECT * FROM immutable.{function}({arguments})", list(given.values()))


def page(conn, given):
    answer = call(conn, "get_events", given).fetchone()[0]
    return [(event["tenant_id"] or "", event["id"]) for event in answer["data"]], answer["pagination"]


def walk(conn, given, size, order):
    """Forth through all pages and back again; gives the events, and the pagination of the first page."""
    pages, cursor, first = [], None, None
    while True:
        events, pagination = page(conn, {**given, "limit": size, "order": order, "cursor": cursor})
        first = first or pagination
        assert (pagination["previous_cursor"] is not None) == bool(pages)
        pages.append(events)
        cursor, last = pagination["next_cursor"], pagination
        assert len(pages) < 1000
        if not pagination["has_more"]:
            break
    back, cursor = [pages[-1]], last["previous_cursor"]
    while cursor is not None:
        events, pagination = page(conn, {**given, "limit": size, "order": order, "cursor": cursor, "count": "none"})
        assert pagination["has_more"] and pagination["total"] is None
        back.insert(0, events)
        cursor = pagination["previous_cursor"]
    assert back == pages
    return [event for events in pages for event in events], first


def found(conn, given, order, limit=10_000):
    rows = call(conn, "find_events", {**given, "limit": limit, "order": order}).fetchall()
    return [(row[1], str(row[0])) for row in rows]


def bind_to_tenant(log, role, tenant, mode="read"):
    """The log's record of it is taken away again: these tests compare all events with those that they made."""
    log.conn.execute("SELECT immutable.grant_tenant(%s, %s, %s)", [role, tenant, mode])
    shard, node = log.shard_of("")
    with log.on_node(node) as conn:
        conn.execute("SET session_replication_role = replica")
        conn.execute(f"DELETE FROM {shard} WHERE action = 'immutable.tenant_granted'")


def viewer(log, node, tenant, actor=None, groups=("immutable_viewer",)):
    """A connection of a viewer whose token is known at its node alone."""
    with log.on_node(node) as admin:
        token, = admin.execute("SELECT immutable.create_viewer_token(%s, %s) ->> 'token'", [tenant, actor]).fetchone()
    conn = log.connect(log.create_role(groups=groups), node)
    conn.execute("SELECT set_config('immutable.viewer_token', %s, false)", [token])
    return conn
