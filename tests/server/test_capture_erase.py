"""Captured values are erased by their path and by the person, as those of every other event: what is gone is gone from
everywhere, the rest verifies in the database, from an export and by receipts, and a customer sees its own row changes."""

import json

import pytest

from helpers_access import SECRET, import_key, present, refused, token
from helpers_tree_model import Model, value
from test_evidence_receipt import VALID, check as check_receipt, line_of, paths
from test_read_export import NOT_ANCHORED, export, verify

SCHEMA = """
    CREATE TABLE customers (id integer PRIMARY KEY, org text NOT NULL, name text, email text);
    CREATE TABLE orders (id integer PRIMARY KEY, org text NOT NULL, buyer integer REFERENCES customers,
                         payer bigint, contact text, note text, iban text);
    SELECT immutable.track_table('customers', resource_type => 'customer', tenant_column => 'org');
    SELECT immutable.track_table('orders', resource_type => 'order', tenant_column => 'org', mask => '{iban}',
                                 subject_columns => '{buyer,payer,contact}');
    INSERT INTO customers VALUES (7, 'a', 'Ada', 'ada@example.com'), (8, 'a', 'Bob', 'bob@example.com'), (77, 'b', 'Eve', 'eve@example.com');
    INSERT INTO orders VALUES (101, 'a', 7, 8, 'ada@example.com', 'for Ada', 'DE02'), (102, 'a', 8, 7, NULL, 'leave it with Ada', 'DE03'),
                              (107, 'a', 8, 8, NULL, NULL, NULL), (201, 'b', 77, NULL, 'eve@example.com', 'for Eve', NULL);
    UPDATE orders SET buyer = 8, note = 'for Bob' WHERE id = 101;
    UPDATE customers SET name = 'Ada Byron' WHERE id = 7;
    DELETE FROM orders WHERE id = 102"""
REASON = "GDPR art. 17, ticket 4713"


@pytest.fixture
def officer(db):
    role = db.create_role()
    db.conn.execute(f"GRANT immutable_eraser TO {role}")
    return db.connect(role)


@pytest.fixture
def orders(db):
    for statement in SCHEMA.split(";"):
        db.conn.execute(statement)
    return db


def the_event(db, action, resource_id, key):
    (found,) = db.conn.execute("SELECT id FROM immutable.events WHERE action = %s AND resource_id = %s AND metadata ? %s",
                               [action, resource_id, key]).fetchall()
    return found[0]


def everything(db):
    """All events and their targets as text, without what tables were told to record."""
    text, = db.conn.execute("SELECT string_agg(e::text, E'\\n') FROM immutable.events e WHERE action NOT LIKE 'immutable.%'").fetchone()
    targets, = db.conn.execute("SELECT coalesce(string_agg(t::text, E'\\n'), '') FROM immutable.event_targets t").fetchone()
    return text + targets


def check(db, tmp_path, erased):
    """All of it verifies, in the database and from an export in both implementations."""
    assert db.conn.execute("SELECT valid, breaks_found FROM immutable.verify_chain()").fetchone() == (True, 0)
    status, summary = verify(export(db, tmp_path / "export"), tmp_path / "copy")
    assert (status, summary["breaks"]) == (NOT_ANCHORED, [])
    assert db.conn.execute("SELECT sum(events_erased)::int FROM immutable.verify_chain()").fetchone() == (erased,)


def test_a_captured_value_is_erased_by_its_path(orders, officer, tmp_path):
    event = the_event(orders, "order.updated", "101", "note")
    gone = officer.execute("SELECT path FROM immutable.erase(%s, 'a', '{metadata.note}', 'ticket 4712')", [event]).fetchall()
    assert gone == [("metadata.note",)]
    metadata, = orders.conn.execute("SELECT metadata FROM immutable.events WHERE id = %s", [event]).fetchone()
    # The old value went with the new one; the other column stays.
    assert metadata == {"buyer": {"old": 7, "new": 8}}
    assert "for Bob" not in everything(orders)
    # The value that the row had before is in the event before, too.
    created = the_event(orders, "order.created", "101", "note")
    officer.execute("SELECT path FROM immutable.erase(%s, 'a', '{metadata.note}', 'ticket 4712')", [created])
    assert "for Ada" not in everything(orders)
    check(orders, tmp_path, erased=2)
    # One that is masked was never there, and its key can be erased as every other.
    assert not {"DE02", "DE03"} & set(everything(orders).replace('"', " ").split())
    officer.execute("SELECT path FROM immutable.erase(%s, 'a', '{metadata.iban}', 'ticket 4712')", [created])
    assert "iban" not in orders.conn.execute("SELECT metadata FROM immutable.events WHERE id = %s", [created]).fetchone()[0]
    check(orders, tmp_path, erased=2)
    # A part of a column is no path: there is nothing to erase under that name.
    assert officer.execute("SELECT path FROM immutable.erase(%s, 'a', '{metadata.buyer.old}', 'ticket 4712')", [event]).fetchall() == []
    assert orders.conn.execute("SELECT metadata FROM immutable.events WHERE id = %s", [event]).fetchone() == (metadata,)


def erase_subject(officer, dry_run, subject=("7", "ada@example.com"), keys=("buyer", "payer", "contact", "name", "email", "id")):
    return officer.execute("SELECT event_id, path, found FROM immutable.erase_subject('a', %s::text[], %s, metadata_keys => %s, dry_run => %s)",
                           [list(subject), REASON, list(keys), dry_run]).fetchall()


def test_a_person_is_found_by_the_columns_that_refer_to_her(orders, officer, tmp_path):
    """By integers, also where no foreign key says what they are, and by texts."""
    targets = {(key, json.dumps(found)) for key, found in orders.conn.execute(
        "SELECT resource_id, jsonb_path_query_array(targets, '$[*].type') || jsonb_path_query_array(targets, '$[*].id') "
        "FROM immutable.events WHERE action = 'order.created'")}
    assert targets == {
        ("101", '["contact", "customer", "payer", "ada@example.com", "7", "8"]'), ("102", '["customer", "payer", "8", "7"]'),
        ("107", '["customer", "payer", "8", "8"]'), ("201", '["contact", "customer", "eve@example.com", "77"]')}
    orders.conn.execute("DELETE FROM orders WHERE buyer = 7 OR payer = 7")

    before = everything(orders)
    dry = erase_subject(officer, True)
    assert everything(orders) == before
    by_event = {}
    for event, path, found in dry:
        by_event.setdefault(event, {})[path] = found
    created = by_event[the_event(orders, "order.created", "101", "buyer")]
    # The target is the id; the columns stand beside it. Numbers in metadata are not looked at, and are named as such.
    assert {path: found for path, found in created.items() if path.startswith("targets.")} == {"targets.0": "exact", "targets.1": "exact"}
    assert created["metadata.buyer"] == "beside" and created["metadata.contact"] == "within"
    assert by_event[the_event(orders, "customer.created", "7", "email")] == {
        "resource_id": "exact", "metadata.name": "beside", "metadata.email": "within", "metadata.id": "beside"}
    # Nobody else's: neither order 107, nor the customer 77 of another tenant.
    assert the_event(orders, "order.created", "107", "buyer") not in by_event
    assert not {event for event, in orders.conn.execute("SELECT id FROM immutable.events WHERE tenant_id = 'b'")} & by_event.keys()

    kept = {(event, path) for event, path, found in dry if found != "variant"}
    assert {(event, path) for event, path, _ in erase_subject(officer, False)} == kept
    left = everything(orders)
    for word in ("ada@example.com", "Ada Byron", '""Ada""'):
        assert word not in left, word
    assert "Bob" in left and "Eve" in left and "eve@example.com" in left
    assert orders.conn.execute("SELECT count(*) FROM immutable.event_targets WHERE tenant_id = 'a' AND target_id = '7'").fetchone() == (0,)
    check(orders, tmp_path, erased=len({event for event, _ in kept}))
    # Her name in a note is found by its word, as in every event.
    assert "with Ada" in left
    erase_subject(officer, False, subject=["Ada"], keys=())
    assert "with Ada" not in everything(orders)
    # Nothing of it is left to find, and the reason is.
    assert [row for row in erase_subject(officer, True) if row[2] != "variant"] == []
    assert orders.conn.execute("SELECT DISTINCT metadata ->> 'reason' FROM immutable.events WHERE action = 'immutable.event_erased'").fetchall() == [
        (REASON,)]


def test_receipts_of_row_changes_stay_valid_when_values_are_erased(orders, officer):
    conn = orders.conn
    model = Model(conn).append().store()
    model.sign()
    model.cosign()
    event = the_event(orders, "order.updated", "101", "note")

    def receipt():
        text = value(conn, "receipt", event, "a")
        return text, line_of(text)["document"], dict(paths(text))

    before, document, shown = receipt()
    assert shown["metadata.note"] == {"old": "for Ada", "new": "for Bob"}
    assert shown["metadata.buyer"] == {"old": 7, "new": 8}
    officer.execute("SELECT path FROM immutable.erase(%s, 'a', '{metadata.note}', 'ticket 4712')", [event])
    after, same, rest = receipt()
    assert same == document and "metadata.note" not in rest and rest["metadata.buyer"] == shown["metadata.buyer"]
    assert check_receipt(before)["verdict"] == check_receipt(after)["verdict"] == VALID
    assert check_receipt(after)["not_disclosed"] == 1


def test_a_customer_sees_the_row_changes_of_its_tenant_and_no_others(orders):
    import_key(orders.conn)
    viewer = orders.connect(orders.create_role("IN ROLE immutable_viewer"))
    for tenant, expected in (("a", {"customer.created": 2, "order.created": 3, "order.updated": 1, "customer.updated": 1, "order.deleted": 1}),
                             ("b", {"customer.created": 1, "order.created": 1})):
        present(viewer, token(secret=SECRET, tenant_id=tenant))
        assert dict(viewer.execute("SELECT action, count(*) FROM immutable.events GROUP BY 1").fetchall()) == expected
        page, = viewer.execute("SELECT immutable.get_events()").fetchone()
        assert sum(expected.values()) == len(page["data"])
        assert {event["tenant_id"] for event in page["data"]} == {tenant}
        changes, = viewer.execute("SELECT immutable.changes(%s)", [tenant]).fetchone()
        assert len(changes["data"]) == sum(expected.values())
    # Not what is tracked, and nothing of another tenant by its ids.
    present(viewer, token(secret=SECRET, tenant_id="b"))
    assert viewer.execute("SELECT immutable.find_events(resource => 'order', resource_id => '101')").fetchall() == []
    refused(viewer, "SELECT * FROM immutable.tracked_tables", "42501")
    refused(viewer, "SELECT immutable.track_table('orders')", "42501")


def test_a_row_that_moves_to_another_tenant_is_seen_and_erased_in_both(orders, officer, tmp_path):
    orders.conn.execute("UPDATE customers SET org = 'b', email = 'new@example.com' WHERE id = 8")
    moved = "SELECT tenant_id, resource_id, metadata FROM immutable.events WHERE metadata ? 'org' AND action = 'customer.updated' ORDER BY tenant_id"
    left = {"id": {"old": 8}, "org": {"old": "a"}, "name": {"old": "Bob"}, "email": {"old": "bob@example.com"}}
    entered = {"id": {"new": 8}, "org": {"new": "b"}, "name": {"new": "Bob"}, "email": {"new": "new@example.com"}}
    # Neither tenant sees the other's values.
    assert orders.conn.execute(moved).fetchall() == [("a", "8", left), ("b", "8", entered)]
    # Each tenant has its own, and each is erased for itself.
    for tenant, change in (("a", left), ("b", entered)):
        officer.execute("SELECT path FROM immutable.erase_subject(%s, '8', 'ticket 4714', metadata_keys => '{email}')", [tenant]).fetchall()
        seen = dict((row[0], row[2]) for row in orders.conn.execute(moved))
        assert seen[tenant] == {key: change[key] for key in ("id", "org", "name")}
    assert "new@example.com" not in everything(orders)
