"""Verification of a part never looks like that of the whole: a forged event lies where each call does not look, and the
answer shows that there is more."""

import contextlib

import psycopg
import pytest

import helpers_log as h
from helpers_log import build_log, delete, heads, update

# The last event of all in the order of tenant, lane and seq; and the times of two events before it.
FORGED = ("globex", 0, 4)


@pytest.fixture
def log(db):
    """Sixteen events, the last of which is forged; `marks` are from before, without its lane's last event."""
    log = build_log(db)
    update(db.conn, FORGED, action="nothing.happened")
    return log


def notices(conn):
    messages = []
    conn.add_notice_handler(lambda diagnostic: messages.append(diagnostic.message_primary))
    return messages


def parts(log):
    early, late = log["acme", 0, 2]["created_at"], log["acme", 0, 6]["created_at"]
    return {
        "range": dict(from_date=early, to_date=late), "until": dict(to_date=late), "limit": dict(max_events=15),
        "range, limit": dict(to_date=late, max_events=3), "one": dict(max_events=1),
    }


@pytest.mark.parametrize("tenant", [None, "acme"])
@pytest.mark.parametrize("part", ["range", "until", "limit", "range, limit", "one"])
def test_a_part_says_that_it_is_one(db, log, part, tenant):
    scope = parts(log)[part]
    if tenant:
        scope["tenant_id"] = tenant
        scope["max_events"] = min(scope.get("max_events", 9), 9)
    result = h.verify_chain(db.conn, **scope)
    assert (result["valid"], result["complete"]) == (True, False)
    assert result["events_checked"] < result["events_total"] == (10 if tenant else 16)
    if not tenant:
        service = h.verify(db.conn, **scope)
        assert (service["valid"], service["complete"], service["events_total"]) == (True, False, 16)
        assert service["events_checked"] == result["events_checked"]


def test_the_whole_is_the_default(db, log):
    for result in (h.verify_chain(db.conn), h.verify(db.conn), h.verify_chain(db.conn, max_events=16),
                   h.verify(db.conn, limit=16), h.verify(db.conn, limit=None)):
        assert (result["valid"], result["complete"]) == (False, True)
        assert (result["events_checked"], result["events_total"]) == (16, 16)


def test_the_service_call_verifies_more_than_ten_thousand_events(db):
    """Its default limit once was 10,000, and what came after was reported as valid."""
    db.conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) "
                    "SELECT 'tenant ' || n % 7, 'a', 'b' FROM generate_series(1, 10500) n")
    assert h.verify(db.conn) == {"valid": True, "events_checked": 10500, "events_total": 10500, "complete": True,
                                 "heads_checked": 0, "anchored": False, "checkpoint_size": None, "cosigned_by": None,
                                 "cosigned_at": None, "recorded_late": None, "pruned": 0, "breaks": []}
    update(db.conn, ("tenant 6", 0, 1500), action="nothing.happened")
    assert h.verify(db.conn)["valid"] is False
    part = h.verify(db.conn, limit=10000)
    assert (part["events_checked"], part["events_total"], part["complete"]) == (10000, 10500, False)


def test_since_says_what_was_not_read_again(db):
    log = build_log(db)
    marks = heads(db.conn)
    update(db.conn, ("globex", 0, 2), action="nothing.happened")
    h.add_event(db.conn, "acme", "later")
    result = h.verify_chain(db.conn, since=marks)
    assert (result["valid"], result["complete"]) == (True, False)
    assert (result["events_checked"], result["events_total"], result["heads_checked"]) == (5, 17, 4)
    assert log["globex", 0, 2] and not h.verify_chain(db.conn)["valid"]


def test_targets_left_out_is_a_part(db, log):
    update(db.conn, FORGED, action=log[FORGED]["action"])
    with h.behind_triggers(db.conn):
        db.conn.execute("UPDATE immutable.event_targets SET target_id = 'x'")
    result = h.verify_chain(db.conn, targets=False)
    assert (result["valid"], result["complete"]) == (True, False)
    assert not h.verify_chain(db.conn)["valid"]


# ---------------------------------------------------------------------------------------------------------------------
# Nothing to verify

@pytest.mark.parametrize("scope", [{}, {"max_events": 5}, {"from_date": "2000-01-01"}, {"heads": []}, {"since": []}])
def test_an_unknown_tenant_is_not_valid(db, log, scope):
    messages = notices(db.conn)
    result = h.verify_chain(db.conn, tenant_id="typo", **scope)
    assert (result["valid"], result["complete"]) == (None, False)
    assert (result["events_checked"], result["events_total"], result["heads_checked"]) == (0, 0, 0)
    assert messages == ['nothing was verified: there are no events of tenant "typo"']
    assert h.verify_breaks(db.conn, tenant_id="typo", **scope) == []
    assert len(messages) == 2
    # whoever looks for what is not valid finds it
    found = db.conn.execute("SELECT t FROM unnest(ARRAY['acme', 'typo', 'globex']) t, immutable.verify_chain(t) v "
                            "WHERE v.valid IS NOT TRUE ORDER BY t").fetchall()
    assert found == [("globex",), ("typo",)]


def test_heads_of_other_tenants_do_not_make_it_valid(db, log):
    result = h.verify_chain(db.conn, tenant_id="typo", heads=heads(db.conn))
    assert (result["valid"], result["heads_checked"]) == (None, 0)


def test_a_tenant_that_is_gone(db, log):
    saved = heads(db.conn)
    delete(db.conn, *(("globex", 0, seq) for seq in range(1, 5)))
    assert h.verify_chain(db.conn, tenant_id="globex")["valid"] is None
    result = h.verify_chain(db.conn, tenant_id="globex", heads=saved)
    assert (result["valid"], result["heads_checked"], result["breaks_found"]) == (False, 1, 1)


@pytest.mark.parametrize("scope", [{"from_date": "infinity"}, {"to_date": "2000-01-01"},
                                   {"from_date": "2100-01-01", "to_date": "2000-01-01", "max_events": 3}])
def test_an_empty_range_is_not_valid(db, log, scope):
    result = h.verify_chain(db.conn, **scope)
    assert (result["valid"], result["complete"], result["events_checked"], result["events_total"]) == (None, False, 0, 16)
    service = h.verify(db.conn, **scope)
    assert (service["valid"], service["complete"], service["events_checked"], service["events_total"]) == (None, False, 0, 16)


def test_a_log_that_has_not_begun(db):
    messages = notices(db.conn)
    for result in (h.verify_chain(db.conn), h.verify(db.conn), h.verify_chain(db.conn, heads=[]),
                   h.verify_chain(db.conn, since=[])):
        assert (result["valid"], result["events_checked"], result["events_total"]) == (True, 0, 0)
    assert messages == []
    assert h.verify_chain(db.conn, tenant_id="typo")["valid"] is None


def test_a_log_that_is_empty_again(db, log):
    """Without heads nothing says what was there, but the log's identity says that something was."""
    saved = heads(db.conn)
    with h.behind_triggers(db.conn):
        db.conn.execute("DELETE FROM immutable.event_targets")
        db.conn.execute("DELETE FROM immutable.events")
    messages = notices(db.conn)
    assert h.verify_chain(db.conn)["valid"] is None
    assert h.verify(db.conn)["valid"] is None
    assert messages == ["nothing was verified: the log has an identity but no events"] * 2
    result = h.verify_chain(db.conn, heads=saved)
    assert (result["valid"], result["heads_checked"], result["breaks_found"]) == (False, 4, 4)


# ---------------------------------------------------------------------------------------------------------------------
# Heads

def test_the_answer_counts_heads(db):
    build_log(db)
    saved = heads(db.conn)
    for scope, checked in (({}, 0), ({"heads": []}, 0), ({"heads": saved}, 4), ({"heads": saved[:1]}, 1),
                           ({"heads": saved, "tenant_id": "acme"}, 2), ({"heads": saved, "max_events": 1}, 4),
                           ({"since": saved, "heads": saved}, 8), ({"since": []}, 0)):
        result = h.verify_chain(db.conn, **scope)
        assert (result["valid"], result["heads_checked"]) == (True, checked), scope
    valid, checked = db.conn.execute("SELECT valid, heads_checked FROM immutable.verify_chain(heads => NULL)").fetchone()
    assert (valid, checked) == (True, 0)


def test_numbers_that_do_not_add_up(db, log):
    """The total is the sum of the lanes' last numbers, which a writer that bypasses the triggers can choose."""
    with h.behind_triggers(db.conn):
        for place, seq in ((("globex", 0, 4), 2**63 - 1), (("acme", 0, 6), 2**63 - 2)):
            db.conn.execute("UPDATE immutable.events SET seq = %s WHERE tenant_id = %s AND lane = %s AND seq = %s", [seq, *place])
    result = h.verify_chain(db.conn, max_events=3)
    assert (result["valid"], result["complete"], result["events_total"]) == (True, False, 2**63 - 1)
    assert h.verify_chain(db.conn)["events_total"] == 16


# ---------------------------------------------------------------------------------------------------------------------
# The time that verify() may take

@pytest.mark.parametrize("parallel", [False, True])
def test_no_time_at_all(db, log, parallel):
    messages = notices(db.conn)
    with h.in_parallel(db.conn) if parallel else contextlib.nullcontext():
        for scope in ({}, {"max_events": 15}, {"to_date": log["acme", 0, 6]["created_at"]}):
            result = h.verify(db.conn, max_seconds=0, **scope)
            assert (result["valid"], result["complete"], result["breaks"]) == (None, False, [])
            assert (result["events_checked"], result["events_total"]) == (0, 16)
            assert messages.pop() == "nothing was verified: the time was up before the first event"
    assert messages == []


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("scope", [{}, {"max_events": 4000}])
def test_a_short_time(db, parallel, scope):
    """Whenever the time is up, the answer says how far it came, and what it has found."""
    # To compile the query would take all of the time.
    db.conn.execute("SET jit = off")
    db.conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action, targets) "
                    "SELECT 'tenant ' || n % 70, 'a', 'b', '[{\"type\": \"t\"}]' FROM generate_series(1, 4000) n")
    with h.in_parallel(db.conn) if parallel else contextlib.nullcontext():
        seen = set()
        for forged in (False, True):
            if forged:
                with h.behind_triggers(db.conn):
                    db.conn.execute("UPDATE immutable.events SET action = 'x'")
            for step in range(12):
                result = h.verify(db.conn, max_seconds=0.0005 * 2 ** step, **scope)
                checked = result["events_checked"]
                assert 0 <= checked <= result["events_total"] == 4000
                assert checked == 4000 or not result["complete"]
                if checked:
                    assert result["valid"] is not forged
                    assert bool(result["breaks"]) is forged
                else:
                    assert result["valid"] is None
                seen.add((0 < checked < 4000, result["complete"]))
            assert h.verify(db.conn, max_seconds=None, **scope)["complete"]
            assert h.verify(db.conn, max_seconds=float("inf"), **scope)["complete"]
        assert (True, False) in seen


def test_hardly_any_time(db, log):
    for seconds in (-1, -1e-9, float("nan"), float("-inf")):
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="max_seconds"):
            h.verify(db.conn, max_seconds=seconds)


# ---------------------------------------------------------------------------------------------------------------------
# Whether anything from outside confirms the answer

def test_only_heads_that_were_given_anchor_an_answer(db):
    log = build_log(db)
    saved = heads(db.conn)
    nothing = [{}, {"heads": []},
               {"tenant_id": "globex", "heads": [head for head in saved if head["tenant_id"] == "acme"]},
               {"tenant_id": "typo"}, {"tenant_id": "typo", "heads": saved}]
    for scope in nothing:
        result = h.verify_chain(db.conn, **scope)
        assert (result["heads_checked"], result["anchored"]) == (0, False), scope
    assert h.verify_chain(db.conn, tenant_id="typo", heads=saved)["valid"] is None
    for scope in ({"heads": saved}, {"since": saved}, {"tenant_id": "acme", "heads": saved}):
        result = h.verify_chain(db.conn, **scope)
        assert (result["valid"], result["anchored"]) == (True, True), scope
        assert result["heads_checked"] == (2 if "tenant_id" in scope else 4)
        assert (result["checkpoint_size"], result["cosigned_by"], result["recorded_late"]) == (None, None, None)
    update(db.conn, ("acme", 0, 3), action="nothing.happened")
    result = h.verify_chain(db.conn, heads=saved)
    assert (result["valid"], result["heads_checked"], result["anchored"]) == (False, 4, False)
