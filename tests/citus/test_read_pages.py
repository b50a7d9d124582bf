"""Pages of a distributed log against a model: whatever the filters, the order, the page size, the role and the node, walking
through the pages gives the events that the role sees, each once, forth and back."""

import random

import psycopg
import pytest
from helpers_reading import BASE, bind_to_tenant, call, fill, found, model, page, some_filters, viewer, walk
from nodes import COORDINATOR

TENANTS = ["", "acme", *(f"t{n}" for n in range(14)), "tenant,{}\"'\\"]
CHOSEN = [{}] + [{name: value} for name, value in [
    ("tenant_id", "acme"), ("actor_id", "user_1"), ("action", "document.viewed"), ("action", "document.*"), ("action", "*d"),
    ("resource", "document"), ("resource_id", "r1"), ("session_id", "s1"), ("target_type", "team"), ("target_id", "t1"),
    ("search", "sarah"), ("from_date", BASE), ("to_date", BASE)]]


@pytest.fixture(scope="module")
def filled(shared):
    return shared, fill(shared, 11, TENANTS, 700)


def compare(conn, events, cases, chance, tenant=None, actor=None):
    seen = 0
    for given in cases:
        order = chance.choice(["asc", "desc"])
        expected = model(events, given, order, tenant, actor)
        seen += len(expected)
        size = chance.choice([2, 7, 25, 100]) if len(expected) < 40 else chance.choice([40, 100])
        case = f"{given} {order}, pages of {size}"
        there, pagination = walk(conn, given, size, order)
        assert there == expected, case
        assert pagination["total"] == len(expected) and pagination["total_relation"] == "eq", case
        assert found(conn, given, order) == expected, case
    assert seen


def test_an_auditor_sees_all(filled, entry):
    log, events = filled
    chance = random.Random(entry)
    conn = log.connect(log.create_role(groups=["immutable_auditor"]), entry)
    compare(conn, events, CHOSEN + [some_filters(chance, TENANTS) for _ in range(30)], chance)


def test_a_role_that_is_bound_to_a_tenant(filled, entry):
    log, events = filled
    chance = random.Random(entry + 10)
    for tenant in ("acme", log.tenants_on(1)[0], log.tenants_on(2)[0], ""):
        role = log.create_role(groups=["immutable_viewer"])
        bind_to_tenant(log, role, tenant)
        conn = log.connect(role, entry)
        compare(conn, events, chance.sample(CHOSEN, 4) + [some_filters(chance, TENANTS) for _ in range(4)], chance, tenant)
        assert page(conn, {"tenant_id": "t0" if tenant != "t0" else "t1"})[0] == []


def test_viewers_whose_tokens_only_their_node_knows(filled, entry):
    log, events = filled
    chance = random.Random(entry + 20)
    for tenant, actor in [("acme", None), (log.tenants_on(2)[0], "user_2"), (log.tenants_on(1)[0], None), (log.tenants_on(0)[0], "user_1") if log.shard_of("t0")[1] == 0 else ("", "user_1")]:
        conn = viewer(log, entry, tenant, actor)
        compare(conn, events, chance.sample(CHOSEN, 4) + [some_filters(chance, TENANTS) for _ in range(4)], chance, tenant, actor)
        other = "t0" if tenant != "t0" else "t1"
        assert page(conn, {"tenant_id": other}) == ([], {"has_more": False, "next_cursor": None, "previous_cursor": None, "total": 0, "total_relation": "eq"})


def test_nobody_sees_anything_without_a_token(filled, entry):
    log, events = filled
    conn = log.connect(log.create_role(groups=["immutable_viewer"]), entry)
    for given in ({}, {"tenant_id": "acme"}, {"action": "*"}):
        assert page(conn, given)[0] == [] and found(conn, given, "asc") == []
    assert call(conn, "get_event", {"id": events[0]["id"], "tenant_id": events[0]["tenant_id"]}).fetchone() == (None,)
    conn.execute("SET immutable.viewer_token = 'no.to.ken'")
    for function, given in (("get_events", {}), ("find_events", {"tenant_id": "acme"}), ("get_event", {"id": events[0]["id"]}),
                            ("changes", {"tenant_id": "acme"})):
        with pytest.raises(psycopg.errors.InvalidAuthorizationSpecification):
            call(conn, function, given)


def test_a_limit_that_cuts_find_events(filled, entry):
    log, events = filled
    conn = log.connect(log.create_role(groups=["immutable_auditor"]), entry)
    for order in ("asc", "desc"):
        expected = model(events, {}, order)
        for limit in (1, 10, 101):
            assert found(conn, {}, order, limit) == expected[:limit]
        # From the middle, both ways.
        _, first = page(conn, {"limit": 50, "order": order})
        _, second = page(conn, {"limit": 50, "order": order, "cursor": first["next_cursor"]})
        assert found(conn, {"cursor": first["next_cursor"]}, order, 9) == expected[50:59]
        assert found(conn, {"cursor": second["previous_cursor"]}, order, 9) == expected[41:50]


def test_one_event(filled, entry):
    log, events = filled
    by_id = {}
    for event in events:
        by_id.setdefault(event["id"], []).append(event)
    single = next(found[0] for found in by_id.values() if len(found) == 1)
    twins = next(found for found in by_id.values() if len(found) > 1 and len({log.shard_of(one["tenant_id"])[0] for one in found}) > 1)
    auditor = log.connect(log.create_role(groups=["immutable_auditor"]), entry)

    def get(conn, *arguments):
        answer = call(conn, "get_event", dict(zip(["id", "tenant_id"], arguments))).fetchone()[0]
        return answer and (answer["data"]["id"], answer["data"]["tenant_id"] or "")
    assert get(auditor, single["id"]) == get(auditor, single["id"], single["tenant_id"]) == (str(single["id"]), single["tenant_id"])
    assert get(auditor, single["id"], "nobody") is None and get(auditor, None) is None
    assert get(auditor, "00000000-0000-4000-8000-000000000000") is None
    for one in twins:
        assert get(auditor, one["id"], one["tenant_id"]) == (str(one["id"]), one["tenant_id"])
    with pytest.raises(psycopg.errors.CardinalityViolation, match="several tenants") as refused:
        get(auditor, twins[0]["id"])
    assert "immutable.get_event(id, tenant_id)" in refused.value.diag.message_hint
    # A viewer of one of the tenants sees the one.
    one, other = twins[0], twins[1]
    for conn in (viewer(log, entry, one["tenant_id"]), viewer(log, entry, one["tenant_id"], one["actor_id"])):
        assert get(conn, one["id"]) == get(conn, one["id"], one["tenant_id"]) == (str(one["id"]), one["tenant_id"])
        assert get(conn, one["id"], other["tenant_id"]) is None
    assert get(viewer(log, entry, one["tenant_id"], "somebody"), one["id"]) is None


def test_arguments_are_refused_as_on_one_machine(filled, entry):
    log, _ = filled
    conn = log.connect(log.create_role(groups=["immutable_auditor"]), entry)
    cursor = page(conn, {"limit": 1})[1]["next_cursor"]
    for given, message in [({"limit": 0}, "limit must be from 1 to 100"), ({"order": "up"}, "order must be"), ({"count": "all"}, "count must be"),
                           ({"cursor": "x"}, "cursor is not one"), ({"cursor": cursor, "actor_id": "u"}, "cursor belongs to"),
                           ({"action": "a,b"}, "comma")]:
        for tenant in ({}, {"tenant_id": "acme"}):
            if "cursor" in given and tenant and message != "cursor is not one":
                continue
            with pytest.raises(psycopg.errors.InvalidParameterValue, match=message):
                call(conn, "get_events", {**given, **tenant})


def test_settings_of_the_client_do_not_change_what_is_found(filled, entry):
    """Texts and times reach the shards whatever the client's formats are, in transactions and in prepared statements too."""
    log, events = filled
    conn = log.connect(log.create_role(groups=["immutable_auditor"]), entry, prepare_threshold=0)
    for setting in ("DateStyle = 'SQL, DMY'", "TimeZone = 'Asia/Kathmandu'", "search_path = pg_temp", "standard_conforming_strings = off",
                    "bytea_output = 'escape'"):
        conn.execute(f"SET {setting}")
    for given in [{"tenant_id": "acme", "from_date": BASE}, {"from_date": BASE}, {"tenant_id": "tenant,{}\"'\\"}, {"search": "back\\slash"}]:
        expected = model(events, given, "desc") if given.get("search") != "back\\slash" else None
        for _ in range(7):
            there, _ = walk(conn, given, 50, "desc")
            assert expected is None or there == expected
    with conn.transaction():
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        assert walk(conn, {}, 100, "asc")[0] == model(events, {}, "asc")


def test_estimates_are_said_to_be_estimates(filled, entry):
    """How far a count goes is decided where the events are."""
    log, events = filled
    auditor = log.create_role(groups=["immutable_auditor"])
    for node in range(3):
        with log.on_node(node) as conn:
            conn.execute(f"ALTER DATABASE {log.name} SET immutable.max_exact_total = 3")
    try:
        conn = log.connect(auditor, entry)
        for given in ({"actor_id": "user_1"}, {"tenant_id": "acme", "action": "document.*"}):
            _, pagination = page(conn, {**given, "limit": 5})
            expected = len(model(events, given, "desc"))
            if expected > 6 and pagination["total_relation"] == "eq":
                assert pagination["total"] == expected
            assert pagination["total"] >= 6
        # Whole tenants and the whole log are counted by their lanes.
        assert page(conn, {"tenant_id": "acme", "limit": 5})[1]["total"] == len(model(events, {"tenant_id": "acme"}, "asc"))
        assert page(conn, {"limit": 5})[1]["total"] == len(events)
    finally:
        for node in range(3):
            with log.on_node(node) as conn:
                conn.execute(f"ALTER DATABASE {log.name} RESET immutable.max_exact_total")


def test_shards_that_are_split_or_hold_one_tenant(log):
    """Every shard is asked, also one that was made for a tenant who has no events yet, by sessions that began before."""
    conns = [log.connect(node=node) for node in (0, 1)]
    tenants = ["alone", *(f"t{n}" for n in range(20))]

    def record():
        for tenant in tenants:
            log.conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES (%s, 'a', 'x')", [tenant])
    record()
    assert [page(conn, {"limit": 100})[1]["total"] for conn in conns] == [21, 21]
    log.conn.execute("SELECT set_config('citus.local_hostname', %s, false)", [log.nodes[COORDINATOR].host])
    for tenant in ("alone", "new"):
        log.conn.execute("SELECT isolate_tenant_to_new_shard('immutable.events', %s::text, 'CASCADE', shard_transfer_mode => 'block_writes')", [tenant])
    assert len(log.shards()) > 10
    record()
    assert [page(conn, {"limit": 100})[1]["total"] for conn in [*conns, log.connect(node=2)]] == [42] * 3
    for conn in conns:
        conn.execute("BEGIN")
        conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('new', 'b', 'x')")
        assert page(conn, {"actor_id": "b"})[0][0][0] == "new"
        assert len(found(conn, {}, "asc")) == 43
        conn.execute("ROLLBACK")


def test_no_text_leaves_its_literal(filled, entry):
    """Whatever a session at a shard takes a backslash for: a text stays a text, also where the owner reads for a viewer."""
    log, events = filled
    strange = "tenant,{}\"'\\"
    for node in range(3):
        with log.on_node(node) as conn:
            conn.execute(f"ALTER DATABASE {log.name} SET standard_conforming_strings = off")
    try:
        auditor = log.create_role(groups=["immutable_auditor"])
        for conn in (log.connect(auditor, entry), viewer(log, entry, strange)):
            assert walk(conn, {"tenant_id": strange}, 50, "asc")[0] == model(events, {"tenant_id": strange}, "asc")
            for text in ("\\", "'", "\\'", "\\' OR true --", "' OR true --", "\\'') IS NULL OR ('' = '"):
                for name in ("actor_id", "action", "resource_id", "search"):
                    expected = model(events, {name: text, "tenant_id": strange}, "desc") if name != "search" else None
                    there = page(conn, {name: text, "tenant_id": strange})[0]
                    assert there == expected if expected is not None else len(there) < 26
                assert page(conn, {"tenant_id": text})[0] == []
                assert call(conn, "changes", {"tenant_id": text}).fetchone()[0]["data"] == []
    finally:
        for node in range(3):
            with log.on_node(node) as conn:
                conn.execute(f"ALTER DATABASE {log.name} RESET standard_conforming_strings")
