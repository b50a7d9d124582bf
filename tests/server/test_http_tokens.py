"""Viewer tokens: how one is made, what it opens, and what it never does."""

import base64
import hashlib
import hmac
import json
import time

import helpers_keys as keys

MINT = "/api/v1/viewer-token"


def b64(data):
    return base64.urlsafe_b64encode(data if isinstance(data, bytes) else json.dumps(data).encode()).decode().rstrip("=")


def claims(token):
    return json.loads(base64.urlsafe_b64decode(token.split(".")[1] + "=="))


def signed(secret, payload, algorithm="HS256"):
    """A token as somebody writes it who has the secret, or has none."""
    text = f"{b64({'alg': algorithm, 'typ': 'JWT'})}.{b64(payload)}"
    mac = hmac.new(secret, text.encode(), hashlib.sha256).digest() if secret is not None else b""
    return f"{text}.{b64(mac)}"


def tenants_of(http, token, **query):
    answer = http.get("/api/v1/events", token, params={"limit": 100, **query})
    assert answer.status_code == 200, answer.text
    return {(event["tenant_id"], event["actor_id"]) for event in answer.json()["data"]}


def test_both_spellings_and_both_paths_make_the_same_token(db, http):
    keys.Tenants(db)
    mint = http.key(["mint"])
    for path in (MINT, MINT + "s"):
        for body in ({"tenant_id": "mine", "actor_id": "u1", "ttl": 600}, {"tenantId": "mine", "actorId": "u1", "ttl": "600"}):
            before = int(time.time())
            answer = http.post(path, mint, body)
            assert answer.status_code == 200, answer.text
            made = answer.json()
            assert made["token"] == made["viewer_token"] and isinstance(made["expires_at"], int)
            assert before + 600 <= made["expires_at"] <= int(time.time()) + 600
            assert claims(made["token"])["exp"] == made["expires_at"]
            assert json.loads(base64.urlsafe_b64decode(made["token"].split(".")[0] + "=="))["alg"] == "HS256"
            for shown in (made["token"], "vt_" + made["token"]):
                assert tenants_of(http, shown) == {("mine", "u1")}
    assert http.post(MINT, mint, {"tenant_id": 7}).json()["token"]


def test_without_a_tenant_it_shows_the_events_without_one(db, http):
    keys.Tenants(db)
    for key, tenant in ((http.key(["mint"]), None), (http.key(["mint"], "mine"), "mine")):
        for body in (None, {}, [], {"tenant_id": None, "actor_id": None, "ttl": None}):
            token = http.post(MINT, key, body).json()["token"]
            assert {seen for seen, _ in tenants_of(http, token)} == {tenant}, body


def test_an_actor_alone_is_never_dropped(db, http):
    keys.Tenants(db)
    token = http.post(MINT, http.key(["mint"]), {"actor_id": "u2"}).json()["token"]
    assert tenants_of(http, token) == {(None, "u2")}


def test_what_is_doubtful_makes_no_token(db, http):
    mint = http.key(["mint"])
    for body in [{"tenant_id": ""}, {"tenantId": ""}, {"actor_id": ""}, {"tenant": "mine"}, {"Tenant_id": "mine"}, {"tenant_id": "a", "scope": "admin"},
                 {"tenant_id": "a", "tenantId": "a"}, {"tenant_id": "a", "tenantId": "b"}, {"tenant_id": ["a"]}, {"tenant_id": {}}, {"tenant_id": True},
                 {"tenant_id": "a\0"}, {"tenant_id": "a" * 256}, {"actor_id": "a" * 2000}, {"ttl": 59}, {"ttl": 86401}, {"ttl": -1}, {"ttl": 0}, {"ttl": 60.5},
                 {"ttl": "soon"}, {"ttl": []}, {"ttl": True}, {"ttl": 10**30}, ["tenant_id"], "x", 7, None]:
        answer = http.post(MINT, mint, content=json.dumps(body), headers={"Content-Type": "application/json"})
        assert answer.status_code == 422, (body, answer.text)
        assert answer.json()["error"] == "validation_failed"
    for content in ["{", "tenant_id=a", '{"tenant_id": NaN}', "{'tenant_id': 'a'}"]:
        assert http.post(MINT, mint, content=content).status_code == 400, content
    twice = http.post(MINT, mint, content='{"tenant_id": "a", "tenant_id": "b"}')
    assert twice.status_code == 422 and list(twice.json()["errors"]) == ["tenant_id"]


def test_only_mint_makes_them_and_only_for_its_own_tenant(db, http):
    for scope in keys.SCOPES:
        expected = 200 if scope == "mint" else 403
        assert http.post(MINT, http.key([scope]), {"tenant_id": "mine"}).status_code == expected, scope
    bound = http.key(["mint"], "mine")
    assert http.post(MINT, bound, {"tenant_id": "mine"}).status_code == 200
    answer = http.post(MINT, bound, {"tenant_id": "rival"})
    assert answer.status_code == 403 and answer.json()["error"] == "forbidden"
    token = http.post(MINT, bound).json()["token"]
    assert http.post(MINT, token, {"tenant_id": "mine"}).status_code == 403
    assert http.post(MINT).status_code == 401


def test_what_is_no_valid_token_opens_nothing(db, http):
    tenants = keys.Tenants(db)
    good = http.post(MINT, http.key(["mint"]), {"tenant_id": "mine", "actor_id": "u1"}).json()["token"]
    said = claims(good)
    header, payload, mac = good.split(".")
    secret, = db.conn.execute("SELECT secret FROM immutable.viewer_keys WHERE accept_until IS NULL").fetchone()
    # A token that this test signs itself is one: so what follows fails for the reason that is meant.
    assert tenants_of(http, signed(secret, said)) == {("mine", "u1")}
    late = {**said, "iat": said["iat"] - 7200, "exp": said["iat"] - 3600}
    forgeries = {
        "expired": signed(secret, late), "without a signature": f"{header}.{payload}.", "alg none": signed(None, said, "none"),
        "alg none with a signature": signed(secret, said, "none"), "another alg": signed(secret, said, "HS512"), "alg None": signed(None, said, "None"),
        "another secret": signed(b"x" * 32, said), "an empty secret": signed(b"", said),
        "another tenant": f"{header}.{b64({**said, 'tenant_id': 'rival'})}.{mac}", "without its actor": f"{header}.{b64({k: v for k, v in said.items() if k != 'actor_id'})}.{mac}",
        "no exp": signed(secret, {k: v for k, v in said.items() if k != "exp"}), "another role": signed(secret, {**said, "role": "immutable_auditor"}),
        "cut": good[:-3], "two dots": "..", "rubbish": "a.b.c", "vt_ twice": "vt_vt_" + good, "imk_": "imk_" + "A" * 43, "short": "imk_x", "digest": "0" * 64,
        "a space": good + " x",
    }
    for why, token in forgeries.items():
        for path in ("/api/v1/events", f"/api/v1/events/{tenants.ids['mine']}", "/api/v1/alerts"):
            answer = http.get(path, token)
            assert answer.status_code == 401, (why, path, answer.text)
            assert answer.json()["error"] == "unauthenticated", why
    db.conn.execute("SELECT immutable.revoke_viewer_token(%s)", (good,))
    assert http.get("/api/v1/events", good).status_code == 401
    # The digest of a key is what the program shows to the log. It is no key.
    key = keys.create(db.conn, ["read"])
    assert http.get("/api/v1/events", key["proof"]).status_code == 401


def test_a_token_sees_its_tenant_whatever_the_query_says(db, http):
    tenants = keys.Tenants(db)
    token = http.post(MINT, http.key(["mint"]), {"tenant_id": "mine", "actor_id": "u1"}).json()["token"]
    mine = {("mine", "u1")}
    assert tenants_of(http, token) == tenants_of(http, token, tenant_id="mine") == tenants_of(http, token, action="a.*", search="") == mine
    for query in ({"tenant_id": "rival"}, {"actor_id": "u2"}, {"resource_id": "rival7"}, {"search": "rival"}, {"target_type": "t", "target_id": "rival7"},
                  {"tenant_id": "' OR true --"}, {"actor_id": "u1' OR '1'='1"}, {"action": "%"}, {"search": "%"}):
        assert tenants_of(http, token, **query) == set(), query
    assert http.get("/api/v1/events", token).json()["pagination"]["total"] == 4
    u1, u2 = (db.conn.execute("SELECT id::text FROM immutable.events WHERE tenant_id = 'mine' AND actor_id = %s LIMIT 1", (actor,)).fetchone()[0] for actor in ("u1", "u2"))
    assert http.get(f"/api/v1/events/{u1}", token).status_code == 200
    for other in (u2, tenants.ids["rival"], tenants.ids[""]):
        for query in ("", "?tenant_id=rival", "?tenant_id=mine"):
            answer = http.get(f"/api/v1/events/{other}{query}", token)
            assert answer.status_code in (403, 404), (other, query)


def test_key_and_token_in_one_request_count_as_neither(db, http):
    key, token = http.key(), http.post(MINT, http.key(["mint"]), {"tenant_id": "mine"}).json()["token"]
    for headers in ([("Authorization", f"Bearer {key}"), ("Authorization", f"Bearer {token}")], [("Authorization", key)], [("Authorization", f"Basic {key}")],
                    [("Authorization", "Bearer")], [("X-Api-Key", key)]):
        answer = http.request("GET", "/api/v1/events", headers=dict(headers) if len(headers) == 1 else {"Authorization": f"{headers[0][1]}, {headers[1][1]}"})
        assert answer.status_code == 401
    assert http.get(f"/api/v1/events?token={token}").status_code == 401
