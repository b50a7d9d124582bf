"""GET /api/v1/retention: who sees what, and in which form."""

import helpers_keys as keys


def test_what_a_key_and_a_token_see(db, http):
    conn = db.conn
    conn.execute("SET immutable.retention_wait = 0; SET IntervalStyle = postgres_verbose")
    conn.execute("SELECT immutable.set_retention('1 year 2 mons 90 days 12:00:00.5'), immutable.set_retention('20 years', 'bank'), "
                 "immutable.set_retention('10 days', 'shop'), immutable.set_retention(NULL, 'kept')")
    conn.execute("RESET immutable.retention_wait")
    conn.execute("SELECT immutable.set_retention('10 years', 'bank', require_archive => true), immutable.hold('bank', 'secret case')")

    def ask(bearer, **parameters):
        answer = http.get("/api/v1/retention", bearer, params=parameters)
        assert "secret" not in answer.text
        return answer.status_code, answer.json().get("data")

    def token(**options):
        return http.post("/api/v1/viewer-token", http.key(keys.SCOPES), options).json()["token"]

    everything = http.key(["read"])
    status, default = ask(everything)
    assert status == 200 and default == {
        "tenant_id": None, "keep": "P1Y2M90DT43200.5S", "require_archive": False, "is_default": True, "next_keep": None,
        "next_require_archive": None, "next_from": None, "held_since": None, "pruned_before": None, "pruned_at": None}
    _, bank = ask(everything, tenant_id="bank")
    assert (bank["keep"], bank["require_archive"], bank["next_keep"], bank["is_default"]) == ("P20Y", True, "P10Y", False)
    assert bank["held_since"].endswith("Z") and bank["next_from"].endswith("Z")
    assert ask(token(tenant_id="bank")) == (200, bank) == ask(http.key(["read"], "bank"))
    assert ask(everything, tenant_id="kept")[1]["keep"] is None
    # what a token does not name it does not see
    assert ask(token(tenant_id="bank"), tenant_id="shop")[0] == ask(http.key(["read"], "bank"), tenant_id="shop")[0] == 403
    of_actor = ask(token(actor_id="u1"))[1]
    assert (of_actor["tenant_id"], of_actor["keep"]) == ("", None)
    assert ask(http.key(["write"]))[0] == 403 and ask(everything, tenant="x")[0] == 422


def test_what_was_removed(db, http):
    conn = db.conn
    conn.execute("SET immutable.retention_wait = 0; SET client_min_messages = error")
    conn.execute("SELECT immutable.set_retention('1 microsecond', 'shop')")
    conn.execute("SELECT immutable.track('u', 'a.b', tenant_id => 'shop') FROM generate_series(1, 3)")
    conn.execute("CALL immutable.checkpoint()")
    conn.execute("CALL immutable.seal(now())")
    conn.execute("SELECT immutable.prune(false)")
    data = http.get("/api/v1/retention", http.key(["read"], "shop")).json()["data"]
    form = "to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
    assert (data["keep"], data["pruned_before"], data["pruned_at"]) == ("PT0.000001S", *conn.execute(
        f"SELECT {form.format('pruned_before')}, {form.format('pruned_at')} FROM immutable.get_retention('shop')").fetchone())
    assert conn.execute("SELECT pruned_at = (SELECT created_at FROM immutable.events WHERE action = 'immutable.pruned') "
                        "FROM immutable.get_retention('shop')").fetchone()[0]
    # the record is among the rows
    rows = http.get("/api/v1/events", http.key(["read"], "shop")).json()["data"]
    assert [row["action"] for row in rows] == ["immutable.pruned", "a.b"] and rows[0]["metadata"]["events"] == 2
