"""Each destination against small receivers: what they are sent, and what becomes of their answers."""

import base64
import gzip
import hashlib
import hmac
import json
import pathlib
import re
import resource
import signal
import socket
import subprocess
import threading
import time

import helpers_destinations as receivers
import pytest
import standardwebhooks
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

EVENTS = [receivers.event(number) for number in range(1, 6)]
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


@pytest.fixture
def send(tmp_path):
    sender = receivers.Sender(tmp_path)
    sender.secret("hook", SECRET)
    return sender


@pytest.fixture
def receiver():
    """receiver(answer, context=…) for HTTP; receiver(serve, tcp=True) for connections."""
    made = []

    def make(*arguments, tcp=False, **options):
        made.append((receivers.Tcp if tcp else receivers.Http)(*arguments, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


def hook(url, **members):
    return {"type": "webhook", "url": url, "secret": "hook", **members}


def test_a_webhook_is_verified_by_the_library_of_others(send, receiver):
    at = receiver()
    assert send(EVENTS[:2], hook(at.url + "/in")) == [{"outcome": "delivered", "delivered": 2}]
    first, second = at.requests
    for request, event in zip(at.requests, EVENTS):
        told = standardwebhooks.Webhook(SECRET).verify(request.body, dict(request.headers))
        assert (told["type"], told["data"]["id"]) == ("event.created", event["id"])
        assert request.headers["webhook-id"] == event["id"] and request.headers["content-type"] == "application/json"
        own = "sha256=" + hmac.new(SECRET.encode(), request.body, hashlib.sha256).hexdigest()
        assert request.headers["x-immutable-signature"] == own
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(SECRET).verify(first.body + b" ", dict(first.headers))
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(SECRET).verify(first.body, dict(second.headers))


def test_while_keys_are_exchanged_both_sign(send, receiver):
    key = Ed25519PrivateKey.generate()
    old = "whsec_" + base64.b64encode(b"o" * 24).decode()
    send.secret("hook", "whsk_" + base64.b64encode(key.private_bytes_raw()).decode() + "\n" + old)
    at = receiver()
    send(EVENTS[:1], hook(at.url))
    headers, body = at.requests[0].headers, at.requests[0].body
    standardwebhooks.Webhook(old).verify(body, dict(headers))
    v1a = headers["webhook-signature"].split()[0].removeprefix("v1a,")
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    key.public_key().verify(base64.b64decode(v1a), signed)


def test_the_guide_verifies_what_is_sent(send, receiver):
    guide = (receivers.helpers_http.ROOT / "docs/delivery-formats.md").read_text()
    python, js = (re.search(rf"^```{language}\n(.*?)^```$", guide, re.M | re.S)[1] for language in ("python", "js"))
    at = receiver()
    send([receivers.event(actor={"id": "ü🦀", "name": None, "type": None})], hook(at.url))
    body, headers = at.requests[0].body, {name.lower(): value for name, value in at.requests[0].headers.items()}
    exec(python, names := {})
    for key, text, genuine in ((SECRET, body, True), (SECRET, body + b" ", False), (SECRET[:-2] + "A=", body, False)):
        assert names["is_genuine"](key, headers, text) == names["is_genuine_to_the_service"](key, headers, text) == genuine
        call = f"{js}\nconsole.log(isGenuine({json.dumps(key)}, {json.dumps(headers)}, {json.dumps(text.decode())}))"
        assert subprocess.run(["node", "-"], input=call, capture_output=True, text=True, check=True).stdout == f"{genuine}\n".lower()
    late = {**headers, "webhook-timestamp": str(int(headers["webhook-timestamp"]) - 600)}
    assert not names["is_genuine"](SECRET, late, body)


def test_cloudevents_go_in_batches(send, receiver):
    at = receiver()
    send.secret("bearer", "Bearer abc")
    sent = send(EVENTS, hook(at.url, batch=2, authorization="bearer"), "cloudevents")
    assert sent == [{"outcome": "delivered", "delivered": 5}]
    assert [len(json.loads(request.body)) for request in at.requests] == [2, 2, 1]
    assert {request.headers["content-type"] for request in at.requests} == {"application/cloudevents-batch+json"}
    assert {request.headers["authorization"] for request in at.requests} == {"Bearer abc"}


@pytest.mark.parametrize("status, outcome", [
    (200, "delivered"), (202, "delivered"), (204, "delivered"), (299, "delivered"), (410, "switched_off"),
    (400, "refused"), (413, "refused"), (422, "refused"), (301, "retry"), (304, "retry"), (308, "retry"), (401, "retry"),
    (403, "retry"), (404, "retry"), (429, "retry"), (500, "retry"), (503, "retry")])
def test_a_status_has_its_meaning(send, receiver, status, outcome):
    elsewhere = receiver()
    at = receiver(lambda request: (status, {"location": elsewhere.url, "retry-after": "77"}, b"secret of the receiver"))
    said, = send(EVENTS[:1], hook(at.url))
    assert said["outcome"] == outcome and len(at.requests) == 1 and not elsewhere.requests
    if outcome != "delivered":
        assert str(status) in said["reason"] and "secret of the receiver" not in said["reason"]
    if status in (429, 503):
        assert said["after"] == 77


def test_only_the_item_that_is_refused_is_left_out(send, receiver):
    at = receiver(lambda request: 422 if EVENTS[2]["id"].encode() in request.body else 200)
    for destination, form in ((hook(at.url), "json"), (hook(at.url, batch=100), "cloudevents")):
        at.requests.clear()
        said = send(EVENTS, destination, form)
        assert [(each["outcome"], each["delivered"]) for each in said] == [("refused", 2), ("delivered", 2)]
        assert said[0]["id"] == EVENTS[2]["id"]


def test_what_was_accepted_before_a_failure_is_not_sent_again(send, receiver):
    at = receiver(lambda request: 503 if EVENTS[3]["id"].encode() in request.body else 200)
    said, = send(EVENTS, hook(at.url))
    assert (said["outcome"], said["delivered"], said["id"]) == ("retry", 3, EVENTS[3]["id"])


def test_an_authority_of_ones_own_is_the_only_one_that_is_trusted(send, receiver, tmp_path):
    ours, theirs = receivers.Authority(send.secrets), receivers.Authority(tmp_path)
    ours_at, theirs_at = receiver(context=ours.context), receiver(context=theirs.context)
    assert send(EVENTS[:1], hook(ours_at.url, ca="ca.pem"))[0]["outcome"] == "delivered"
    for destination in (hook(ours_at.url), hook(theirs_at.url, ca="ca.pem")):
        said, = send(EVENTS[:1], destination)
        assert said["outcome"] == "retry" and "certificate" in said["reason"]
    assert (len(ours_at.requests), len(theirs_at.requests)) == (1, 0)


def test_the_proxy_of_the_environment_is_asked(send, receiver):
    proxy, at = receiver(), receiver()
    said = send(EVENTS[:1], hook("http://receiver.invalid/in", insecure=True), environment={"http_proxy": proxy.url})
    assert said[0]["outcome"] == "delivered" and proxy.requests[0].path == "http://receiver.invalid/in"
    send(EVENTS[:1], hook(at.url), environment={"http_proxy": proxy.url, "no_proxy": "127.0.0.1"})
    assert (len(proxy.requests), len(at.requests)) == (1, 1)


def request_of(connection):
    """Reads one request, as far as its end is seen."""
    got = b""
    while b"\r\n\r\n" not in got:
        got += connection.recv(65536)
    head, body = got.split(b"\r\n\r\n", 1)
    length = int(re.search(rb"content-length: (\d+)", head)[1])
    while len(body) < length:
        body += connection.recv(65536)


def test_hostile_receivers_do_no_harm(send, receiver):
    """All of them at once, because some take their time."""
    def answers(*parts, endless=b"", slow=False):
        def serve(connection):
            request_of(connection)
            for part in parts:
                connection.sendall(part)
            began = time.monotonic()
            while (endless or slow) and time.monotonic() - began < 8:
                connection.sendall(endless or b"x")
                if slow:
                    time.sleep(0.1)
        return receiver(serve, tcp=True)

    ok = b"HTTP/1.1 200 OK\r\n"
    cases = {
        "an endless body": (answers(ok + b"\r\n", endless=b"x" * 65536), "delivered"),
        "a slow body": (answers(ok + b"content-length: 999\r\n\r\n", slow=True), "delivered"),
        "a broken body": (answers(ok + b"content-length: 999\r\n\r\nx"), "delivered"),
        "a bomb": (answers(ok + b"content-encoding: gzip\r\ncontent-length: 3\r\n\r\n\x1f\x8b\x08"), "delivered"),
        "early hints": (answers(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n", ok + b"content-length: 0\r\n\r\n"), "delivered"),
        "nothing but hints": (answers(endless=b"HTTP/1.1 102 Processing\r\n\r\n" * 9, slow=True), "retry"),
        "endless headers": (answers(ok, endless=b"x: " + b"y" * 60000 + b"\r\n"), "retry"),
        "garbage": (answers(b"\x00\xff\r\n\r\n" * 9), "retry"),
        "SSH": (answers(b"SSH-2.0-OpenSSH_9.2\r\n"), "retry"),
        "nothing": (answers(), "retry"),
        "a close before the request": (receiver(lambda connection: None, tcp=True), "retry"),
        "a status that is none": (answers(b"HTTP/1.1 999 What\r\ncontent-length: 0\r\n\r\n"), "retry"),
        "an endless pause": (answers(b"HTTP/1.1 503 No\r\nretry-after: 99999999999\r\ncontent-length: 0\r\n\r\n"), "retry"),
    }
    said = {}
    threads = [threading.Thread(target=lambda name=name, at=at: said.update({name: send(EVENTS[:1], hook(at.url, timeout=2))}))
               for name, (at, _) in cases.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert {name: outcomes[0]["outcome"] for name, outcomes in said.items()} == {name: want for name, (_, want) in cases.items()}
    assert said["an endless pause"][0]["after"] == 86400
    for name, outcomes in said.items():
        assert not re.search("[\x00-\x1f]|127.0.0.1", outcomes[0].get("reason", "")), name


def test_nobody_listens(send):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    for destination in (hook(f"http://127.0.0.1:{port}/token-in-path"), {"type": "syslog", "host": "127.0.0.1", "port": port, "tls": False}):
        said, = send(EVENTS[:1], destination)
        assert said["outcome"] == "retry" and "cannot be reached" in said["reason"] and "token" not in said["reason"]


def test_what_is_missing_here_is_for_the_operator(send):
    for destination, reason in (
        (hook("http://127.0.0.1:9/", secret="absent"), 'The secret "absent" cannot be read: entity not found.'),
        (hook("https://127.0.0.1:9/", ca="absent.pem"), 'The secret "absent.pem" cannot be read: entity not found.'),
        (hook("https://127.0.0.1:9/", ca="hook"), 'The file "hook" has no certificate in PEM form.')):
        assert send(EVENTS[:1], destination) == [{"outcome": "retry", "delivered": 0, "id": EVENTS[0]["id"], "reason": reason, "after": None}]
    send.secret("hook", "short")
    assert "fewer than 16" in send(EVENTS[:1], hook("http://127.0.0.1:9/"))[0]["reason"]


@pytest.mark.parametrize("destination, form, sentence", [
    ({"type": "webhook", "url": "https://x/", "secret": "s", "retries": 1}, "json", "destination.retries is not known"),
    ({"type": "webhook", "url": "http://10.0.0.1/", "secret": "s"}, "json", "destination.url begins with http://"),
    ({"type": "webhook", "url": "https://x/", "secret": "../x"}, "json", "destination.secret is not a name"),
    ({"type": "file", "directory": "../x"}, "json", "destination.directory is not a path below --files-dir"),
    ({"type": "webhook", "url": "https://x/", "secret": "s"}, "cef", "The format cef is not for webhooks"),
    ({"type": "file"}, "xml", 'There is no format "xml"')])
def test_a_destination_that_is_wrong_is_refused_with_a_sentence(destination, form, sentence):
    done = receivers.run(EVENTS[:1], "--destination", json.dumps(destination), "--format", form)
    assert done.returncode == 2 and sentence in done.stderr.decode() and not done.stdout


def splunk(answers):
    """A collector. `answers` maps a path to what it says, or to a function of the request."""
    def answer(request):
        said = answers[request.path.split("?")[0]]
        said = said(request) if callable(said) else said
        return said[0], {}, json.dumps(said[1]).encode()
    return answer


def hec(url, **members):
    return {"type": "splunk_hec", "url": url, "secret": "token", "index": "audit", **members}


def test_splunk_is_sent_objects_one_after_the_other(send, receiver):
    send.secret("token", "11111111-2222")
    at = receiver(splunk({"/services/collector/event": (200, {"text": "Success", "code": 0})}))
    assert send(EVENTS, hec(at.url, batch=3, host="db1")) == [{"outcome": "delivered", "delivered": 5}]
    told = [json.loads(line) for request in at.requests for line in request.body.splitlines()]
    assert [each["event"]["data"]["id"] for each in told] == [event["id"] for event in EVENTS]
    assert told[0] | {"event": None, "time": None} == {
        "host": "db1", "index": "audit", "source": "immutable:try", "sourcetype": "immutable:json", "event": None, "time": None}
    assert re.search(rb'"time":\d{10}\.\d{6}[,}]', at.requests[0].body)
    assert at.requests[0].headers["authorization"] == "Splunk 11111111-2222"


def test_splunk_acknowledges(send, receiver):
    send.secret("token", "t")
    asked = []

    def ack(request):
        asked.append((request.path, request.headers["x-splunk-request-channel"], json.loads(request.body)))
        return 200, {"acks": {"7": len(asked) > 2}}

    at = receiver(splunk({"/services/collector/event": (200, {"text": "Success", "code": 0, "ackId": 7}), "/services/collector/ack": ack}))
    assert send(EVENTS, hec(at.url, acknowledge=True)) == [{"outcome": "delivered", "delivered": 5}]
    assert len(asked) == 3 and asked[0] == (f"/services/collector/ack?channel={asked[0][1]}", asked[0][1], {"acks": [7]})
    assert at.requests[0].headers["x-splunk-request-channel"] == asked[0][1]


@pytest.mark.parametrize("answers, outcome, part", [
    ({"/services/collector/event": (400, {"text": "Incorrect index", "code": 7})}, "retry", "code 7"),
    ({"/services/collector/event": (400, {"text": "Invalid data format", "code": 6})}, "refused", "code 6"),
    ({"/services/collector/event": (403, {"text": "Invalid token", "code": 4})}, "retry", "code 4"),
    ({"/services/collector/event": (503, {"text": "Server is busy", "code": 9})}, "retry", "code 9"),
    ({"/services/collector/event": (200, {"text": "Success", "code": 0})}, "retry", "no acknowledgement id"),
    ({"/services/collector/event": (200, {"ackId": 0}), "/services/collector/ack": (400, {"code": 14})}, "retry", "acknowledgements")])
def test_splunk_says_no(send, receiver, answers, outcome, part):
    send.secret("token", "t")
    said, = send(EVENTS[:1], hec(receiver(splunk(answers)).url, acknowledge=True))
    assert said["outcome"] == outcome and part in said["reason"] and said["delivered"] == 0


def dog(url, **members):
    return {"type": "datadog", "url": url + "/api/v2/logs", "secret": "key", **members}


def test_datadog_is_sent_arrays_that_are_packed(send, receiver):
    send.secret("key", "abc")
    at = receiver(lambda request: 202)
    assert send(EVENTS, dog(at.url, batch=3, tags="env:prod")) == [{"outcome": "delivered", "delivered": 5}]
    assert {(r.headers["dd-api-key"], r.headers["content-encoding"], r.path) for r in at.requests} == {("abc", "gzip", "/api/v2/logs")}
    told = [each for request in at.requests for each in json.loads(gzip.decompress(request.body))]
    assert [json.loads(each["message"])["data"]["id"] for each in told] == [event["id"] for event in EVENTS]
    assert (told[0]["ddtags"], told[0]["ddsource"], told[0]["service"]) == ("env:prod", "immutable", "immutable")


def test_datadog_would_cut_or_drop_silently_so_it_is_not_sent(send, receiver):
    send.secret("key", "abc")
    at = receiver(lambda request: 202)
    large = receivers.event(6, metadata={"text": "x" * 1_000_000})
    old = receivers.event(7, occurred_at="2026-03-15T14:32:18.847312Z")
    said = send([EVENTS[0], large, EVENTS[1], old, EVENTS[2]], dog(at.url))
    assert [(each["outcome"], each["delivered"]) for each in said] == [("refused", 1), ("refused", 1), ("delivered", 1)]
    assert "1000000" in said[0]["reason"] and "18 hours" in said[1]["reason"]
    many = [receivers.event(number, metadata={"text": "y" * 60_000}) for number in range(1, 121)]
    at.requests.clear()
    assert send(many, dog(at.url, batch=1000))[-1]["outcome"] == "delivered"
    bodies = [gzip.decompress(request.body) for request in at.requests]
    assert max(map(len, bodies)) <= 5_000_000 and sum(len(json.loads(body)) for body in bodies) == 120


def frames(stream):
    """The messages of a stream with octet counting (RFC 6587, 3.4.1)."""
    out = []
    while stream:
        length, stream = stream.split(b" ", 1)
        assert re.fullmatch(rb"[1-9]\d*", length)
        out.append(stream[:int(length)].decode())
        assert len(stream) >= int(length)
        stream = stream[int(length):]
    return out


RFC_5424 = re.compile(
    r"<(\d{1,3})>1 (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{1,6}Z) ([!-~]{1,255}) ([!-~]{1,48}) ([!-~]{1,128}) ([!-~]{1,32}) "
    r'\[([!#-<>-\\^-~]{1,32})((?: [!#-<>-\\^-~]{1,32}="(?:[^"\\\]]|\\["\\\]])*")*)\] (.*)', re.S)


@pytest.mark.parametrize("tls", [False, True])
@pytest.mark.parametrize("form", ["json", "cef"])
def test_syslog_is_rfc_5424_with_octets_counted(send, receiver, tls, form):
    strange = receivers.event(8, action='a"b\\c]d\n\te\x1b ü🦀', metadata={"text": "ü\n<110>1 forged" * 2000})
    authority = receivers.Authority(send.secrets) if tls else None
    at = receiver(receivers.read_all, tcp=True, context=authority and authority.context)
    destination = {"type": "syslog", "host": "127.0.0.1", "port": at.port, "hostname": "db1", **({"ca": "ca.pem"} if tls else {"tls": False})}
    assert send([EVENTS[0], strange, receivers.ALERT], destination, form) == [{"outcome": "delivered", "delivered": 3}]
    messages = [RFC_5424.fullmatch(message) for message in frames(at.kept[0])]
    assert [message[1] for message in messages] == ["110", "110", "108"]
    assert messages[0].group(3, 4, 5, 6, 7) == ("db1", "immutable", "-", "event.created", "immutable@32473")
    values = dict(re.findall(r' (\w+)="((?:[^"\\\]]|\\.)*)"', messages[1][8]))
    assert re.sub(r"\\(.)", r"\1", values["action"]) == 'a"b\\c]d␊␉e␛ ü🦀'
    assert [message[9] for message in messages][0] == receivers.printed(EVENTS[:1], form)[0]


def test_syslog_that_is_not_read_to_the_end_is_sent_again(send, receiver):
    many = [receivers.event(number, metadata={"text": "x" * 60_000}) for number in range(1, 41)]
    cases = {"broke": lambda connection: connection.recv(100), "answers": lambda connection: (connection.sendall(b"no"), receivers.read_all(connection))}
    for part, serve in cases.items():
        said, = send(many, {"type": "syslog", "host": "127.0.0.1", "port": receiver(serve, tcp=True).port, "tls": False})
        assert (said["outcome"], said["delivered"]) == ("retry", 0) and part in said["reason"], said


def test_syslog_cuts_nothing(send, receiver):
    at = receiver(receivers.read_all, tcp=True)
    items = [EVENTS[0], receivers.event(9, metadata={"text": "x" * 9000}), EVENTS[1]]
    said = send(items, {"type": "syslog", "host": "127.0.0.1", "port": at.port, "tls": False, "max_message": 8192})
    assert [(each["outcome"], each["delivered"]) for each in said] == [("refused", 1), ("delivered", 1)]


def test_syslog_over_tls_trusts_nobody_else(send, receiver, tmp_path):
    receivers.Authority(send.secrets)
    at = receiver(receivers.read_all, tcp=True, context=receivers.Authority(tmp_path).context)
    said, = send(EVENTS[:1], {"type": "syslog", "host": "127.0.0.1", "port": at.port, "ca": "ca.pem"})
    assert said["outcome"] == "retry" and "certificate" in said["reason"] and not at.kept


def written(send):
    return sorted(path for path in pathlib.Path(send.files).rglob("*") if path.is_file())


def test_files_have_whole_lines(send):
    destination = {"type": "file", "directory": "siem/eu", "name": "audit"}
    assert send(EVENTS[:2], destination) == [{"outcome": "delivered", "delivered": 2}]
    path, = written(send)
    assert re.fullmatch(r"siem/eu/audit-\d{4}-\d\d-\d\d\.ndjson", str(path.relative_to(send.files)))
    assert path.stat().st_mode & 0o777 & ~0o640 == 0
    # A crash left a part of the second line. It comes again.
    path.write_bytes(path.read_bytes()[:-40])
    send(EVENTS[1:], destination)
    assert [json.loads(line)["data"]["id"] for line in path.read_text().splitlines()] == [event["id"] for event in EVENTS]


@pytest.mark.parametrize("is_crash", [True, False], ids=["crash", "full disk"])
def test_a_write_that_ends_in_the_middle_of_a_line_tears_nothing(send, is_crash):
    """A limit of the file's size kills the program while it writes, or, if the signal is ignored, fails the write."""
    many = [receivers.event(number, metadata={"text": "x" * 2000}) for number in range(1, 11)]
    assert send(many[:1], {"type": "file"})[0]["outcome"] == "delivered"
    before, limit = written(send)[0].read_bytes(), 10_000
    done = receivers.run(many[1:], "--destination", '{"type": "file"}', "--files-dir", send.files, restore_signals=is_crash,
                         preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
    left = written(send)[0].read_bytes()
    if is_crash:
        assert done.returncode == -signal.SIGXFSZ and len(left) == limit and not left.endswith(b"\n")
    else:
        assert json.loads(done.stdout)["outcome"] == "retry" and left == before
    assert send(many[1:], {"type": "file"}) == [{"outcome": "delivered", "delivered": 9}]
    ids = [json.loads(line)["data"]["id"] for line in written(send)[0].read_text().splitlines()]
    assert list(dict.fromkeys(sorted(ids))) == [event["id"] for event in many] and ids[-9:] == [event["id"] for event in many[1:]]


def test_a_full_file_is_followed_by_another(send):
    for event in EVENTS:
        send([event], {"type": "file", "max_bytes": 1000}, "cef")
    assert len(written(send)) == 5 and all(re.search(r"\.\d\.log$|\d\d\.log$", path.name) for path in written(send))


def test_two_programs_do_not_mix_their_lines(send):
    many = [receivers.event(number, metadata={"text": "x" * 2000}) for number in range(1, 201)]
    said = []
    threads = [threading.Thread(target=lambda: said.extend(send(many, {"type": "file"}))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    lines = written(send)[0].read_text().splitlines()
    assert all(json.loads(line) for line in lines) and len(lines) == sum(each["delivered"] for each in said) > 0


def test_files_stay_below_their_directory(send, tmp_path):
    (send.files / "out").symlink_to(tmp_path)
    said, = send(EVENTS[:1], {"type": "file", "directory": "out"})
    assert said["outcome"] == "retry" and "symbolic link" in said["reason"] and not list(tmp_path.glob("*.ndjson"))
    done = receivers.run(EVENTS[:1], "--destination", '{"type": "file"}')
    assert json.loads(done.stdout)["reason"] == "The program was started without --files-dir."
