"""What somebody with a viewer's rights and any SQL at all can try to learn of another tenant. `mine` is the viewer's,
`rival` the other; of both the same keys, actors and actions are recorded, so that what is found must be its own."""

import json
import os
import re
import subprocess
import time

import psycopg
import pytest
from helpers_access import (EVENTS, MINE, MINE_U1, RIVAL, SECRET, TARGETS, Log, count, headers, import_key, present, refused,
                            token)


@pytest.fixture
def log(db):
    return Log(db)


@pytest.fixture
def viewer(log):
    return log.viewer(token())


def only_mine(rows):
    assert rows and {row[0] for row in rows} == {"mine"}


# Filters, cursors, ids, counts


def test_no_filter_opens_another_tenant(log, viewer):
    for statement in ("SELECT * FROM immutable.events WHERE tenant_id = 'rival'",
                      "SELECT * FROM immutable.events WHERE tenant_id <> 'mine'",
                      "SELECT * FROM immutable.events WHERE tenant_id <> 'mine' OR true ORDER BY (tenant_id = 'rival') LIMIT 0",
                      "SELECT * FROM immutable.event_targets WHERE tenant_id = 'rival' OR target_id LIKE 'rival%'",
                      "SELECT * FROM immutable.find_events(tenant_id => 'rival')",
                      "SELECT * FROM immutable.find_events(target_type => 't', target_id => 'rival7')",
                      "SELECT * FROM immutable.find_events(search => 'rival')",
                      f"SELECT * FROM immutable.events WHERE id = '{log.rival_id}'",
                      f"SELECT * FROM immutable.events WHERE created_at = '{log.rival_at}'"):
        assert viewer.execute(statement).fetchall() == [], statement
    only_mine(viewer.execute("SELECT tenant_id FROM immutable.events WHERE idempotency_key = 'k7' OR true").fetchall())
    page = viewer.execute("SELECT immutable.get_events()").fetchone()[0]
    assert page["pagination"]["total"] == MINE and {event["tenant_id"] for event in page["data"]} == {"mine"}
    other = viewer.execute("SELECT immutable.get_events(tenant_id => 'rival')").fetchone()[0]
    assert other == {"data": [], "pagination": {"has_more": False, "next_cursor": None, "previous_cursor": None, "total": 0,
                                                "total_relation": "eq"}}


def test_a_cursor_of_another_tenant_opens_nothing(log, viewer):
    rival = log.viewer(token(tenant_id="rival"))
    cursor = rival.execute("SELECT immutable.get_events(\"limit\" => 5) #>> '{pagination,next_cursor}'").fetchone()[0]
    page = viewer.execute("SELECT immutable.get_events(\"cursor\" => %s)", (cursor,)).fetchone()[0]
    assert {event["tenant_id"] for event in page["data"]} <= {"mine"}
    filtered = rival.execute("SELECT immutable.get_events(tenant_id => 'rival', \"limit\" => 5) "
                             "#>> '{pagination,next_cursor}'").fetchone()[0]
    page = viewer.execute("SELECT immutable.get_events(tenant_id => 'rival', \"cursor\" => %s)", (filtered,)).fetchone()[0]
    assert page["data"] == [] and page["pagination"]["total"] == 0


def everything_readable(connection):
    """What each way to read shows a viewer: {way: (tenants, events)}."""
    found = {}
    for way, statement in {
        "events": "SELECT tenant_id, id FROM immutable.events",
        "event_targets": "SELECT tenant_id, event_id FROM immutable.event_targets",
        "activity": "SELECT tenant_id, event_id FROM immutable.activity",
        "activity_targets": "SELECT tenant_id, event_id FROM immutable.activity_targets",
        "find_events": "SELECT tenant_id, id FROM immutable.find_events(\"limit\" => 10000)",
        "by action": "SELECT tenant_id, id FROM immutable.find_events(action => 'a*', \"limit\" => 10000)",
        "by target": "SELECT tenant_id, id FROM immutable.find_events(target_type => 't', \"limit\" => 10000)",
        "search": "SELECT tenant_id, id FROM immutable.find_events(search => 'a.b', \"limit\" => 10000)",
        "get_events": "SELECT e ->> 'tenant_id', (e ->> 'id')::uuid FROM jsonb_array_elements("
                      "immutable.get_events(\"limit\" => 100) -> 'data') e",
        "changes": "SELECT e ->> 'tenant_id', (e ->> 'id')::uuid FROM jsonb_array_elements("
                   "immutable.changes(\"limit\" => 10000) -> 'data') e",
        "changes of a tenant": "SELECT e ->> 'tenant_id', (e ->> 'id')::uuid FROM unnest(ARRAY['', 'mine', 'rival']) t, "
                               "jsonb_array_elements(immutable.changes(t, \"limit\" => 10000) -> 'data') e",
    }.items():
        rows = connection.execute(statement).fetchall()
        found[way] = {tenant for tenant, _ in rows}, {event for _, event in rows}
    return found


@pytest.mark.parametrize("actor", [None, "u1"])
def test_every_way_to_read_shows_the_same_rows(log, actor):
    """With a token, a gateway's token and a grant: no function, view or feed shows more events than the table does."""
    granted = log.db.create_role()
    log.admin.execute("SELECT immutable.grant_tenant(%s, 'mine')", (granted,))
    given = token(actor_id=actor or ...)
    by_setting, by_headers, by_grant = log.viewer(given), log.viewer(), log.db.connect(granted)
    by_headers.execute("SELECT set_config('request.headers', %s, false)", (headers(given),))
    rival = log.viewer(token(tenant_id="rival"))
    own = {row[0] for row in log.admin.execute(
        "SELECT id FROM immutable.events WHERE tenant_id = 'mine' AND coalesce(actor_id = %s, true)", (actor,))}
    assert len(own) == (MINE_U1 if actor else MINE)
    for connection in (by_setting, by_headers) + (() if actor else (by_grant,)):
        for way, found in everything_readable(connection).items():
            assert found == ({"mine"}, own), way
        # Beside its events a feed reveals nothing about another tenant's lanes.
        feed, = connection.execute("SELECT immutable.changes('rival')").fetchone()
        assert feed == {"data": [], "has_more": False, "position": {}}
        position, = rival.execute("SELECT immutable.changes('rival', NULL, 5) -> 'position'").fetchone()
        refused(connection, f"SELECT immutable.changes('rival', '{json.dumps(position)}')", "55000")
        for statement in ("SELECT immutable.export_events()", "SELECT * FROM immutable.verify_breaks()",
                          "SELECT immutable.verify()", "SELECT * FROM immutable.heads('mine')"):
            refused(connection, statement, "42501")
    present(by_setting, "")
    assert all(found == (set(), set()) for found in everything_readable(by_setting).values())


def test_knowing_an_id_reveals_nothing(log, viewer):
    # Another tenant may even have an event of the same id.
    shared = viewer.execute("SELECT id FROM immutable.events LIMIT 1").fetchone()[0]
    log.admin.execute("INSERT INTO immutable.events (id, tenant_id, actor_id, action) VALUES (%s, 'rival', 'u', 'a')", (shared,))
    for arguments in (f"'{log.rival_id}'", f"'{log.rival_id}', 'rival'", f"'{shared}', 'rival'", "gen_random_uuid()"):
        assert viewer.execute(f"SELECT immutable.get_event({arguments})").fetchone() == (None,)
    assert viewer.execute(f"SELECT immutable.get_event('{shared}') #>> '{{data,tenant_id}}'").fetchone() == ("mine",)


def test_every_other_way_to_read_a_table(log, viewer):
    with viewer.cursor().copy("COPY (SELECT tenant_id FROM immutable.events) TO STDOUT") as copy:
        assert [bytes(line) for line in copy] == [b"mine\n"] * MINE
    with viewer.cursor().copy("COPY immutable.events TO STDOUT") as copy:
        lines = [bytes(line) for line in copy]
    assert len(lines) == MINE and not any(b"rival" in line for line in lines)
    for statement in ("SELECT tenant_id FROM ONLY immutable.events", "TABLE immutable.events",
                      "SELECT tenant_id FROM immutable.events TABLESAMPLE SYSTEM (100)",
                      "SELECT e.tenant_id FROM immutable.events e JOIN immutable.event_targets t ON t.event_id = e.id",
                      "SELECT t.tenant_id FROM immutable.event_targets t LEFT JOIN immutable.events e ON false",
                      "SELECT tenant_id FROM immutable.events UNION ALL SELECT tenant_id FROM immutable.event_targets",
                      "SELECT (e).tenant_id FROM (SELECT e FROM immutable.events e) x",
                      "SELECT tenant_id FROM immutable.events WHERE ctid = ANY (ARRAY(SELECT format('(%s,%s)', b, i)::tid "
                      "FROM generate_series(0, 9) b, generate_series(1, 99) i))"):
        rows = viewer.execute(statement).fetchall()
        if statement.startswith("TABLE"):
            assert len(rows) == MINE
        else:
            assert {str(row[0]) for row in rows} == {"mine"}, statement
    for statement in ("SELECT * FROM immutable.events FOR UPDATE", "SELECT * FROM immutable.log", "SELECT * FROM immutable.heads()",
                      "SELECT * FROM immutable.verify_chain()", "SELECT * FROM immutable.verify_chain('rival')",
                      "INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('mine', 'a', 'b')",
                      "UPDATE immutable.events SET tenant_id = 'mine'", "DELETE FROM immutable.events",
                      "ANALYZE immutable.log", "SELECT * FROM immutable.tenant_grants",
                      "SELECT * FROM immutable.revocations", "SELECT * FROM immutable.viewer_keys",
                      "SELECT immutable.create_viewer_token('rival')", "SELECT immutable.rotate_viewer_key()",
                      "SELECT immutable.revoke_viewer_tokens('rival')", "SELECT immutable.revoke_viewer_token('x')",
                      "SELECT immutable.grant_tenant(current_user, 'rival')", "SELECT immutable.revoke_tenant(current_user)"):
        if statement.startswith("ANALYZE"):
            viewer.execute(statement)  # a warning, and nothing is done
        else:
            refused(viewer, statement, "42501")
    viewer.execute("SET row_security = off")
    refused(viewer, state="42501")


# What SQL can be run beside the rows, and what it gets to see


def test_functions_in_where_see_no_other_row(log, viewer):
    seen = []
    viewer.add_notice_handler(lambda notice: seen.append(notice.message_primary))
    viewer.execute("CREATE FUNCTION pg_temp.peek(text) RETURNS boolean COST 0.0000001 LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE "
                   "AS $$ BEGIN RAISE NOTICE '%', $1; RETURN true; END $$")
    viewer.execute("CREATE FUNCTION pg_temp.less(text, text) RETURNS boolean COST 0.0000001 LANGUAGE plpgsql "
                   "AS $$ BEGIN RAISE NOTICE '% %', $1, $2; RETURN $1 < $2; END $$")
    viewer.execute("CREATE OPERATOR pg_temp.<<< (LEFTARG = text, RIGHTARG = text, FUNCTION = pg_temp.less, RESTRICT = scalarltsel)")
    for settings in ("", "SET enable_indexscan = off; SET enable_bitmapscan = off", "RESET ALL"):
        viewer.execute(settings)
        if settings == "RESET ALL":
            present(viewer, token())
        for statement in ("SELECT FROM immutable.events WHERE pg_temp.peek(tenant_id)",
                          "SELECT FROM immutable.events WHERE pg_temp.peek(tenant_id) AND tenant_id = 'rival'",
                          "SELECT FROM immutable.events WHERE tenant_id OPERATOR(pg_temp.<<<) 'z'",
                          "SELECT pg_temp.peek(tenant_id) FROM immutable.event_targets WHERE pg_temp.peek(target_id)",
                          "SELECT FROM immutable.events e JOIN immutable.event_targets t ON pg_temp.peek(e.tenant_id || t.tenant_id)",
                          "SELECT max(tenant_id) FILTER (WHERE pg_temp.peek(tenant_id)) FROM immutable.events",
                          "SELECT FROM immutable.events ORDER BY pg_temp.peek(tenant_id)",
                          "SELECT FROM immutable.events WHERE 1 / (length(tenant_id) - 5) <> 2"):
            viewer.execute(statement)
    assert len(seen) > MINE and not [text for text in seen if "rival" in text]


def test_a_callers_lookalike_functions_are_not_called(log, viewer):
    viewer.execute("CREATE TEMPORARY TABLE events (tenant_id text); CREATE TEMPORARY TABLE revocations (jti text)")
    viewer.execute("CREATE TEMPORARY TABLE viewer_keys (LIKE immutable.events)")
    for name, kind in (("visible_tenant()", "text LANGUAGE sql AS $$ SELECT 'rival' $$"),
                       ("is_visible(text, text)", "boolean LANGUAGE sql AS 'SELECT true'"),
                       ("is_target_visible(text, uuid)", "boolean LANGUAGE sql AS 'SELECT true'"),
                       ("texteq(text, text)", "boolean LANGUAGE sql AS 'SELECT true'")):
        viewer.execute(f"CREATE FUNCTION pg_temp.{name} RETURNS {kind}")
    viewer.execute("CREATE OPERATOR pg_temp.= (LEFTARG = text, RIGHTARG = text, FUNCTION = pg_temp.texteq)")
    for path in ("pg_temp, immutable, pg_catalog", "immutable, pg_temp", "pg_temp", ""):
        viewer.execute("SELECT set_config('search_path', %s, false)", (path,))
        assert count(viewer) == MINE and count(viewer, TARGETS) == MINE
        assert viewer.execute("SELECT immutable.get_events() #> '{pagination,total}'").fetchone()[0] == MINE
        assert viewer.execute("SELECT count(*) FROM immutable.find_events(target_type => 't')").fetchone()[0] == 25


def test_views_and_functions_of_others_lend_no_rights(log, viewer):
    viewer.execute("CREATE TEMPORARY VIEW mine AS SELECT * FROM immutable.events")
    viewer.execute("CREATE FUNCTION pg_temp.lent() RETURNS bigint SECURITY DEFINER LANGUAGE sql AS 'SELECT count(*) FROM immutable.events'")
    assert count(viewer, "SELECT count(*) FROM mine") == MINE and count(viewer, "SELECT pg_temp.lent()") == MINE
    # An auditor that calls them does not lend its rights, and a viewer's view applies the viewer's policies.
    log.admin.execute("CREATE SCHEMA shop")
    log.admin.execute(f"GRANT USAGE, CREATE ON SCHEMA shop TO {log.viewer_role}")
    viewer.execute("CREATE VIEW shop.feed AS SELECT tenant_id FROM immutable.events")
    viewer.execute("GRANT SELECT ON shop.feed TO PUBLIC")
    stranger = log.db.create_role()
    log.admin.execute(f"GRANT USAGE ON SCHEMA shop TO {stranger}")
    other = log.db.connect(stranger)
    present(other, token(tenant_id="rival"))
    refused(other, "SELECT * FROM shop.feed", "42501")
    log.admin.execute("DROP SCHEMA shop CASCADE")


def test_two_tokens_do_not_mix_within_a_statement(log):
    """One of this tenant's actor and one of another whole tenant, each of which opens little: the tenant of the one with
    the width of the other would open all of this tenant's."""
    narrow, wide = token(actor_id="u1"), token(tenant_id="nobody")
    viewer = log.viewer()
    viewer.execute("CREATE TEMPORARY TABLE kept (narrow text, wide text)")
    viewer.execute("INSERT INTO kept VALUES (%s, %s)", (narrow, wide))
    switch = "SELECT set_config('immutable.viewer_token', {}, false) FROM kept"
    # The first key is nobody's, so that only the tenant has been asked for when the token is exchanged. A policy that
    # asks for tenant and actor one after the other shows all of the tenant's events here.
    log.admin.execute("INSERT INTO immutable.events (tenant_id, actor_id, action, idempotency_key) "
                      "SELECT 'mine', 'u' || i % 3, 'a.b', 'x' || i FROM generate_series(1, 3000) i")
    log.admin.execute("ANALYZE immutable.events")
    guesses = (f"SELECT e.actor_id FROM (SELECT 'x' || n AS k, CASE n WHEN 1 THEN ({switch.format('wide')}) END AS s "
               "FROM generate_series(0, 3000) n OFFSET 0) x CROSS JOIN LATERAL (SELECT actor_id FROM immutable.events e "
               "WHERE e.idempotency_key = x.k AND x.s IS DISTINCT FROM 'never' OFFSET 0) e")
    mixed = [
        guesses,
        f"WITH x AS MATERIALIZED ({switch.format('wide')}) SELECT e.actor_id FROM immutable.events e, x WHERE e.tenant_id = 'mine'",
        f"WITH x AS MATERIALIZED ({switch.format('wide')}) SELECT e.actor_id FROM x, immutable.events e",
        f"SELECT e.actor_id FROM immutable.events e WHERE e.tenant_id = 'mine' AND ({switch.format('wide')}) IS NOT NULL",
        f"SELECT e.actor_id, ({switch.format('wide')}) FROM immutable.events e",
        f"SELECT e.actor_id FROM immutable.events e, LATERAL ({switch.format('wide')} WHERE e.seq > 0) x",
        f"SELECT e.actor_id FROM immutable.events a CROSS JOIN LATERAL ({switch.format('wide')} WHERE a.seq > 0) x JOIN immutable.events e ON true",
        f"SELECT u.actor_id FROM (SELECT actor_id FROM immutable.events UNION ALL SELECT ({switch.format('wide')}) "
        "UNION ALL SELECT actor_id FROM immutable.events) u",
        f"SELECT u.actor_id FROM ({switch.format('wide')}) x, LATERAL (SELECT e.actor_id FROM immutable.events e WHERE tenant_id = 'mine') u",
        f"SELECT e.actor_id FROM immutable.event_targets t, LATERAL ({switch.format('wide')} WHERE t.position = 0) x, "
        "LATERAL (SELECT actor_id FROM immutable.events e WHERE e.id = t.event_id AND e.tenant_id = t.tenant_id) e",
    ]
    for options in ("RESET enable_hashjoin", "SET enable_hashjoin = off; SET enable_mergejoin = off",
                    "SET enable_nestloop = off", "SET enable_material = off; SET enable_nestloop = on"):
        viewer.execute(options)
        for statement in mixed:
            for begin in (narrow, wide):
                present(viewer, begin)
                rows = viewer.execute(statement.replace("wide FROM", "wide FROM" if begin == narrow else "narrow FROM")).fetchall()
                assert {row[0] for row in rows} <= {"u1", wide, narrow}, statement


# What the planner tells


def estimate(connection, condition, table="events"):
    plan = connection.execute(f"EXPLAIN (FORMAT JSON) SELECT * FROM immutable.{table} WHERE {condition}").fetchone()[0]
    return re.sub(r"'[^']*'", "", json.dumps(plan))


def test_explain_estimates_the_same_rows_for_every_value(log, viewer):
    log.admin.execute("INSERT INTO immutable.events (tenant_id, actor_id, actor_name, resource_id, resource_name, session_id, "
                      "ip_address, ip_city, ip_country, user_agent, action, targets) SELECT 'rival', 'ceo', 'Ceo', 'r', 'R', 's', "
                      "'10.0.0.1', 'Rome', 'IT', 'ua', 'a.b', '[{\"type\": \"t\", \"id\": \"deal\", \"name\": \"Deal\"}]' "
                      "FROM generate_series(1, 5000)")
    log.admin.execute("ANALYZE immutable.events")
    log.admin.execute("ANALYZE immutable.event_targets")
    values = {"tenant_id": "rival", "actor_id": "ceo", "actor_name": "Ceo", "resource_id": "r", "resource_name": "R",
              "session_id": "s", "ip_address": "10.0.0.1", "ip_city": "Rome", "ip_country": "IT", "user_agent": "ua"}
    for column, value in values.items():
        for condition in ("{} = '{}'", "{} < '{}'", "{} IN ('{}', '0.0.0.0')", "{} IS DISTINCT FROM '{}'"):
            known, unknown = (estimate(viewer, condition.format(column, v)) for v in (value, "0.0.0.9"))
            assert known == unknown, (column, known, unknown)
        assert estimate(viewer, f"{column} IS NULL") == estimate(viewer, f"{column} IS NULL")
    for column, value in {"tenant_id": "rival", "target_id": "deal", "target_name": "Deal"}.items():
        known, unknown = (estimate(viewer, f"{column} = '{v}'", "event_targets") for v in (value, "nobody"))
        assert known == unknown, (column, known, unknown)


def test_statistics_cannot_be_read(log, viewer):
    log.admin.execute("ANALYZE immutable.events")
    assert log.admin.execute("SELECT count(*) > 0 FROM pg_stats WHERE schemaname = 'immutable'").fetchone() == (True,)
    for view in ("pg_stats", "pg_stats_ext", "pg_stats_ext_exprs"):
        assert viewer.execute(f"SELECT * FROM {view} WHERE schemaname = 'immutable'").fetchall() == []
    refused(viewer, "SELECT * FROM pg_statistic", "42501")
    # No role can read statistics of the columns that hold a tenant's own values.
    columns = {row[0] for row in log.admin.execute("SELECT attname FROM pg_stats WHERE schemaname = 'immutable' AND tablename = 'events'")}
    assert "action" in columns
    assert not columns & {"tenant_id", "actor_id", "actor_name", "resource_id", "resource_name", "session_id", "idempotency_key",
                          "ip_address", "ip_country", "ip_city", "user_agent", "recorded_by", "salt", "event_hash",
                          "previous_event_hash"}


def test_the_search_index_reveals_no_text(log, viewer):
    """The planner also uses statistics of the index's expression, and equality of texts is leakproof."""
    log.admin.execute("CREATE EXTENSION pg_trgm")
    log.admin.execute("SELECT immutable.enable_search()")
    log.admin.execute("INSERT INTO immutable.events (tenant_id, actor_id, actor_name, action) "
                      "SELECT 'rival', 'ceo', 'Ceo', 'a.b' FROM generate_series(1, 3000)")
    log.admin.execute("ANALYZE immutable.events")
    expression, = log.admin.execute(
        "SELECT pg_get_expr(indexprs, indrelid) FROM pg_index WHERE indexrelid = 'immutable.events_search'::regclass").fetchone()
    known, unknown = (estimate(viewer, f"{expression} = E'{name}\\na.b\\n\\n{{}}'") for name in ("ceo", "nobody"))
    assert known == unknown
    assert log.admin.execute("SELECT count(*) FROM pg_stats WHERE tablename = 'events_search'").fetchone() == (0,)


def test_the_tenant_is_resolved_once_and_found_by_an_index(log):
    """Whatever the number of rows: row security adds a cost per statement, not per row."""
    log.admin.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) "
                      "SELECT 'mine', 'u' || i % 3, 'a.b' FROM generate_series(1, 3000) i")
    log.admin.execute("VACUUM ANALYZE immutable.events")
    log.admin.execute(f"ALTER ROLE {log.viewer_role} SET track_functions = 'all'")
    calls = "SELECT coalesce(sum(calls), 0) FROM pg_stat_user_functions WHERE funcname = 'visible_tenant'"
    viewer = log.viewer(token())
    for statement, rows in (("SELECT * FROM immutable.events ORDER BY created_at DESC, id DESC LIMIT 25", 25),
                            ("SELECT * FROM immutable.events", MINE + 3000)):
        before = count(log.admin, calls)
        assert len(viewer.execute(statement).fetchall()) == rows
        viewer.execute("SELECT pg_stat_force_next_flush()")
        assert count(log.admin, calls) == before + 1
    plan, = viewer.execute(
        "EXPLAIN (FORMAT JSON) SELECT * FROM immutable.events ORDER BY created_at DESC, id DESC LIMIT 25").fetchone()
    text = json.dumps(plan)
    # PostgreSQL 18 also takes another index that has few values before the tenant.
    assert re.search(r'"Index Cond": "\(tenant_id = ', text) and "Seq Scan" not in text, text


def test_a_tenants_targets_are_found_by_an_index(log):
    """A report on targets reads the viewer's own rows, however many other tenants have."""
    log.admin.execute("INSERT INTO immutable.events (tenant_id, actor_id, action, targets) "
                      "SELECT 'rival' || i % 50, 'u', 'a.b', '[{\"type\": \"task\", \"id\": \"1\"}, {\"type\": \"task\", \"id\": \"2\"}]' "
                      "FROM generate_series(1, 20000) i")
    log.admin.execute("VACUUM ANALYZE immutable.event_targets")
    viewer = log.viewer(token())
    for statement in ("SELECT * FROM immutable.event_targets", "SELECT target_type, sum(event_count) FROM immutable.activity_targets GROUP BY 1",
                      "SELECT count(*) FROM immutable.activity a JOIN immutable.activity_targets t USING (tenant_id, event_id)"):
        plan = json.dumps(viewer.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}").fetchone()[0])
        # PostgreSQL 18 also takes the index of types, skipping from one to the next.
        assert '"Node Type": "Seq Scan"' not in plan and re.search(r'"Index Name": "event_targets_\w+"', plan), plan
        # Not others' rows, read and then thrown away.
        assert all(int(removed) < 1000 for removed in re.findall(r'"Rows Removed by Filter": (\d+)', plan)), plan


def test_explain_analyze_finds_nothing_by_a_value(log, viewer):
    """A scan that meets another tenant's rows and drops them would tell how many match. Every index that a value leads
    into has the tenant in it, so none is met."""
    log.admin.execute("ANALYZE immutable.events")
    without = log.admin.execute(
        "SELECT indexrelid::regclass::text FROM pg_index i WHERE indrelid IN ('immutable.events'::regclass, "
        "'immutable.event_targets'::regclass) AND NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = i.indrelid "
        "AND a.attname = 'tenant_id' AND a.attnum = ANY (i.indkey))").fetchall()
    assert without in ([("immutable.events_page",)], [])  # the order of all events, which no value leads into
    viewer.execute("SET enable_seqscan = off")
    for condition in (f"id = '{log.rival_id}'", "actor_id = 'u1'", "idempotency_key = 'k45'", "action = 'a.b'",
                      f"created_at = '{log.rival_at}'", "tenant_id = 'rival'",
                      f"xact = '{log.rival_xact}'", "lane = 0 AND seq = 45"):
        text = "\n".join(row[0] for row in viewer.execute(
            f"EXPLAIN (ANALYZE, COSTS off, TIMING off, SUMMARY off) SELECT * FROM immutable.events WHERE {condition}"))
        met = [int(number) for number in re.findall(r"Rows Removed by (?:Filter|Index Recheck): (\d+)", text)]
        assert sum(met) <= MINE, text


# Unique keys and foreign keys


def test_keys_cannot_be_probed(log, viewer):
    log.admin.execute("CREATE SCHEMA shop")
    log.admin.execute(f"GRANT USAGE, CREATE ON SCHEMA shop TO {log.viewer_role}")
    viewer.execute("CREATE TABLE shop.probe (event_id uuid, tenant_id text)")
    refers = "FOREIGN KEY (event_id, tenant_id) REFERENCES immutable.events (id, tenant_id)"
    refused(viewer, f"ALTER TABLE shop.probe ADD {refers}", "42501")
    refused(viewer, f"CREATE TABLE shop.probe2 (event_id uuid, tenant_id text, {refers})", "42501")
    refused(viewer, "CREATE TABLE shop.child () INHERITS (immutable.events)", "42501")
    log.admin.execute("DROP SCHEMA shop CASCADE")


def test_a_bound_writer_cannot_probe_either(log):
    role = log.db.create_role()
    log.admin.execute("SELECT immutable.grant_tenant(%s, 'mine', 'write')", (role,))
    writer = log.db.connect(role)
    insert = "INSERT INTO immutable.events (id, tenant_id, actor_id, action, idempotency_key) VALUES ({}, '{}', 'a', 'b', '{}')"
    for conflict in ("", " ON CONFLICT DO NOTHING", " ON CONFLICT (tenant_id, idempotency_key) DO NOTHING",
                     " ON CONFLICT (tenant_id, idempotency_key) DO NOTHING RETURNING id"):
        # The same, to the letter, whether the key and id are there or not.
        told = {str(refused(writer, insert.format(f"'{event_id}'", "rival", key) + conflict, "42501"))
                for event_id in (log.rival_id, "00000000-0000-4000-8000-00000000abcd") for key in ("k7", "k7000")}
        assert len(told) == 1
    for tenant, state in (("rival", "42501"), ("", "42501"), ("mine ", "42501")):
        told = {str(refused(writer, f"SELECT immutable.track(actor_id => 'a', action => 'b', tenant_id => '{tenant}', "
                                    f"idempotency_key => '{key}')", state)) for key in ("k7", "k7000")}
        assert len(told) == 1
    batch = writer.execute("SELECT immutable.track_batch(%s)", (json.dumps([
        {"actor_id": "a", "action": "b", "tenant_id": tenant, "idempotency_key": key}
        for tenant in ("rival", "mine") for key in ("k7", "k7001")]),)).fetchone()[0]["events"]
    assert [answer["status"] for answer in batch] == ["error", "error", "conflict", "recorded"]
    assert batch[0] == batch[1] and batch[0]["error"]["field"] == "tenant_id"
    # Nor can it escape the binding by a role that it may set or a right that it is lent.
    for way in ("SET ROLE immutable_writer", "SET ROLE NONE", "RESET ROLE"):
        writer.execute(way)
        assert "mine" in str(refused(writer, insert.format("gen_random_uuid()", "rival", "x"), "42501"))
    free = log.db.create_role("IN ROLE immutable_writer")
    log.admin.execute(f"CREATE FUNCTION public.lend(text) RETURNS text SECURITY DEFINER LANGUAGE sql AS "
                      f"$$ INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ($1, 'a', 'b') RETURNING tenant_id $$; "
                      f"ALTER FUNCTION public.lend OWNER TO {free}")
    refused(writer, "SELECT public.lend('rival')", "42501")
    assert writer.execute("SELECT public.lend('mine')").fetchone() == ("mine",)
    # Nor where row security does not apply at all: in a superuser's function, or by COPY with BYPASSRLS.
    log.admin.execute("ALTER FUNCTION public.lend OWNER TO postgres")
    told = str(refused(writer, "SELECT public.lend('rival')", "42501"))
    assert "mine" in told and writer.execute("SELECT public.lend('mine')").fetchone() == ("mine",)
    # Nor by one of the log's own actions, which such a function may write.
    log.admin.execute("CREATE FUNCTION public.lend_action(text, text) RETURNS text SECURITY DEFINER LANGUAGE sql AS "
                      "$$ INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ($1, 'a', $2) RETURNING tenant_id $$")
    for action in ("b", "immutable.restored"):
        refused(writer, f"SELECT public.lend_action('rival', '{action}')", "42501")
    log.admin.execute(f"ALTER FUNCTION public.lend OWNER TO {free}")
    log.admin.execute(f"ALTER ROLE {role} BYPASSRLS")
    copied = "COPY immutable.events (tenant_id, actor_id, action) FROM STDIN"
    for tenant, taken in (("mine", True), ("rival", False)):
        try:
            with writer.cursor().copy(copied) as copy:
                copy.write(f"{tenant}\tcopied\tb\n")
            assert taken
        except psycopg.errors.InsufficientPrivilege:
            assert not taken
    log.admin.execute(f"ALTER ROLE {role} NOBYPASSRLS")
    with pytest.raises(psycopg.errors.FeatureNotSupported):
        with writer.cursor().copy(copied) as copy:
            copy.write("mine\tcopied\tb\n")
    for tenant, state in (("rival", "42501"), ("mine", "23505")):
        refused(writer, "MERGE INTO immutable.events e USING (VALUES (1)) x ON false WHEN NOT MATCHED THEN INSERT "
                        f"(tenant_id, actor_id, action, idempotency_key) VALUES ('{tenant}', 'a', 'b', 'k7')", state)
    # A gateway that sets the bound role is bound by it; an event that it records as itself is not.
    gateway_role = log.db.create_role("NOINHERIT")
    log.admin.execute(f"GRANT {role}, {free} TO {gateway_role}")
    gateway = log.db.connect(gateway_role)
    gateway.execute(f"SET ROLE {role}")
    refused(gateway, insert.format("gen_random_uuid()", "rival", "x"), "42501")
    refused(gateway, "SELECT public.lend('rival')", "42501")
    gateway.execute(f"SET ROLE {free}")
    gateway.execute(insert.format("gen_random_uuid()", "rival", "x"))
    log.admin.execute("DROP FUNCTION public.lend")


def test_a_bound_writer_does_not_wait_for_another_tenant(log):
    """Waiting would reveal that the other tenant is being written."""
    role = log.db.create_role()
    log.admin.execute("SELECT immutable.grant_tenant(%s, 'mine', 'write')", (role,))
    log.admin.execute(f"ALTER DATABASE {log.db.name} SET immutable.lanes = 1")
    writer, rival = log.db.connect(role), log.db.connect(autocommit=False)
    rival.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('rival', 'a', 'b'), ('mine', 'a', 'b')")
    writer.execute("SET lock_timeout = '100ms'")
    insert = "INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('{}', 'a', 'b')"
    refused(writer, insert.format("rival"), "42501")
    refused(writer, insert.format("mine"), "55P03")
    rival.rollback()


def test_members_of_a_bound_role_are_bound(log):
    """They have the right to insert from it."""
    team, rivals, free = (log.db.create_role() for _ in range(3))
    log.admin.execute("SELECT immutable.grant_tenant(%s, 'mine', 'write'), immutable.grant_tenant(%s, 'rival', 'write')",
                      (team, rivals))
    log.admin.execute(f"GRANT immutable_writer TO {free}")
    inner = log.db.create_role(f"IN ROLE {team}")
    insert = "INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('{}', 'a', 'b')"

    def may(connection):
        allowed = []
        for tenant in ("mine", "rival", ""):
            try:
                connection.execute(insert.format(tenant))
                allowed.append(tenant)
            except psycopg.errors.InsufficientPrivilege as error:
                assert "tenant_id must be" in str(error) and error.diag.message_hint
        return allowed

    for groups, allowed in ((team, ["mine"]), (inner, ["mine"]), (f"{team}, {free}", ["mine"]), (free, ["mine", "rival", ""]),
                            (f"{team}, {rivals}", ["mine", "rival"])):
        member = log.db.connect(log.db.create_role(f"IN ROLE {groups}"))
        assert may(member) == allowed, groups
    # Of two bindings, that of the role that it has set counts.
    member.execute(f"SET ROLE {rivals}")
    assert may(member) == ["rival"]
    # A binding of its own is narrower than those it inherits.
    own = log.db.create_role(f"IN ROLE {team}, {rivals}")
    log.admin.execute("SELECT immutable.grant_tenant(%s, '', 'write')", (own,))
    assert may(log.db.connect(own)) == [""]
    # A member that does not inherit has no right to insert either, until it sets the role.
    gateway = log.db.connect(log.db.create_role(f"NOINHERIT IN ROLE {team}, {free}"))
    refused(gateway, insert.format("mine"), "42501")
    gateway.execute(f"SET ROLE {team}")
    assert may(gateway) == ["mine"]
    gateway.execute(f"SET ROLE {free}")
    assert may(gateway) == ["mine", "rival", ""]


def test_a_binding_outlasts_a_renamed_role(log):
    """Renaming the role ends a grant to read, which takes a right away. It must not end a binding, which would give one."""
    role = log.db.create_role()
    log.db.roles.remove(role)
    renamed = f"{role}_renamed"
    insert = "INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('{}', 'a', 'b')"
    grants = "SELECT role, tenant_id FROM immutable.tenant_grants ORDER BY 1"
    log.admin.execute("SELECT immutable.grant_tenant(%s, 'mine', 'write')", (role,))
    log.admin.execute(f"ALTER ROLE {role} RENAME TO {renamed}")
    log.db.roles.append(renamed)
    writer = log.db.connect(renamed)
    writer.execute(insert.format("mine"))
    refused(writer, insert.format("rival"), "42501")
    # Bound again, it is bound to the new tenant alone.
    log.admin.execute("SELECT immutable.grant_tenant(%s, 'rival', 'write')", (renamed,))
    assert log.admin.execute(grants).fetchall() == [(renamed, "rival")]
    writer.execute(insert.format("rival"))
    refused(writer, insert.format("mine"), "42501")
    # Revoked by the name at the time of the grant, or by today's name: neither leaves an unbound writer.
    for first, then in ((role, role), (role, renamed)):
        log.admin.execute(f"ALTER ROLE {renamed} RENAME TO {first}")
        log.admin.execute("SELECT immutable.grant_tenant(%s, 'mine', 'write')", (first,))
        log.admin.execute(f"ALTER ROLE {first} RENAME TO {renamed}")
        log.admin.execute("SELECT immutable.revoke_tenant(%s, 'write')", (then,))
        assert log.admin.execute(grants).fetchall() == []
        for tenant in ("mine", "rival"):
            refused(writer, insert.format(tenant), "42501")
    # A new role with the name of a bound one is bound, until the grant is revoked.
    log.admin.execute("SELECT immutable.grant_tenant(%s, 'mine', 'write')", (renamed,))
    writer.close()
    log.admin.execute(f"DROP ROLE {renamed}")
    log.admin.execute(f"CREATE ROLE {renamed} LOGIN IN ROLE immutable_writer")
    writer = log.db.connect(renamed)
    writer.execute(insert.format("mine"))
    refused(writer, insert.format("rival"), "42501")
    # As after a restore that ran before the roles were created: the OID is of no role.
    log.db.unguard()
    with log.admin.transaction():
        log.admin.execute("ALTER TABLE immutable.tenant_grants DISABLE TRIGGER ALL")
        log.admin.execute("UPDATE immutable.tenant_grants SET role_oid = 0")
        log.admin.execute("ALTER TABLE immutable.tenant_grants ENABLE TRIGGER ALL")
    refused(writer, insert.format("rival"), "42501")
    writer.execute(insert.format("mine"))


def test_a_binding_ends_with_the_membership(log):
    role, group = log.db.create_role(), log.db.create_role("IN ROLE immutable_writer")
    insert = "INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('{}', 'a', 'b')"
    log.admin.execute("SELECT immutable.grant_tenant(%s, 'mine', 'write')", (role,))
    writer = log.db.connect(role)
    writer.execute(insert.format("mine"))
    # Revoking never gives more rights.
    log.admin.execute(f"GRANT {group} TO {role}")
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
        log.admin.execute("SELECT immutable.revoke_tenant(%s, 'write')", (role,))
    refused(writer, insert.format("rival"), "42501")
    log.admin.execute(f"REVOKE {group} FROM {role}")
    log.admin.execute("SELECT immutable.revoke_tenant(%s, 'write')", (role,))
    for tenant in ("mine", "rival"):
        refused(writer, insert.format(tenant), "42501")


# Long sessions: plans, cursors, pools, roles


def test_prepared_statements_follow_the_token(log):
    viewer = log.viewer(prepare_threshold=None)  # DEALLOCATE would take the driver's own away
    tokens = {"mine": (token(), MINE), "rival": (token(tenant_id="rival"), RIVAL), "u1": (token(actor_id="u1"), MINE_U1),
              "": ("", 0)}
    for mode in ("auto", "force_generic_plan", "force_custom_plan"):
        viewer.execute(f"SET plan_cache_mode = {mode}")
        viewer.execute("DEALLOCATE ALL")
        viewer.execute("PREPARE page AS SELECT tenant_id FROM immutable.events WHERE action = $1 ORDER BY created_at")
        viewer.execute("PREPARE event_targets AS SELECT tenant_id FROM immutable.event_targets")
        viewer.execute("CREATE OR REPLACE FUNCTION pg_temp.page() RETURNS bigint STABLE LANGUAGE plpgsql AS "
                       "$$ DECLARE n bigint; BEGIN SELECT count(*) INTO n FROM immutable.events; RETURN n; END $$")
        for _ in range(8):
            for given, events in tokens.values():
                present(viewer, given)
                assert len(viewer.execute("EXECUTE page('a.b')").fetchall()) == events
                assert len(viewer.execute("EXECUTE event_targets").fetchall()) == events
                assert count(viewer, "SELECT pg_temp.page()") == events
                assert viewer.execute("SELECT immutable.get_events() #> '{pagination,total}'").fetchone()[0] == events


def test_a_cursor_keeps_the_token_of_its_first_fetch(log):
    viewer = log.viewer(token())
    with viewer.transaction():
        viewer.execute("DECLARE page CURSOR FOR SELECT tenant_id FROM immutable.events")
        viewer.execute("DECLARE later CURSOR FOR SELECT tenant_id FROM immutable.events")
        only_mine(viewer.execute("FETCH 5 FROM page").fetchall())
        present(viewer, token(tenant_id="rival"))
        rest = viewer.execute("FETCH ALL FROM page").fetchall()
        only_mine(rest)
        assert len(rest) == MINE - 5
        assert {row[0] for row in viewer.execute("FETCH ALL FROM later")} == {"rival"}


@pytest.mark.parametrize("ended", ["expired", "revoked", "its key gone"])
def test_a_cursor_outlasts_its_token_and_no_other_statement_does(log, ended):
    """As documented: a running query is not stopped. A cursor that was not fetched from yet is not running."""
    exp = int(time.time()) + 2 if ended == "expired" else int(time.time()) + 600
    given = token(exp=exp)
    viewer = log.viewer(given)
    with viewer.transaction():
        for name in ("begun", "not_begun"):
            viewer.execute(f"DECLARE {name} CURSOR FOR SELECT tenant_id FROM immutable.events")
        only_mine(viewer.execute("FETCH 5 FROM begun").fetchall())
        if ended == "expired":
            while time.time() < exp:
                time.sleep(0.05)
        elif ended == "revoked":
            log.admin.execute("SELECT immutable.revoke_viewer_token(%s)", (given,))
        else:
            log.admin.execute("SELECT immutable.rotate_viewer_key(revoke_old => true)")
        assert len(viewer.execute("FETCH ALL FROM begun").fetchall()) == MINE - 5
        viewer.execute("SAVEPOINT s")
        refused(viewer, "FETCH 1 FROM not_begun")
        viewer.execute("ROLLBACK TO s")
        refused(viewer)
        viewer.execute("ROLLBACK TO s")
    refused(viewer, "SELECT immutable.get_events()")


def test_a_pooled_connection_changes_tokens(log):
    """One connection that serves another customer in each transaction, as behind pgbouncer."""
    pooled = log.viewer(prepare_threshold=0)
    for _ in range(3):
        for tenant, events in (("mine", MINE), ("rival", RIVAL)):
            with pooled.transaction():
                present(pooled, token(tenant_id=tenant), local=True)
                assert count(pooled) == events and count(pooled, TARGETS) == events
            assert count(pooled) == 0
            with pytest.raises(psycopg.errors.InvalidAuthorizationSpecification), pooled.transaction():
                present(pooled, token(tenant_id=tenant)[:-3] + "AAA", local=True)
                count(pooled)
            assert count(pooled) == 0
            with pooled.transaction(force_rollback=True):
                present(pooled, token(tenant_id=tenant))
                assert count(pooled) == events
            assert count(pooled) == 0


def test_parallel_workers_see_no_more(log):
    force = "debug_parallel_query" if log.db.server.major >= 16 else "force_parallel_mode"
    viewer = log.viewer()
    for setting in (f"{force} = on", "parallel_setup_cost = 0", "parallel_tuple_cost = 0", "min_parallel_table_scan_size = 0",
                    "max_parallel_workers_per_gather = 4", "enable_indexscan = off", "enable_bitmapscan = off"):
        viewer.execute(f"SET {setting}")
    for given, events in ((token(), MINE), (token(actor_id="u1"), MINE_U1), (token(tenant_id="rival"), RIVAL)):
        present(viewer, given)
        for statement in (EVENTS, TARGETS):
            plan = "\n".join(row[0] for row in viewer.execute(f"EXPLAIN (ANALYZE, COSTS off) {statement}"))
            assert re.search(r"Workers Launched: [1-9]", plan), plan
            assert count(viewer, statement) == events
    present(viewer, "")
    assert count(viewer) == 0
    viewer.execute("SELECT set_config('request.headers', %s, false)", (headers(token(actor_id="u1")),))
    assert count(viewer) == MINE_U1
    present(viewer, token()[:-3] + "AAA")
    refused(viewer)


def test_roles_cannot_be_exchanged_for_more_rights(log):
    granted = log.db.create_role()
    log.admin.execute("SELECT immutable.grant_tenant(%s, 'rival')", (granted,))
    auditor = log.db.create_role("IN ROLE immutable_auditor")
    viewer = log.viewer(token())
    for role in (granted, auditor, "immutable_auditor", "immutable_writer", "postgres"):
        refused(viewer, f"SET ROLE {role}", "42501")
        refused(viewer, f"SET SESSION AUTHORIZATION {role}", "42501")
    viewer.execute("SET ROLE immutable_viewer")
    assert count(viewer) == MINE
    viewer.execute("RESET ROLE")
    # A role that is granted a tenant sees it, and only while it is the current role.
    bi = log.db.connect(granted)
    assert count(bi) == RIVAL and count(bi, TARGETS) == RIVAL
    bi.execute("SET ROLE immutable_viewer")
    assert count(bi) == 0
    bi.execute("RESET ROLE")
    for token_given, events in ((token(), MINE), (token(tenant_id="rival", actor_id="u1"), 17), ("", RIVAL)):
        present(bi, token_given)
        assert count(bi) == events
    present(bi, "x")
    refused(bi)
    present(bi, "")
    # A role of the same name is not the same role, and a renamed one has no grant until it is granted again.
    log.admin.execute(f"ALTER ROLE {granted} RENAME TO {granted}_renamed")
    assert count(bi) == 0
    log.admin.execute(f"CREATE ROLE {granted} LOGIN IN ROLE immutable_viewer")
    assert count(log.db.connect(granted)) == 0
    log.db.roles.append(f"{granted}_renamed")
    log.admin.execute("SELECT immutable.grant_tenant(%s, 'mine')", (f"{granted}_renamed",))
    assert count(bi) == MINE
    log.admin.execute("SELECT immutable.revoke_tenant(%s)", (f"{granted}_renamed",))
    refused(bi, state="42501")


def test_grants_are_restored_by_name(log):
    """A dump contains the OIDs of another server's roles."""
    role = log.db.create_role("IN ROLE immutable_viewer")
    bi = log.db.connect(role)
    auditor = log.admin.execute("SELECT 'immutable_auditor'::regrole::oid").fetchone()[0]
    copied = "COPY immutable.tenant_grants (role, mode, tenant_id, role_oid, granted_at, granted_by) FROM STDIN"
    with log.admin.cursor().copy(copied) as copy:
        copy.write(f"{role}\tread\tmine\t{auditor}\t2026-01-01\tx\nnot_restored\tread\tmine\t{auditor}\t2026-01-01\tx\n")
    rows = log.admin.execute("SELECT role, role_oid FROM immutable.tenant_grants ORDER BY role_oid").fetchall()
    assert [row[0] for row in rows] == ["not_restored", role] and rows[0][1] == 0 and rows[1][1] not in (0, auditor)
    assert count(bi) == MINE


def test_roles_that_cannot_be_granted_a_tenant(log):
    over, auditor = log.db.create_role("BYPASSRLS"), log.db.create_role("IN ROLE immutable_auditor")
    for role, mode, state in (("postgres", "read", "22023"), (over, "read", "22023"), (auditor, "read", "22023"),
                              ("immutable_viewer", "read", "22023"), ("immutable_writer", "write", "22023"),
                              ("nobody_at_all", "read", "42704"), (log.viewer_role, "all", "22023"), (None, "read", "22004")):
        with pytest.raises(psycopg.Error) as error:
            log.admin.execute("SELECT immutable.grant_tenant(%s, 'mine', %s)", (role, mode))
        assert error.value.sqlstate == state and error.value.diag.message_hint, role
    with pytest.raises(psycopg.errors.UndefinedObject):
        log.admin.execute("SELECT immutable.revoke_tenant(%s)", (log.viewer_role,))
    assert log.admin.execute("SELECT * FROM immutable.tenant_grants").fetchall() == []


# Behind a gateway


def test_requests_through_postgrest(log):
    """PostgREST: one login that may become others; in each transaction the role of the token, the headers, the claims."""
    login = log.db.create_role("NOINHERIT")
    auditor, granted = log.db.create_role("IN ROLE immutable_auditor"), log.db.create_role()
    log.admin.execute(f"GRANT immutable_viewer, {auditor}, {granted} TO {login}")
    log.admin.execute("SELECT immutable.grant_tenant(%s, 'rival')", (granted,))
    gateway = log.db.connect(login)

    def request(role, given, path=EVENTS, **claims):
        with gateway.transaction():
            gateway.execute(f"SET LOCAL ROLE {role}")
            gateway.execute("SELECT set_config('request.headers', %s, true), set_config('request.jwt.claims', %s, true), "
                            "set_config('request.method', 'GET', true), set_config('search_path', 'immutable', true)",
                            (headers(given), json.dumps({"role": role, **claims})))
            return gateway.execute(path).fetchone()[0]

    forged = token()[:-3] + "AAA"
    for _ in range(2):
        assert request("immutable_viewer", token()) == MINE
        assert request("immutable_viewer", token(tenant_id="rival")) == RIVAL
        assert request("immutable_viewer", token(actor_id="u1"), TARGETS) == MINE_U1
        # Claims that the gateway has verified are not trusted.
        with pytest.raises(psycopg.errors.InvalidAuthorizationSpecification):
            request("immutable_viewer", forged, tenant_id="rival")
        # The gateway's own tokens are not read unless the role asks for it.
        for given in (forged, "anything", token(role="authenticated")):
            assert request(auditor, given, f"{EVENTS} WHERE tenant_id <> ''") == MINE + RIVAL
            assert request(granted, given) == RIVAL
    with gateway.transaction():
        gateway.execute("SET LOCAL ROLE immutable_viewer")
        gateway.execute("SELECT set_config('request.headers', '{\"host\": \"x\"}', true)")
        gateway.execute("SELECT set_config('request.jwt.claims', '{\"role\": \"immutable_viewer\", \"tenant_id\": \"rival\"}', true)")
        assert count(gateway) == 0
    for broken in ("x", "[]", '{"authorization": 1}', '{"authorization": "Bearer a", "Authorization": "Bearer b"}', "x" * 200_000):
        with pytest.raises(psycopg.errors.InvalidAuthorizationSpecification), gateway.transaction():
            gateway.execute("SET LOCAL ROLE immutable_viewer")
            gateway.execute("SELECT set_config('request.headers', %s, true)", (broken,))
            count(gateway)


def test_a_direct_user_cannot_make_itself_a_gateway(log):
    viewer = log.viewer()
    claims = json.dumps({"role": "immutable_viewer", "iss": "immutable", "tenant_id": "rival", "exp": 4_000_000_000})
    for name in ("request.jwt.claims", "request.jwt.claim.tenant_id", "request.jwt", "role_claim.tenant"):
        viewer.execute("SELECT set_config(%s, %s, false)", (name, claims))
        assert count(viewer) == 0
    viewer.execute("SET request.headers = '{\"authorization\": \"Basic cml2YWw6cml2YWw=\", \"x-tenant-id\": \"rival\"}'")
    assert count(viewer) == 0
    viewer.execute("SET immutable.tenant_id = 'rival'")
    assert count(viewer) == 0


# An actor's token


def test_an_actors_token_narrows_every_way_to_read(log):
    viewer = log.viewer(token(actor_id="u1"))
    assert viewer.execute("SELECT DISTINCT tenant_id, actor_id FROM immutable.events").fetchall() == [("mine", "u1")]
    own = {row[0] for row in viewer.execute("SELECT id FROM immutable.events")}
    assert {row[0] for row in viewer.execute("SELECT event_id FROM immutable.event_targets")} == own and len(own) == MINE_U1
    other = log.admin.execute("SELECT id FROM immutable.events WHERE tenant_id = 'mine' AND actor_id = 'u2' LIMIT 1").fetchone()[0]
    assert viewer.execute("SELECT immutable.get_event(%s)", (other,)).fetchone() == (None,)
    assert viewer.execute("SELECT immutable.get_events(actor_id => 'u2') -> 'data'").fetchone() == ([],)
    assert viewer.execute("SELECT immutable.get_events() #> '{pagination,total}'").fetchone() == (MINE_U1,)
    assert viewer.execute("SELECT count(*) FROM immutable.find_events(target_type => 't')").fetchone() == (MINE_U1,)
    assert viewer.execute("SELECT * FROM immutable.event_targets WHERE event_id = %s", (other,)).fetchall() == []
    # Targets are looked up in the transaction's own snapshot, not in a later one.
    with viewer.transaction():
        viewer.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        assert count(viewer, TARGETS) == MINE_U1
        log.admin.execute("INSERT INTO immutable.events (tenant_id, actor_id, action, targets) VALUES "
                          "('mine', 'u1', 'a.b', '[{\"type\": \"t\"}]')")
        assert (count(viewer), count(viewer, TARGETS)) == (MINE_U1, MINE_U1)
    assert (count(viewer), count(viewer, TARGETS)) == (MINE_U1 + 1, MINE_U1 + 1)


# Keys, and where they are written


def test_nobody_can_read_or_plant_a_key(log):
    role = log.db.create_role()
    log.admin.execute(f"GRANT pg_read_all_data, pg_write_all_data TO {role}")
    everything = log.db.connect(role)
    for table in ("viewer_keys", "viewer_key_import", "revocations", "tenant_grants", "events", "event_targets"):
        assert count(everything, f"SELECT count(*) FROM immutable.{table}") == 0, table
    assert log.admin.execute("SELECT count(*) FROM immutable.viewer_keys").fetchone() == (1,)
    for statement in ("INSERT INTO immutable.viewer_keys VALUES (gen_random_uuid(), 'x', now(), NULL, false)",
                      "INSERT INTO immutable.tenant_grants VALUES (current_user, 'read', 'rival', 0, now(), '')",
                      "INSERT INTO immutable.revocations VALUES ('x', NULL, NULL, now(), now(), '')"):
        refused(everything, statement, "42501")
    for statement in ("UPDATE immutable.viewer_keys SET secret = 'x'", "DELETE FROM immutable.viewer_keys",
                      "DELETE FROM immutable.revocations", "UPDATE immutable.tenant_grants SET tenant_id = 'rival'"):
        assert everything.execute(statement).rowcount == 0
    with pytest.raises(psycopg.errors.FeatureNotSupported):
        import_key(everything, "planted planted planted planted planted")
    assert log.admin.execute("SELECT count(*) FROM immutable.viewer_keys").fetchone() == (1,)


def write_as_server(path, text):
    """The server's directory belongs to its user, which need not be this one."""
    command = ["tee", str(path)]
    if os.geteuid() == 0:
        command = ["runuser", "-u", "postgres", "--", *command]
    subprocess.run(command, input=f"{text}\n", text=True, check=True, stdout=subprocess.DEVNULL, cwd="/")


def test_no_secret_is_written_anywhere_but_its_table(cluster):
    """With everything logged that can be."""
    server = cluster(log_statement="all", log_min_messages="debug1", log_min_error_statement="debug1", log_duration="on",
                     log_min_duration_statement="0", log_parameter_max_length_on_error="-1", log_error_verbosity="verbose",
                     shared_preload_libraries="pg_stat_statements,auto_explain", **{
                         "pg_stat_statements.track": "all", "pg_stat_statements.track_utility": "on",
                         "auto_explain.log_min_duration": "0", "auto_explain.log_nested_statements": "on",
                         "auto_explain.log_analyze": "on", "auto_explain.log_verbose": "on"})
    admin = server.connect()
    admin.execute("CREATE EXTENSION immutable; CREATE EXTENSION pg_stat_statements; CREATE ROLE viewer LOGIN IN ROLE immutable_viewer")
    secrets = [SECRET, "the second secret, which is imported from a file of the server"]
    import_key(admin, secrets[0])
    path = server.data / "secret"
    write_as_server(path, secrets[1])
    admin.execute(f"COPY immutable.viewer_key_import FROM '{path}'")
    # Every mistake with COPY and a line of text.
    short, first, second = "short, but secret", "the first of two lines, which are too many", "the second of two lines, too"
    for lines in ([short], [first, second], ["x" * 1025], ["\\N"], []):
        with pytest.raises(psycopg.errors.InvalidParameterValue) as error:
            with admin.cursor().copy("COPY immutable.viewer_key_import FROM STDIN") as copy:
                copy.write("".join(f"{line}\n" for line in lines))
        assert "CONTEXT" not in str(error.value) and not any(line and line in str(error.value) for line in (short, first, second))
    admin.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('mine', 'a', 'b')")
    assert admin.execute("SELECT count(*) FROM immutable.viewer_key_import").fetchone() == (0,)
    admin.execute("SELECT immutable.rotate_viewer_key()")
    made = admin.execute("SELECT immutable.create_viewer_token('mine') ->> 'token'").fetchone()[0]
    reader = server.connect(user="viewer")
    present(reader, made[:-3] + "AAA")
    refused(reader)
    # The wrong way. Nobody can prevent what log_statement shows; the error must not show it.
    admin.execute("SET log_statement = none; SET log_min_duration_statement = -1; SET log_duration = off")
    literal = "a literal secret, which an INSERT would have left in the log"
    with pytest.raises(psycopg.errors.FeatureNotSupported) as error:
        admin.execute(f"INSERT INTO immutable.viewer_key_import VALUES ('{literal}')")
    assert literal not in str(error.value) and error.value.diag.message_hint
    rows = admin.execute("SELECT encode(secret, 'hex'), convert_from(secret, 'UTF8') FROM immutable.viewer_keys WHERE imported").fetchall()
    random = admin.execute("SELECT encode(secret, 'hex') FROM immutable.viewer_keys WHERE NOT imported").fetchone()[0]
    assert sorted(text for _, text in rows) == sorted(secrets)
    admin.execute("SELECT immutable.revoke_viewer_tokens('mine'); SELECT immutable.grant_tenant('viewer', 'mine')")
    statements = "\n".join(row[0] for row in admin.execute("SELECT query FROM pg_stat_statements"))
    dumps = [server.run("pg_dump", "-d", "postgres").stdout, server.run("pg_dump", "-d", "postgres", "-a", "--inserts").stdout,
             server.run("pg_dump", "-d", "postgres", "-t", "immutable.*").stdout,
             server.run("pg_dump", "-d", "postgres", "-t", "immutable.viewer_keys").stdout]
    assert "COPY immutable.revocations" in dumps[0] and "COPY immutable.tenant_grants" in dumps[0]
    server.stop()
    log = server.log.read_text(errors="replace")
    assert "COPY immutable.viewer_key_import" in log and "rotate_viewer_key" in log
    hidden = [*secrets, *(digits for digits, _ in rows), random, short, first, second, literal]
    for text in (log, statements, *dumps):
        assert not [secret for secret in hidden if secret in text]
