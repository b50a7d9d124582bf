"""Small applications in Django, FastAPI and Flask, with the code that the SDK's documentation prints for each, served, and
their events read through a viewer token."""

import concurrent.futures
import shutil

import helpers_sdk
import httpx
import pytest


COMMANDS = {"django_app": ["serve.py"], "fastapi_app": ["-m", "uvicorn", "main:app", "--port", "0"],
            "flask_app": ["-m", "flask", "--app", "main", "run", "--port", "0"]}


@pytest.fixture
def serve(http, tmp_path):
    """serve(name, key) serves a copy of an application of tests/sdk/apps, with the files of the guide in the place of the
    printed ones if `guide` is its heading there."""
    started = []

    def start(name, key, guide=None):
        directory = tmp_path / name
        shutil.copytree(helpers_sdk.SDK / "apps" / name, directory, ignore=shutil.ignore_patterns("__pycache__"))
        for path, text in (helpers_sdk.files(guide) if guide else {}).items():
            assert (directory / path).exists()
            (directory / path).write_text(text)
        # The address and the key of FastAPI's example are in its text.
        documents = directory / "documents.py"
        if documents.exists():
            documents.write_text(helpers_sdk.filled_in(documents.read_text(), http.url, key))
        environment = {**helpers_sdk.settings(http, key), "SITE_DATABASE": str(directory / "site.sqlite")}
        started.append(helpers_sdk.Application(directory, *COMMANDS[name], environment=environment))
        return started[-1].url

    yield start
    for each in started:
        each.stop()


def seen(http, tenant_id=None):
    """The events of applications that a viewer's token of this tenant shows in a browser. Without a tenant it shows those of
    the log itself too."""
    answer = http.post("/api/v1/viewer-token", http.key(["mint"]), {"tenant_id": tenant_id} if tenant_id else {})
    assert answer.status_code == 200, answer.text
    page = http.get("/api/v1/events", answer.json()["token"])
    assert page.status_code == 200, page.text
    return [event for event in page.json()["data"] if not event["action"].startswith("immutable.")]


def test_django(http, serve):
    url = serve("django_app", http.key(["write"]))
    answer = httpx.post(f"{url}/documents/", data={"title": "Q4 Report"}, headers={"X-User": "sarah"})
    assert (answer.status_code, answer.headers["Location"]) == (302, "/documents/1"), answer.text
    # A name that is empty is not sent.
    assert httpx.post(f"{url}/documents/", data={"title": "Ω"}, headers={"X-User": "nameless"}).status_code == 302
    second, first = seen(http)
    assert first["actor"] == {"id": "42", "name": "Sarah Chen", "type": None}
    assert first["action"] == "document.created"
    assert first["resource"] == {"type": "document", "id": "1", "name": "Q4 Report"}
    assert (first["tenant_id"], first["targets"], first["metadata"]) == (None, [], {})
    assert second["actor"] == {"id": "43", "name": None, "type": None}
    assert second["resource"]["name"] == "Ω"


def test_fastapi(http, serve):
    url = serve("fastapi_app", http.key(["write"]))
    for cookies in ({"session_id": "sess_4kN8pLm"}, {}):
        with httpx.Client(cookies=cookies) as browser:
            answer = browser.post(f"{url}/documents", headers={"X-User": "user_2hG9kLm"})
        assert (answer.status_code, answer.json()) == (200, {"id": "doc_123"}), answer.text
    without, with_session = seen(http)
    assert (with_session["session_id"], without["session_id"]) == ("sess_4kN8pLm", None)
    for event in (with_session, without):
        assert event["actor"] == {"id": "user_2hG9kLm", "name": "Sarah Chen", "type": None}
        assert event["resource"] == {"type": "document", "id": None, "name": None}
        assert event["metadata"] == {"document_id": "doc_123"} and event["tenant_id"] is None


def test_flask(http, serve):
    url = serve("flask_app", http.key(["write"]))
    answer = httpx.post(f"{url}/documents", data={"title": "Q4 Report"}, headers={"X-User": "7"})
    assert (answer.status_code, answer.json()) == (200, {"id": "doc_123"}), answer.text
    event, = seen(http)
    assert event["actor"] == {"id": "7", "name": "Sarah Chen", "type": None}
    assert event["resource"]["type"] == "document" and event["metadata"] == {"title": "Q4 Report"}


@pytest.mark.parametrize("name, guide", [("django_app", "Django"), ("fastapi_app", "FastAPI"), ("flask_app", "Flask")])
def test_the_applications_of_the_guide(http, serve, name, guide):
    url = serve(name, http.key(["write"]), guide)
    answer = httpx.post(f"{url}/documents{'/' if name == 'django_app' else ''}", data={"title": "Q4 Report"},
                        headers={"X-User": "sarah" if name == "django_app" else "42"}, cookies={"session_id": "s1"})
    assert answer.status_code in (200, 302), answer.text
    event, = seen(http)
    assert event["actor"]["id"] == "42" and event["actor"]["name"] == "Sarah Chen"
    assert event["action"] == "document.created" and event["resource"]["id"] in ("1", "doc_123")


def test_a_key_of_a_tenant_makes_the_events_that_tenants(http, serve):
    """The builders cannot name a tenant. The key does."""
    url = serve("flask_app", http.key(["write"], "org_7rT2xBc"))
    assert httpx.post(f"{url}/documents", data={"title": "t"}, headers={"X-User": "7"}).status_code == 200
    event, = seen(http, "org_7rT2xBc")
    assert event["tenant_id"] == "org_7rT2xBc"
    assert seen(http) == [] and seen(http, "org_other") == []


def test_many_threads_share_nothing(http, serve):
    """Each event is a connection of its own."""
    url = serve("flask_app", http.key(["write"]))
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        sent = [pool.submit(httpx.post, f"{url}/documents", data={"title": str(n)}, headers={"X-User": str(n)}) for n in range(24)]
        assert [each.result().status_code for each in sent] == [200] * 24
    assert {event["actor"]["id"] for event in seen(http)} == {str(n) for n in range(24)}
