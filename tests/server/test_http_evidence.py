"""GET /events?evidence=true: the page with what its reader needs to verify it."""

import pytest

import helpers_log as h
from helpers_tree_model import Model


@pytest.fixture
def tokens(db, http):
    h.build_log(db)
    log = Model(db.conn).append().store()
    log.sign()
    log.cosign()
    made = {"tenant": ("acme", None), "actor": ("acme", "user-a1"), "rival": ("globex", None)}
    return {name: db.conn.execute("SELECT immutable.create_viewer_token(%s, %s) ->> 'token'", given).fetchone()[0] for name, given in made.items()}


def get(http, key, **query):
    return http.get("/api/v1/events", key, params=query)


def test_it_is_that_of_the_page(db, http, tokens):
    for name, tenant in (("tenant", "acme"), ("actor", "acme"), ("rival", "globex")):
        plain, page = get(http, tokens[name]).json(), get(http, tokens[name], evidence="true").json()
        evidence = page.pop("evidence")
        assert page == plain and "evidence" not in plain
        ids = [event["id"] for event in page["data"]]
        assert ids and set(evidence["events"]) == set(ids)
        expected, = db.conn.execute("SELECT immutable.page_evidence(%s::uuid[], %s)", (ids, tenant)).fetchone()
        assert evidence == expected and evidence["checkpoint"]
    key = http.key(["read"])
    first = get(http, key, limit=5, evidence="true").json()
    assert set(first["evidence"]["events"]) == {event["id"] for event in first["data"]}
    # It is no filter: another page is asked for it anew.
    second = get(http, key, cursor=first["pagination"]["next_cursor"]).json()
    assert "evidence" not in second and len(second["data"]) == 5
    assert len(get(http, key, cursor=first["pagination"]["next_cursor"], evidence="true").json()["evidence"]["events"]) == 5


def test_numbers_keep_their_texts(db, http, tokens):
    db.conn.execute("SELECT immutable.track('{\"actor_id\": \"u\", \"action\": \"a.b\", \"tenant_id\": \"acme\", \"metadata\": {\"n\": 1.10}}'::jsonb)")
    assert '\\"metadata.n\\",1.10]' in get(http, tokens["tenant"], limit=1, evidence="true").text


def test_refusals(http, tokens):
    for value in ("1", "TRUE", "yes", "x"):
        answer = get(http, tokens["tenant"], evidence=value)
        assert answer.status_code == 422 and list(answer.json()["errors"]) == ["evidence"]
    for value in ("false", ""):
        assert "evidence" not in get(http, tokens["tenant"], evidence=value).json()
    assert get(http, http.key(["verify"]), evidence="true").status_code == 403
    assert get(http, None, evidence="true").status_code == 401
    assert get(http, tokens["tenant"], evidence="true", tenant_id="globex").json()["data"] == []
    assert http.post("/api/v1/events/evidence", tokens["tenant"], json={}).status_code in (403, 404, 405)


def test_without_proofs_for_viewers(db, http, tokens):
    db.conn.execute(f"ALTER DATABASE {db.name} SET immutable.viewer_proofs = off")
    http.stop()
    http.start()
    evidence = get(http, tokens["tenant"], evidence="true").json()["evidence"]
    assert evidence["checkpoint"] is None and evidence["events"]
    assert all(given["index"] is None and given["line"] for given in evidence["events"].values())
    assert get(http, http.key(["read", "verify"]), evidence="true").json()["evidence"]["checkpoint"]
