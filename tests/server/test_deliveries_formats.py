"""Each format is read by software of others, or by a parser that is written here from the specification. The bytes
are those that the program sends."""

import functools
import hashlib
import json
import re

import helpers_destinations as receivers
import jsonschema
import ocsf_json_schema
import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from py_ocsf_models.events.findings.detection_finding import DetectionFinding
from py_ocsf_models.objects.fingerprint import FingerPrint
from py_ocsf_models.objects.metadata import Metadata
from py_ocsf_models.objects.resource_details import ResourceDetails

HOSTILE = "a|b=c\\d\te\nf\rg\"h]i\x1b[2J\x7f\x85\u2028\u202e'<&>ü🦀 k=v act=forged \\n"
ALL = ("json", "ocsf", "cloudevents", "cef", "leef")


def hostile(number=2):
    """An event whose every text tries to be something else."""
    deep = functools.reduce(lambda inner, _: {HOSTILE: [inner]}, range(60), HOSTILE)
    return receivers.event(
        number, tenant_id=HOSTILE, action=HOSTILE, action_category=HOSTILE, session_id=HOSTILE, user_agent=HOSTILE,
        ip_address="2001:db8::7", ip_country=HOSTILE, ip_city=HOSTILE, actor={"id": HOSTILE, "name": HOSTILE, "type": HOSTILE},
        resource={"type": HOSTILE, "id": None, "name": None},
        targets=[{"type": HOSTILE}, {"type": HOSTILE, "id": HOSTILE, "metadata": {HOSTILE: None}}],
        metadata={HOSTILE: deep, "long": "ü" * 32_000, "null": None, "number": 12345678901234567890.5})


def bare():
    """An event from which everything was erased that can be."""
    return receivers.event(3, tenant_id=None, actor=dict.fromkeys(("id", "name", "type")), targets=[], metadata={},
                           resource=dict.fromkeys(("type", "id", "name")), session_id=None, ip_address=None,
                           ip_country=None, user_agent=None)


def pictured(text):
    """The text as formats of one line carry it."""
    text = re.sub("[\x00-\x1f]", lambda found: chr(0x2400 + ord(found[0])), text).replace("\x7f", "\u2421")
    return re.sub("[\x80-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]", "\ufffd", text)


@functools.cache
def schema(class_uid):
    packaged = ocsf_json_schema.OcsfJsonSchemaEmbedded(ocsf_json_schema.get_ocsf_schema(version="1.6.0"))
    return jsonschema.Draft202012Validator(
        packaged.get_class_schema(packaged.lookup_class_name_from_uid(class_uid=class_uid)))


@pytest.mark.parametrize("item", [receivers.event(), hostile(), bare(), receivers.ALERT], ids=["plain", "hostile", "bare", "alert"])
def test_ocsf_keeps_to_its_schema(item):
    told, = map(json.loads, receivers.printed([item], "ocsf"))
    assert [error.message for error in schema(told["class_uid"]).iter_errors(told)] == []
    assert told["class_uid"] == (2004 if "rule_id" in item else 6003)
    assert told["type_uid"] == told["class_uid"] * 100 + told["activity_id"]


def test_the_schema_refuses_what_is_wrong():
    told, = map(json.loads, receivers.printed([receivers.event()], "ocsf"))
    for wrong in ({**told, "actor": None}, {**told, "surprise": 1}, {**told, "src_endpoint": {}}):
        assert list(schema(6003).iter_errors(wrong))


def test_ocsf_is_read_by_the_models_of_others():
    told, alert = map(json.loads, receivers.printed([receivers.event(), receivers.ALERT], "ocsf"))
    assert Metadata(**told["metadata"]).tenant_uid == "org_1"
    assert [ResourceDetails(**resource).uid for resource in told["resources"]] == ["doc_1", "team_5"]
    finding = DetectionFinding(**alert)
    assert (finding.finding_info.title, finding.severity) == ("Suspicious | login", "Medium")


def test_ocsf_of_a_real_event_holds_the_document_that_is_hashed(db):
    db.conn.execute("SELECT immutable.track(%s)", [json.dumps(
        {"actor_id": "u1", "action": "document.created", "metadata": {"exact": 1}, "tenant_id": "t1"}).replace("1}", "1.10}")])
    shown, document, recorded_by = db.conn.execute(
        "SELECT immutable.get_event(e.id) -> 'data', immutable.canonical(e), e.recorded_by FROM immutable.events e").fetchone()
    done = receivers.run([{"event": shown, "document": document}], "--print", "--format", "ocsf")
    told = json.loads(done.stdout)
    assert hashlib.sha256(told["raw_data"].encode()).hexdigest() == told["raw_data_hash"]["value"]
    assert FingerPrint(**told["raw_data_hash"]).value == shown["integrity"]["event_hash"]
    assert told["src_endpoint"] == {"svc_name": recorded_by}
    assert list(schema(6003).iter_errors(told)) == []


def test_cloudevents_are_read_by_their_library():
    items = [receivers.event(), hostile(), bare(), receivers.ALERT]
    for item, text in zip(items, receivers.printed(items, "cloudevents")):
        read = from_http_event(HTTPMessage({"content-type": "application/cloudevents+json"}, text.encode()))
        assert (read.get_id(), read.get_specversion()) == (item["id"], "1.0")
        assert read.get_data() == item
        named = json.loads(text)
        for name, value in named.items():
            assert re.fullmatch("[a-z0-9]{1,20}", name)
            assert name == "data" or not re.search("[\x00-\x1f\x7f-\x9f]", value)
        assert re.fullmatch(r"/immutable(/([\w.~-]|%[0-9A-F]{2})+)+", named["source"], re.A)


def test_cloudevents_take_the_prefix_of_the_stream():
    destination = {"type": "file", "format_options": {"type_prefix": "com.example.audit"}}
    told, = map(json.loads, receivers.printed([receivers.event()], "cloudevents", destination))
    assert (told["type"], told["sequence"]) == ("com.example.audit.document.created", "0" * 19 + "1")


def parse_cef(line):
    """ArcSight's specification: seven fields of header, then names and values. In a value \\, = and line ends are escaped."""
    *header, extension = mask(line).split("|", 7)
    found = re.finditer(r"(?:^| )(\w+)=(.*?)(?= \w+=|$)", extension, re.S)
    return [unmask(field) for field in header], {name: unmask(value) for name, value in (match.groups() for match in found)}


ESCAPES = {"\\\\": "\ue000", "\\|": "\ue001", "\\=": "\ue002", "\\n": "\ue003", "\\r": "\ue004"}
MEANT = {"\ue000": "\\", "\ue001": "|", "\ue002": "=", "\ue003": "\n", "\ue004": "\r"}


def mask(line):
    return re.sub(r"\\.", lambda escape: ESCAPES[escape[0]], line)


def unmask(text):
    return "".join(MEANT.get(char, char) for char in text)


def test_cef_gives_each_value_back():
    plain, strange, alert = map(parse_cef, receivers.printed([receivers.event(), hostile(), receivers.ALERT], "cef"))
    assert plain[0][:3] == ["CEF:0", "immutable", "immutable"] and plain[0][4:] == ["document.created", "document.created", "3"]
    assert (plain[1]["suid"], plain[1]["src"], plain[1]["cs1Label"], plain[1]["cs1"]) == ("user_1", "203.0.113.7", "tenantId", "org_1")
    header, members = strange
    assert header[4] == pictured(HOSTILE)
    in_values = pictured(HOSTILE.replace("\n", "\ue003").replace("\r", "\ue004")).replace("\ue003", "\n").replace("\ue004", "\r")
    assert {members[name] for name in ("act", "suid", "suser", "cs1", "cs2", "cs5", "requestClientApplication")} == {in_values}
    assert json.loads(members["ImmutableMetadata"])["long"] == "ü" * 32_000
    assert alert[0][5] == "Suspicious | login" and alert[1]["msg"] == receivers.ALERT["reason"]


@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_leef_gives_each_value_back(version):
    destination = {"type": "file", "format_options": {"leef_version": version}}
    for item, line in zip(items := [receivers.event(), hostile()], receivers.printed(items, "leef", destination)):
        *header, fields = line.split("|", 5 if version == "1.0" else 6)
        assert header[:3] == [f"LEEF:{version}", "immutable", "immutable"] and header[5:] == ([] if version == "1.0" else ["x09"])
        assert header[4] == pictured(item["action"]).replace("|", "¦")
        read = dict(field.split("=", 1) for field in fields.split("\t"))
        assert read["action"] == pictured(item["action"]) and read["usrName"] == pictured(item["actor"]["name"])
        assert re.fullmatch(r"[A-Z][a-z]{2} \d\d \d{4} \d\d:\d\d:\d\d\.\d{3} UTC", read["devTime"])


def test_the_services_json_has_its_members():
    told, alert = map(json.loads, receivers.printed([receivers.event(), receivers.ALERT], "json"))
    assert {"event_type", "data", "workspace_id", "timestamp"} <= set(told) and told["event_type"] == "event.created"
    assert (told["data"]["actor_id"], told["data"]["resource_id"], told["data"]["actor"]["id"]) == ("user_1", "doc_1", "user_1")
    assert {"alert_id", "rule_name", "rule_type", "reason", "event", "workspace_id", "triggered_at"} <= set(alert)
    assert alert["event_type"] == "alert.triggered" and alert["event"] == receivers.ALERT["event"]


@pytest.mark.parametrize("form", ALL)
def test_every_item_is_one_line_of_text(form):
    """The formats of text are one line also for a reader that ends lines at more characters than the line feed."""
    for line in receivers.printed([hostile(), bare(), receivers.ALERT], form):
        assert not re.search("[\x00-\x08\x0a-\x1f]", line)
        if form in ("cef", "leef"):
            assert not re.search("[\x7f-\x9f]", line)
            assert len(line.splitlines()) == 1


@pytest.mark.parametrize("form", ("json", "cloudevents", "ocsf"))
def test_numbers_keep_their_digits(form):
    event = json.dumps(receivers.event()).replace('{"folder": "reports"}', '{"n": 1.10, "m": 123456789012345678901234567890.25}')
    done = receivers.subprocess.run([receivers.helpers_http.PROGRAM, "try-delivery", "--print", "--format", form],
                                    input=event.encode(), capture_output=True, check=True)
    assert b'"n":1.10' in done.stdout and b"123456789012345678901234567890.25" in done.stdout


@pytest.mark.parametrize("line", ["{", "[]", "3", '{"a": 1}', '{"id": 7}', "\ufeff{}"])
def test_what_is_no_event_is_refused_with_its_line(line):
    done = receivers.subprocess.run([receivers.helpers_http.PROGRAM, "try-delivery", "--print"],
                                    input=line.encode(), capture_output=True)
    assert done.returncode == 2 and b"line 1 of standard input" in done.stderr and not done.stdout


GUIDE = (receivers.helpers_http.ROOT / "docs/delivery-formats.md").read_text()


def shown(form):
    """The example of a format in the guide."""
    return re.search(rf"^### {form}$.*?^```\w+\n(.*?)\n```$", GUIDE, re.M | re.S)[1]


@pytest.mark.parametrize("form", ALL)
def test_the_guide_shows_what_the_program_sends(form):
    event = json.loads(re.search(r"^```json\n(.*?)\n```$", GUIDE, re.M | re.S)[1])
    sent, = receivers.printed([event], form)
    if form in ("cef", "leef"):
        assert sent == shown(form)
    else:
        assert json.loads(sent) == json.loads(shown(form))
