"""The published Python client, unmodified, drives the server program: what its documentation prints, every method, and
what it makes of errors; with the newest httpx and with the one before, which sends other bytes."""

import inspect
import json
import re
import types
import typing

import getimmutable
import getimmutable.types
import helpers_log
import helpers_sdk
import jwt
import pytest
from test_readme import check_shown

VERSIONS = list(helpers_sdk.HTTPX)
SCOPES = ["write", "read", "verify", "mint", "export"]


@pytest.fixture
def sdk(http):
    """sdk(**pieces) runs pieces of Python, in which `client` is a client whose key may do everything."""
    def run(httpx="0.28", key=None, **pieces):
        begin = ("import json, math\nfrom getimmutable import ImmutableClient, ImmutableError, PendingEvent\n"
                 f"client = ImmutableClient(api_key={key or http.key(SCOPES)!r}, base_url={http.url!r})\n"
                 "def show(value): print(json.dumps(value))\n")
        ran = helpers_sdk.python({"begin": begin, **pieces}, httpx)
        assert ran.pop("begin") == {"printed": "", "raised": None}
        return ran
    return run


def shown(piece):
    """What a piece printed with show(), of one value or of several."""
    assert piece["raised"] is None, piece["raised"]
    values = [json.loads(line) for line in piece["printed"].splitlines()]
    return values[0] if len(values) == 1 else values


def prepare(conn):
    """Events enough for two pages, alerts enough for two pages, and an event with an id that is known."""
    conn.execute("SELECT immutable.create_alert_rule('Countries', 'new_country')")
    conn.execute("INSERT INTO immutable.events (actor_id, action) SELECT 'user_2hG9kLm', 'document.viewed' FROM generate_series(1, 30)")
    for country in ("DE", "US"):
        conn.execute("INSERT INTO immutable.events (actor_id, action, ip_country) "
                     "SELECT 'traveller' || n, 'a.b', %s FROM generate_series(1, 30) n", [country])
    conn.execute("CALL immutable.run_maintenance()")
    known, = conn.execute("INSERT INTO immutable.events (actor_id, action) VALUES ('known', 'document.renamed') RETURNING id::text").fetchone()
    return known


# ---------------------------------------------------------------------------------------------------------------------
# What the documentation prints

def test_the_readme(db, http):
    """Its script, as it stands but for the key and the address."""
    code, = re.findall(r"^```python\n(.*?)^```", (helpers_sdk.ROOT / "README.md").read_text(), re.M | re.S)
    code = re.sub(r'api_key="[^"]+", base_url="[^"]+"', f'api_key="{http.key(["write"])}", base_url="{http.url}"', code)
    assert helpers_sdk.python({"readme": code})["readme"]["raised"] is None
    found = db.conn.execute("SELECT actor_name, resource_type, metadata FROM immutable.events WHERE action = 'document.created'").fetchall()
    assert found == [("Sarah Chen", "document", {"folder": "reports"})]


@pytest.mark.parametrize("httpx", VERSIONS)
def test_every_example_of_the_documentation_runs_as_printed(db, http, httpx):
    known = prepare(db.conn)
    pieces = helpers_sdk.examples("python-sdk.py", http.url, http.key(SCOPES))
    assert len(pieces) == 13
    id_of_the_page = "9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d"
    absent = pieces["Retrieving a Single Event"]
    pieces["Retrieving a Single Event"] = absent.replace(id_of_the_page, known)
    # Before the last piece, which makes a client with a key that is none.
    pieces = {"Configuration": pieces.pop("Configuration"), "absent": absent, **pieces}
    for title in ("Querying Events", "Alerts"):
        # The branches of the second pages are reached.
        pieces[title] += "\nprint(next_page['pagination'])"
    ran = helpers_sdk.python(pieces, httpx)
    absent = ran.pop("absent")["raised"]
    assert (absent["status"], absent["body"]["error"]) == (404, "not_found")
    assert {title: each["raised"] for title, each in ran.items() if each["raised"]} == {}
    printed = {title: each["printed"].splitlines() for title, each in ran.items() if each["printed"]}

    assert len(printed["Querying Events"]) == 26
    assert all(re.fullmatch(r"document\.\w+ at \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", line) for line in printed["Querying Events"][:-1])
    event = db.conn.execute("SELECT action, encode(event_hash, 'hex'), encode(previous_event_hash, 'hex') "
                            "FROM immutable.events WHERE id = %s", [known]).fetchone()
    assert printed["Retrieving a Single Event"] == list(event)
    recorded, = db.conn.execute("SELECT count(*) FROM immutable.events").fetchone()
    assert printed["Verification"][0] == "True" and 0 < int(printed["Verification"][1]) <= recorded
    token, expires = printed["Viewer Tokens"]
    assert str(jwt.decode(token, options={"verify_signature": False})["exp"]) == expires
    assert len(printed["Alerts"]) == 26 and all(line.startswith("new_country: ") for line in printed["Alerts"][:-1])
    download, = printed["Exports"]
    assert re.match(rf"Download: {re.escape(http.url)}/api/v1/exports/\S+/download\?\S+", download)
    assert printed["Error Handling"][:2] == ["unauthenticated", "401"]
    assert "'message': 'Invalid or missing API key.'" in printed["Error Handling"][2]

    events = db.conn.execute(
        "SELECT action, resource_type, resource_id, resource_name, metadata, idempotency_key, version, session_id, action_category, "
        "jsonb_array_length(targets) FROM immutable.events WHERE actor_id = 'user_2hG9kLm' AND action <> 'document.viewed' "
        "ORDER BY created_at, seq").fetchall()
    created = "document.created"
    assert events == [
        (created, "document", None, None, {"size": 1024}, None, None, None, None, 0),
        (created, "document", "doc_8nXpQr3", "Q4 Report", {"size": 1024, "mime_type": "application/pdf"}, None, None, None, None, 0),
        (created, "document", None, None, {"folder": "reports", "template": "quarterly"}, "unique_key_123", 1, "sess_4kN8pLm", "documents", 2),
        (created, "document", "doc_8nXpQr3", None, {"size": 1024}, None, None, None, None, 0),
        (created, None, "doc_8nXpQr3", None, {}, None, None, None, None, 0),
        ("document.shared", None, "doc_8nXpQr3", None, {}, None, None, None, None, 1)]


def test_a_download_opens_without_a_key(db, http, sdk):
    db.conn.execute("INSERT INTO immutable.events (actor_id, action, metadata) VALUES ('u', 'a.b', '{\"k\": \"x, y\"}')")
    url = shown(sdk(export="""
import time
export = client.create_export(actor_id="u")["data"]["id"]
while (state := client.get_export(export)["data"])["status"] not in ("completed", "failed"):
    time.sleep(0.05)
show(state)""")["export"])["download_url"]
    answer = http.get(url.removeprefix(http.url), follow_redirects=True)
    assert answer.status_code == 200 and answer.headers["Content-Type"].startswith("text/csv")
    names, row = answer.text.splitlines()
    assert names.startswith("id,actor_id,") and '"{""k"":""x, y""}"' in row


# ---------------------------------------------------------------------------------------------------------------------
# Every method, every parameter

def test_no_method_is_left_out():
    public = {name for name, _ in inspect.getmembers(getimmutable.ImmutableClient, inspect.isfunction) if not name.startswith("_")}
    assert public == {"actor", "track", "track_batch", "get_events", "get_event", "verify", "create_viewer_token", "get_alerts",
                      "create_export", "get_export", "get_anchors", "get_anchor", "verify_anchor"}
    assert {name for name, _ in inspect.getmembers(getimmutable.PendingEvent, inspect.isfunction) if not name.startswith("_")} == {
        "idempotency_key", "version", "session", "action_category", "target", "targets", "track"}


def test_every_filter_finds_its_event_and_no_other(db, http, sdk):
    db.conn.execute(
        "INSERT INTO immutable.events (actor_id, actor_name, action, resource_type, resource_id, tenant_id, session_id, targets, occurred_at) VALUES "
        "('u1', 'Sarah Chen', 'doc.made', 'document', 'd1', 't1', 's1', '[{\"type\": \"folder\", \"id\": \"f1\"}]', '2020-01-01'), "
        "('u2', 'Ωmega', 'doc.gone', 'invoice', 'd2', 't2', 's2', '[{\"type\": \"team\", \"id\": \"f2\"}]', '2020-01-02')")
    before, = db.conn.execute("SELECT to_char(now() AT TIME ZONE 'UTC' - interval '1 day', 'YYYY-MM-DD')").fetchone()
    filters = {"actor_id": ("u1", "u3"), "action": ("doc.m*", "no.*"), "resource": ("document", "x"), "resource_id": ("d1", "x"),
               "tenant_id": ("t1", "x"), "session_id": ("s1", "x"), "target_type": ("folder", "x"), "target_id": ("f1", "x"),
               "search": ("sarah C", "%")}
    found = "def found(**filters): return [e['actor']['id'] for e in client.get_events(**filters)['data'] if not e['action'].startswith('immutable.')]\n"
    each = "".join(f"show([{name!r}, found({name}={one!r}), found({name}={none!r})])\n" for name, (one, none) in filters.items())
    # What the two versions write into the address in different ways.
    encoded = f"""
show(["from", sorted(found(from_date="{before}")), found(from_date="2099-01-01T00:00:00+02:00")])
show(["to", sorted(found(to_date="2099-01-01 00:00:00")), found(to_date="{before}T00:00:00Z")])
show(["empty", sorted(found(actor_id="", action="", search="")), found(limit=1, actor_id="u3")])
show(["Ω", found(search="ωmega"), found(search="a&b=c#d+e f%")])
"""
    both = ["u1", "u2"]
    same = [["from", both, []], ["to", both, []], ["empty", both, []], ["Ω", ["u2"], []]]
    assert shown(sdk("0.28", found=found + each + encoded)["found"]) == [[name, ["u1"], []] for name in filters] + same
    assert shown(sdk("0.27", found=found + encoded)["found"]) == same


def test_a_cursor_goes_on_alone_and_with_a_part_of_its_filters(db, http, sdk):
    db.conn.execute("INSERT INTO immutable.events (actor_id, action) SELECT 'u' || n % 2, 'doc.' || n FROM generate_series(1, 20) n")
    alone, part, other = shown(sdk(pages="""
def walk(**again):
    page, actions = client.get_events(actor_id="u1", action="doc.*", limit=4), []
    while True:
        actions += [event["action"] for event in page["data"]]
        if not page["pagination"]["has_more"]:
            return actions, page["pagination"]
        page = client.get_events(cursor=page["pagination"]["next_cursor"], **again)
show(walk())
show(walk(actor_id="u1"))
try:
    show(walk(actor_id="u0"))
except ImmutableError as e:
    show([e.status_code, str(e)])
""")["pages"])
    assert alone[0] == part[0] == [f"doc.{n}" for n in range(19, 0, -2)]
    assert alone[1] == {"has_more": False, "next_cursor": None, **{k: v for k, v in alone[1].items() if k not in ("has_more", "next_cursor")}}
    assert other == [422, "validation_failed"]


def test_the_builder_and_what_it_sends(db, http, sdk):
    ran = sdk(**{"builder": """
show(client.actor(7, name="", type="").track("a.b", {"id": 0, "name": ""}, {}))
show(client.actor("u").version(0).session("").idempotency_key("").track("a.b", "", {"n": [1, {"x": None}]}))
show(client.actor("u").target("t", "").target("t", "2", "n", {}).targets([{"type": "only", "metadata": {"k": 1}}]).track("a.b"))
show(client.actor("u").targets([]).track("a.b", None, {"targets": [{"type": "team", "id": "5"}], "tenant_id": "org_of_a_user"}))
""", "duplicates": """
show([client.actor("u", name=n).idempotency_key("k").track("a.b") for n in ("first", "second")])
"""})
    ids = []
    for answer in shown(ran["builder"]):
        assert answer["status"] == "queued"
        ids.append(answer["id"])
    first, second = shown(ran["duplicates"])
    assert (first["status"], second["status"], second["id"]) == ("queued", "duplicate", first["id"])
    warning, = second["warnings"]
    assert warning["field"] == "idempotency_key" and "actor_name" in warning["message"]
    rows = [db.conn.execute("SELECT tenant_id, actor_id, actor_name, resource_type, resource_id, metadata, version, session_id, targets "
                            "FROM immutable.events WHERE id = %s", [each]).fetchone() for each in ids]
    assert rows[0] == ("", "7", None, None, None, {}, None, None, [])
    assert rows[1] == ("", "u", None, None, None, {"n": [1, {"x": None}]}, 0, None, [])
    assert [target["type"] for target in rows[2][8]] == ["only"] and rows[2][8][0]["metadata"] == {"k": 1}
    # Targets among the metadata are targets. A tenant there may be a user's input, and is none.
    assert rows[3][0] == "" and [(t["type"], t["id"]) for t in rows[3][8]] == [("team", "5")]
    assert rows[3][5]["tenant_id"] == "org_of_a_user"


def test_a_batch_answers_each_event_in_its_place(db, http, sdk):
    answers, empty, many = shown(sdk(batch="""
show(client.track_batch([{"actor_id": "u", "action": "a.1"}, {"actor_id": "u"}, {"actor_id": 7, "action": "a.3", "unknown": 1}]))
for events in [], [{"actor_id": "u", "action": "a.b"}] * 101:
    try:
        show(client.track_batch(events))
    except ImmutableError as e:
        show([e.status_code, str(e)])
""")["batch"])
    first, second, third = answers["events"]
    assert (first["status"], third["status"]) == ("queued", "queued")
    assert (second["id"], second["status"], second["error"]) == (None, "error", "validation_failed")
    assert second["message"] and list(second["errors"]) == ["action"]
    assert empty == many == [422, "validation_failed"]
    assert db.conn.execute("SELECT array_agg(actor_id || action ORDER BY action) FROM immutable.events "
                           "WHERE action LIKE 'a.%'").fetchone()[0] == ["ua.1", "7a.3"]


def test_verify_says_what_is_broken(db, http, sdk):
    db.conn.execute("INSERT INTO immutable.events (actor_id, action) SELECT 'u', 'a.b' FROM generate_series(1, 5)")
    piece = """
for limits in {}, {"limit": 2}, {"from_date": "2099-01-01"}, {"limit": 0}:
    try:
        show(client.verify(**limits)["data"])
    except ImmutableError as e:
        show(e.status_code)
"""
    whole, two, none, zero = shown(sdk(whole=piece)["whole"])
    assert whole["valid"] and whole["breaks"] == [] and whole["events_checked"] >= 5
    assert (two["events_checked"], none["events_checked"], zero) == (2, 0, 422)
    with helpers_log.behind_triggers(db.conn):
        db.conn.execute("UPDATE immutable.events SET actor_id = 'other' WHERE action = 'a.b' AND seq = "
                        "(SELECT min(seq) FROM immutable.events WHERE action = 'a.b')")
    broken = shown(sdk(whole=piece)["whole"])[0]
    assert not broken["valid"]
    event, = broken["breaks"]
    assert set(event) >= {"event_id", "type", "expected_hash", "actual_hash"} and event["type"] == "hash_mismatch"


def test_tokens_open_what_they_name(db, http, sdk):
    db.conn.execute("INSERT INTO immutable.events (tenant_id, actor_id, action) VALUES ('t1', 'u1', 'a.b'), ('t1', 'u2', 'a.b'), ('', 'u3', 'a.b')")
    answers = shown(sdk(tokens="""
show(client.create_viewer_token())
show(client.create_viewer_token(tenant_id="t1", ttl=60))
show(client.create_viewer_token(tenant_id="t1", actor_id="u2"))
for wrong in {"ttl": 59}, {"ttl": 86401}, {"tenant_id": ""}:
    try:
        show(client.create_viewer_token(**wrong))
    except ImmutableError as e:
        show([e.status_code, list(e.response_data["errors"])])
""")["tokens"])
    assert answers[3:] == [[422, ["ttl"]], [422, ["ttl"]], [422, ["tenant_id"]]]
    opened = [[event["actor"]["id"] for event in http.get("/api/v1/events?action=a.b", prefix + answer["token"]).json()["data"]]
              for answer in answers[:3] for prefix in ("", "vt_")]
    assert [sorted(each) for each in opened] == [["u3"], ["u3"], ["u1", "u2"], ["u1", "u2"], ["u2"], ["u2"]]
    assert all(answer["viewer_token"] in (answer["token"], "vt_" + answer["token"]) for answer in answers[:3])
    # The client works with a token, and may read with it, and nothing else.
    ran = sdk(key=answers[1]["token"], read="show(client.get_events(action='a.b', tenant_id='t1')['pagination']['total'])",
              write="client.track({'actor_id': 'u', 'action': 'a.b'})", alerts="client.get_alerts()",
              export="client.create_export()", mint="client.create_viewer_token()")
    assert shown(ran.pop("read")) == 2
    assert {each["raised"]["status"] for each in ran.values()} == {403}


def test_anchors(db, http, sdk):
    db.conn.execute("INSERT INTO immutable.events (actor_id, action) SELECT 'u', 'a.b' FROM generate_series(1, 5)")
    db.conn.execute("CALL immutable.checkpoint()")
    ran = sdk(anchors="show(client.get_anchors())", limit="show(client.get_anchors(limit=1))",
              one="anchor = client.get_anchors()['data'][0]['id']\nshow(client.get_anchor(anchor))",
              verified="show(client.verify_anchor(anchor))",
              absent="client.get_anchor('anc_0195d3a0-6c1e-7c3a-9f00-000000000001')")
    listed, = shown(ran["anchors"])["data"]
    assert shown(ran["limit"])["data"] == [listed]
    one, verified = shown(ran["one"])["data"], shown(ran["verified"])["data"]
    assert listed.items() <= one.items() and {"first_event_hash", "last_event_hash"} <= set(one)
    assert verified["valid"] and verified["chain_valid"] and verified["anchor_id"] == listed["id"]
    assert verified["expected"] == verified["actual"] == verified["merkle_root"] == listed["merkle_root"]
    assert ran["absent"]["raised"]["status"] == 404


def fits(value, type_, place=""):
    """Whether an answer is what the client's types say. Members that they do not know are welcome, and null is as good as
    nothing where a member may be missing."""
    origin, arguments = typing.get_origin(type_), typing.get_args(type_)
    if type_ is typing.Any:
        return
    if origin in (types.UnionType, typing.Union):
        assert value is None or len(arguments) == 2, place
        if value is not None:
            fits(value, arguments[0], place)
    elif origin is list:
        assert isinstance(value, list), place
        for number, each in enumerate(value):
            fits(each, arguments[0], f"{place}[{number}]")
    elif typing.is_typeddict(type_):
        for name, of_member in typing.get_type_hints(type_).items():
            assert name in value or name not in type_.__required_keys__, f"{place}.{name} is missing"
            if value.get(name) is not None or name in type_.__required_keys__ and name in value:
                fits(value[name], of_member, f"{place}.{name}")
    else:
        assert isinstance(value, origin or type_) and (type_ is bool or not isinstance(value, bool)), f"{place} is {value!r}"


def test_answers_are_what_the_types_of_the_client_say(db, sdk):
    prepare(db.conn)
    answers = shown(sdk(answers="""
import time
event = {"actor_id": "u", "action": "a.b", "targets": [{"type": "t", "id": "1", "metadata": {"k": 1}}], "idempotency_key": "k", "version": 1}
show(["EventResponse", client.track(event)])
show(["EventResponse", client.track(event)])
show(["BatchResponse", client.track_batch([event, {**event, "idempotency_key": None}])])
show(["QueryResult", client.get_events(actor_id="u")])
show(["QueryResult", client.get_events(limit=5)])
show(["VerifyResult", client.verify()])
show(["ViewerTokenResponse", client.create_viewer_token(tenant_id="t")])
show(["AlertResult", client.get_alerts()])
show(["AlertResult", client.get_alerts(rule_type="off_hours")])
made = client.create_export(actor_id="u", from_date="2026-01-01")
show(["ExportResponse", made])
show(["ExportStatus", client.get_export(made["data"]["id"])])
""")["answers"])
    for name, answer in answers:
        fits(answer, getattr(getimmutable.types, name), name)
    alert = next(answer for name, answer in answers if name == "AlertResult")["data"][0]
    # The guides of the service read more of an alert's event than the types have, and its API page has ids beside it.
    assert alert["event"].keys() >= {"actor_name", "ip_country"} and alert["event_id"] == alert["event"]["id"] and alert["rule_id"]


# ---------------------------------------------------------------------------------------------------------------------
# Errors, and bytes that are none of JSON's

def test_errors_as_the_client_shows_them(db, http, sdk):
    db.conn.execute("SELECT immutable.set_action_schema('document.*', tenant_id => NULL)")
    ran = sdk(missing="client.track({'action': 'a.b'})", action="client.track({'actor_id': 'u'})", empty="client.track({})",
              array="client.track([])", text="client.track('x')", booleans="client.track({'actor_id': True, 'action': 'a.b'})",
              long="client.track({'actor_id': 'u' * 2000, 'action': 'a.b'})", nul="client.track({'actor_id': 'u\\0', 'action': 'a.b'})",
              reserved="client.track({'actor_id': 'u', 'action': 'immutable.checkpoint'})", limit="client.get_events(limit=101)",
              time="client.get_events(from_date='yesterday-ish')", event="client.get_event('')", path="client.get_event('a/b?c')",
              up="show(list(client.get_event('../verify')))", cursor="client.get_events(cursor='x')", alerts="client.get_alerts(rule_type='none')",
              export="client.get_export('exp_none')")
    assert shown(ran.pop("up")) == ["data"]
    statuses = {title: each["raised"]["status"] for title, each in ran.items()}
    assert {statuses.pop(title) for title in ("event", "path", "export")} <= {404}
    assert {statuses.pop(title) for title in ("array", "text")} <= {400, 422}
    assert set(statuses.values()) == {422}, statuses
    for title, each in ran.items():
        body = each["raised"]["body"]
        assert each["raised"]["text"] == body["error"] and isinstance(body["message"], str) and body["message"], title
    assert list(ran["missing"]["raised"]["body"]["errors"]) == ["actor_id"]
    assert ran["missing"]["raised"]["body"]["message"] == "The actor_id field is required."


def test_keys_that_do_not_open(db, http, sdk):
    spent = http.key(["write"], quota=1)
    keys = {"invalid": "imk_invalid", "token": "eyJ.x.y", "elsewhere": http.key(["write"], allowed_ips=["192.0.2.0/24"]),
            "reads": http.key(["read"]), "spent": spent}
    ran = sdk(**{name: f"show(ImmutableClient({key!r}, client._base_url).track({{'actor_id': 'u', 'action': 'a.b'}})['status'])"
                 for name, key in keys.items()})
    assert shown(ran.pop("spent")) == "queued"
    assert {name: each["raised"]["status"] for name, each in ran.items()} == {"invalid": 401, "token": 401, "elsewhere": 403, "reads": 403}
    # The quota is counted once in a while, from the log.
    db.conn.execute("CALL immutable.run_maintenance()")
    refused = sdk(key=spent, track="client.track({'actor_id': 'u', 'action': 'a.b'})")["track"]["raised"]
    assert (refused["status"], refused["text"]) == (403, "forbidden")


def test_no_server_is_status_0(http, sdk):
    http.stop(9)
    raised = sdk(track="client.track({'actor_id': 'u', 'action': 'a.b'})")["track"]["raised"]
    assert raised["status"] == 0 and raised["body"] == {} and raised["text"].startswith("HTTP error: ")


def test_a_certificate_of_an_authority_that_only_the_application_trusts(program, tmp_path):
    def openssl(*arguments):
        helpers_sdk.run("openssl", *arguments, cwd=tmp_path)

    openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=our authority",
            "-keyout", "ca.key", "-out", "ca.pem")
    openssl("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=audit", "-keyout", "key.pem", "-out", "csr.pem")
    (tmp_path / "ext").write_text("subjectAltName = DNS:localhost, IP:127.0.0.1\n")
    openssl("x509", "-req", "-in", "csr.pem", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "ext", "-out", "cert.pem")
    https = program(tls_cert=tmp_path / "cert.pem", tls_key=tmp_path / "key.pem")
    url, key, authority = https.url.replace("http:", "https:"), https.key(["write"]), str(tmp_path / "ca.pem")
    piece = {"": f"from getimmutable import ImmutableClient\nprint(ImmutableClient({key!r}, {url!r}).track({{'actor_id': 'u', 'action': 'a.b'}})['status'])"}
    for version in VERSIONS:
        refused = helpers_sdk.python(piece, version)[""]["raised"]
        assert refused["status"] == 0 and "CERTIFICATE_VERIFY_FAILED" in refused["text"]
        assert helpers_sdk.python(piece, version, {"SSL_CERT_FILE": authority})[""]["printed"] == "queued\n"
    program_ = f"""import {{ ImmutableClient }} from {json.dumps((helpers_sdk.CLIENT / "index.js").as_uri())};
        const client = new ImmutableClient({{ apiKey: {json.dumps(key)}, baseUrl: {json.dumps(url)} }});
        console.log(await client.track({{ actor_id: "u", action: "a.b" }}).then((answer) => answer.status, (error) => error.code));"""
    assert helpers_sdk.node(program_).stdout == "network\n"
    assert helpers_sdk.node(program_, environment={"NODE_EXTRA_CA_CERTS": authority}).stdout == "queued\n"


def test_numbers_and_texts_that_json_does_not_have(db, http, sdk):
    """The newest httpx refuses them in the client. The one before sends NaN as a word, and half of a pair as an escape."""
    pieces = {"nan": "client.track({'actor_id': 'u', 'action': 'a.b', 'metadata': {'n': math.nan}})",
              "infinity": "client.track({'actor_id': 'u', 'action': 'a.b', 'metadata': {'n': -math.inf}})",
              "surrogate": "client.track({'actor_id': 'u\\ud800', 'action': 'a.b'})",
              "in_a_batch": "show(client.track_batch([{'actor_id': 'u', 'action': 'a.b', 'metadata': {'n': math.nan}}])['events'])",
              "batch": "show(client.track_batch([{'actor_id': 'u1', 'action': 'a.1'}, {'actor_id': 'u\\ud800', 'action': 'a.2'}])['events'])",
              "pair": "show(client.track({'actor_id': '\\U0001f600 é', 'action': 'a.b'}))"}
    before, newest = sdk("0.27", **pieces), sdk("0.28", **pieces)
    assert [before[title]["raised"]["status"] for title in ("nan", "infinity", "surrogate")] == [400, 400, 422]
    # A batch answers the event in its place.
    answers = [shown(before["in_a_batch"])[0], *shown(before["batch"])]
    assert [answer["status"] for answer in answers] == ["error", "queued", "error"]
    for title in ("nan", "infinity", "surrogate", "in_a_batch", "batch"):
        assert newest[title]["raised"]["text"].startswith(("ValueError", "UnicodeEncodeError", "InvalidJSONError")), newest[title]
    for ran in (before, newest):
        actor, = db.conn.execute("SELECT actor_id FROM immutable.events WHERE id = %s", [shown(ran["pair"])["id"]]).fetchone()
        assert actor == "\U0001f600 é"
    assert db.conn.execute("SELECT count(*) FROM immutable.events WHERE action LIKE 'a.%'").fetchone() == (3,)


# ---------------------------------------------------------------------------------------------------------------------
# The guide

def test_the_python_of_the_guide(db, http):
    db.conn.execute("INSERT INTO immutable.events (actor_id, action) VALUES ('user_other', 'document.created')")
    found = helpers_sdk.blocks("python")
    ran = helpers_sdk.python({str(n): block.text for n, block in enumerate(found)}, environment=helpers_sdk.settings(http, http.key(SCOPES)))
    for block, piece in zip(found, ran.values(), strict=True):
        assert piece["raised"] is None, piece["raised"]
        block.printed = piece["printed"]
    check_shown(found)
    assert sum(block.shown is not None for block in found) >= 5
    assert db.conn.execute("SELECT count(*) FROM immutable.events WHERE tenant_id = 'org_7rT2xBc'").fetchone() == (1,)


def test_the_scopes_of_the_guide(db, http):
    """Each method works with a key that has the scope of its row alone, and not with one that has all the others."""
    calls = {"track": "{'actor_id': 'u', 'action': 'a.b'}", "track_batch": "[{'actor_id': 'u', 'action': 'a.b'}]", "get_event": "event",
             "get_anchor": "anchor", "verify_anchor": "anchor", "get_export": "export"}
    db.conn.execute("SELECT immutable.track('u', 'a.b')")
    db.conn.execute("CALL immutable.checkpoint()")
    names = helpers_sdk.python({"": f"""
from getimmutable import ImmutableClient
client = ImmutableClient({http.key(SCOPES)!r}, {http.url!r})
print(client.track({{'actor_id': 'u', 'action': 'a.b'}})['id'], client.get_anchors()['data'][0]['id'], client.create_export()['data']['id'])"""})
    event, anchor, export = names[""]["printed"].split()
    rows = re.findall(r"^\| (`track`.*|`get_.*|`verify.*|`create_.*) \| .* \| `(\w+)` \|$", helpers_sdk.GUIDE.read_text(), re.M)
    methods = {method: scope for cell, scope in rows for method in re.findall(r"`(\w+)`", cell)}
    assert len(methods) == 12 and set(methods.values()) == set(SCOPES)
    keys = {tuple(scopes): http.key(scopes) for one in SCOPES for scopes in ([one], [other for other in SCOPES if other != one])}
    pieces = {"begin": f"from getimmutable import ImmutableClient\nevent, anchor, export = {event!r}, {anchor!r}, {export!r}"}
    for method, scope in methods.items():
        for name, scopes in (("with", [scope]), ("without", [other for other in SCOPES if other != scope])):
            pieces[f"{name} {method}"] = f"ImmutableClient({keys[tuple(scopes)]!r}, {http.url!r}).{method}({calls.get(method, '')})"
    ran = helpers_sdk.python(pieces)
    for method in methods:
        assert ran[f"with {method}"]["raised"] is None, method
        assert ran[f"without {method}"]["raised"]["status"] == 403, method
