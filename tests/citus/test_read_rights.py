"""Nobody sees more of a distributed log than on one machine, whichever function and node it tries."""

import contextlib
import json

import psycopg
import pytest
from helpers_reading import AT_SHARD, bind_to_tenant, call, page, viewer

FILTERS = ["actor_id", "action", "resource", "resource_id", "of_tenant", "session_id", "target_type", "target_id", "search",
           "from_date", "to_date"]
REFUSED = (psycopg.errors.InsufficientPrivilege, psycopg.errors.InvalidAuthorizationSpecification)


@pytest.fixture(scope="module")
def filled(shared):
    """Two tenants on each node; the actors 'one' and 'two' have three events each in every one of them."""
    tenants = [tenant for node in (1, 2) for tenant in shared.tenants_on(node, 2)]
    for tenant in tenants:
        for actor in ("one", "two"):
            shared.conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) SELECT %s, %s, 'a' || n FROM generate_series(1, 3) n",
                                [tenant, actor])
    return shared, tenants


def record(conn, tenant, actor="own"):
    conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES (%s, %s, 'own')", [tenant, actor])


def actors(conn, **given):
    """The tenant and the actor of each event that the caller finds, by each of the functions."""
    answer = call(conn, "get_events", {"limit": 100, **given}).fetchone()[0]
    seen = sorted((event["tenant_id"], event["actor"]["id"]) for event in answer["data"])
    rows = call(conn, "find_events", {"limit": 1000, **given}).fetchall()
    assert sorted((row[1], row[2]) for row in rows) == seen
    assert answer["pagination"]["total"] == len(seen) == len(rows)
    for row in rows[:3]:
        assert call(conn, "get_event", {"id": row[0], "tenant_id": row[1]}).fetchone()[0] is not None
    return seen


def of(tenants, *names):
    return sorted((tenant, name) for tenant in tenants for name in names for _ in range(3))


def shard_calls(tenant, **given):
    """The shard's functions, called by hand at the tenant's shard; each statement gives texts that contain what was seen."""
    given = {"of_actor": None, "limited": None, **given}
    columns = [*FILTERS, "of_actor", "limited", "after", "after_id", "after_tenant", "oldest_first", "most"]
    names = ", ".join(f"{name} => %({name})s" for name in columns)
    values = {**dict.fromkeys(columns), "most": 1000, "tenant": tenant, **given}
    for function in (f"shard_page(here => p.here, tenant_id => %(tenant)s, {names}, counted => true)",
                     f"shard_found(here => p.here, tenant_id => %(tenant)s, {names})",
                     "shard_feed(p.here, %(tenant)s, NULL, 1000, %(of_actor)s)"):
        yield AT_SHARD.format(f"{function}"), values


def seen_by_hand(conn, tenant, **given):
    """What calls by hand show of the actors 'one' and 'two': (tenant, actor)."""
    found = set()
    for statement, values in shard_calls(tenant, **given):
        for row in conn.execute(statement.replace("a.*", "to_jsonb(a)"), values).fetchall():
            text = json.dumps(row[0]).replace("\\", "")
            found |= {actor for actor in ("one", "two", "own") if f'"id": "{actor}"' in text or f'"id":"{actor}"' in text or f'"actor_id": "{actor}"' in text}
    return found


def test_what_each_role_sees(filled, entry):
    log, tenants = filled
    auditor = log.connect(log.create_role(groups=["immutable_auditor"]), entry)
    assert actors(auditor) == of(tenants, "one", "two")
    assert actors(auditor, actor_id="one") == of(tenants, "one")
    for tenant in tenants:
        others = [other for other in tenants if other != tenant]
        bound = log.create_role(groups=["immutable_viewer"])
        bind_to_tenant(log, bound, tenant)
        for conn, seen in [(log.connect(bound, entry), ("one", "two")), (viewer(log, entry, tenant), ("one", "two")),
                           (viewer(log, entry, tenant, "two"), ("two",)), (viewer(log, entry, tenant, "nobody"), ())]:
            assert actors(conn) == actors(conn, tenant_id=tenant) == of([tenant], *seen)
            assert actors(conn, action="a*", actor_id="two") == of([tenant], *set(seen) & {"two"})
            answer = call(conn, "changes", {"tenant_id": tenant}).fetchone()[0]
            assert sorted(event["actor"]["id"] for event in answer["data"]) == sorted(3 * seen)
            for other in others:
                assert actors(conn, tenant_id=other) == []
                assert call(conn, "changes", {"tenant_id": other}).fetchone()[0] == {"data": [], "position": {}, "has_more": False}


def test_who_calls_the_shards_functions_by_hand_sees_no_more(filled, entry):
    log, tenants = filled
    mine, other = tenants[0], tenants[2]
    bound = log.create_role(groups=["immutable_viewer"])
    bind_to_tenant(log, bound, mine)
    auditor = log.connect(log.create_role(groups=["immutable_auditor"]), entry)
    assert seen_by_hand(auditor, other) == {"one", "two"} and seen_by_hand(auditor, other, of_actor="one") == {"one"}
    for conn in (log.connect(bound, entry), viewer(log, entry, mine), viewer(log, entry, mine, "two"),
                 log.connect(log.create_role(groups=["immutable_viewer"]), entry)):
        is_bound = conn.info.user == bound
        for given in ({}, {"of_tenant": other}, {"of_actor": "one"}, {"limited": True}, {"limited": False, "of_tenant": other, "of_actor": "one"}):
            try:
                assert seen_by_hand(conn, other, **given) == set()
                if not is_bound:
                    assert not seen_by_hand(conn, mine, **given) & {"one"} or entry == log.shard_of(mine)[1]
            except psycopg.errors.InvalidAuthorizationSpecification:
                pass
    for group in ("immutable_writer", "immutable_eraser", "immutable_maintainer", "immutable_server"):
        conn = log.connect(log.create_role(groups=[group]), entry)
        for statement, values in shard_calls(mine):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute(statement, values)
        for function in ("get_events", "find_events", "changes"):
            with pytest.raises(REFUSED):
                call(conn, function, {"tenant_id": mine})
    # The functions find a shard only where it is, and take no nonsense.
    node = log.shard_of(mine)[1]
    elsewhere = log.connect(auditor.info.user, 3 - node)
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match="not on this node"):
        elsewhere.execute("SELECT immutable.shard_feed(0, %s, NULL, 10, NULL)", [mine])
    for most in (0, -1, 10_001, None):
        with pytest.raises(psycopg.errors.InvalidParameterValue):
            log.connect(auditor.info.user, node).execute("SELECT immutable.shard_feed(0, %s, NULL, %s, NULL)", [mine, most])
    with pytest.raises(psycopg.errors.NullValueNotAllowed):
        log.connect(auditor.info.user, node).execute("SELECT immutable.shard_feed(0, NULL, NULL, 10, NULL)")


def test_own_events_before_commit(filled, entry):
    """A role that reads with its own rights sees what its transaction has recorded, as on one machine."""
    log, tenants = filled
    auditor = log.create_role(groups=["immutable_auditor", "immutable_writer"])
    bound = log.create_role(groups=["immutable_viewer", "immutable_writer"])
    bind_to_tenant(log, bound, tenants[2])
    for role, seen in ((auditor, tenants), (bound, [tenants[2]])):
        conn = log.connect(role, entry, autocommit=False)
        for tenant in seen:
            record(conn, tenant)
            assert (tenant, "own") in actors(conn, tenant_id=tenant)
        found = actors(conn, actor_id="own")
        assert found == sorted((tenant, "own") for tenant in seen)
        event = call(conn, "find_events", {"actor_id": "own", "tenant_id": seen[-1]}).fetchone()
        assert call(conn, "get_event", {"id": event[0]}).fetchone()[0]["data"]["actor"]["id"] == "own"
        conn.rollback()
        assert actors(conn, actor_id="own") == []
        conn.rollback()


def test_a_token_in_a_transaction_that_records(filled, entry):
    """Citus cannot show the owner what another role has written and not committed: the error says what to do."""
    log, tenants = filled
    tenant = tenants[0] if entry == 0 else next(one for one in tenants if log.shard_of(one)[1] != entry)
    conn = viewer(log, entry, tenant, groups=["immutable_viewer", "immutable_writer"])
    assert actors(conn) == of([tenant], "one", "two")
    conn.autocommit = False
    record(conn, tenant)
    for function, given in (("get_events", {}), ("find_events", {"tenant_id": tenant}), ("changes", {"tenant_id": tenant})):
        conn.execute("SAVEPOINT s")
        with pytest.raises(psycopg.errors.ActiveSqlTransaction, match="a viewer token opens nothing") as refused:
            call(conn, function, given)
        assert refused.value.diag.message_hint == "End the transaction first, or read in another one."
        conn.execute("ROLLBACK TO s")
    conn.rollback()
    # The other order is no trouble.
    assert actors(conn) == of([tenant], "one", "two")
    record(conn, tenant)
    conn.rollback()


def test_a_token_beside_other_policies(filled, entry):
    """A policy that narrows a role would be passed over at the shard: so the token is refused."""
    log, tenants = filled
    conn = viewer(log, entry, tenants[0])
    assert actors(conn) == of([tenants[0]], "one", "two")
    role = conn.info.user
    with guard_off(log):
        log.conn.execute(f"CREATE POLICY narrow ON immutable.events AS RESTRICTIVE FOR SELECT TO {role} USING (actor_id = 'two')")
        try:
            with pytest.raises(psycopg.errors.FeatureNotSupported, match="beside policies") as refused:
                page(conn, {})
            assert "grant_tenant" in refused.value.diag.message_hint
        finally:
            log.conn.execute("DROP POLICY narrow ON immutable.events")


@contextlib.contextmanager
def guard_off(log):
    """Lets a superuser change the log's tables on all nodes."""
    def switch(how):
        for node in range(3):
            with log.on_node(node) as conn:
                for event in ("start", "end", "drop"):
                    conn.execute(f"ALTER EVENT TRIGGER immutable_ddl_{event} {how}")
    switch("DISABLE")
    try:
        yield
    finally:
        switch("ENABLE")


def test_requests_with_a_bearer_token(filled, entry):
    """As gateways send it: in request.headers, which no node passes on."""
    log, tenants = filled
    with log.on_node(entry) as admin:
        token, = admin.execute("SELECT immutable.create_viewer_token(%s, 'one') ->> 'token'", [tenants[3]]).fetchone()
    conn = log.connect(log.create_role(groups=["immutable_viewer"]), entry)
    conn.execute("SELECT set_config('request.headers', %s, false)", [json.dumps({"authorization": f"Bearer {token}"})])
    assert actors(conn) == of([tenants[3]], "one")
