"""Small applications in Django, FastAPI and Flask, with the code that the SDK's documentation prints for each, served, and
their events read through a viewer token."""

import shutil

import httpx
import pytest
from helpers_sdk import ADDRESS, KEYS, SDK, Application


@pytest.fixture
def serve(tmp_path):
    """serve(name, url, key, command…) serves a copy of an application of tests/sdk/apps."""
    started = []

    def start(name, url, key, *command, environment=None):
        directory = tmp_path / name
        shutil.copytree(SDK / "apps" / name, directory, ignore=shutil.ignore_patterns("__pycache__"))
        for file in directory.rglob("*.py"):
            # The addresses of FastAPI's example are in its text. The others' come from settings.
            if name == "fastapi_app":
                file.write_text(KEYS.sub(key, file.read_text().replace(ADDRESS, url)))
        settings = {"IMMUTABLE_API_KEY": key, "IMMUTABLE_BASE_URL": url, "FLASK_IMMUTABLE_API_KEY": key,
                    "FLASK_IMMUTABLE_BASE_URL": url, "SITE_DATABASE": str(directory / "site.sqlite"), **(environment or {})}
        started.append(Application(directory, *command, environment=settings))
        return started[-1].url

    yield start
    for each in started:
        each.stop()


def seen(http, tenant_id=None):
    """The events that a viewer's token of this tenant shows in a browser."""
    answer = http.post("/api/v1/viewer-token", http.key(["mint"]), {"tenant_id": tenant_id} if tenant_id else {})
    assert answer.status_code == 200, answer.text
    page = http.get("/api/v1/events", answer.json()["token"])
    assert page.status_code == 200, page.text
    return page.json()["data"]


def test_django(http, serve):
    url = serve("django_app", http.url, http.key(["write"]), "serve.py")
    answer = httpx.post(f"{url}/documents/", data={"title": "Q4 Report"}, headers={"X-User": "sarah"})
    assert (answer.status_code, answer.headers["Location"]) == (302, "/documents/1"), answer.text
    # A name that is empty is not sent.
    assert httpx.post(f"{url}/documents/", data={"title": "Ω"}, headers={"X-User": "nameless"}).status_code == 302
    second, first = seen(http)
    assert first["actor"] == {"id": "42", "name": "Sarah Chen", "type": None}
    assert first["action"] == "document.created"
    assert first["resource"] == {"type": "document", "id": "1", "name": "Q4 Report"}
    assert (first["tenant_id"], first["targets"], first["metadata"]) == (None, [], None)
    assert second["actor"] == {"id": "43", "name": None, "type": None}
    assert second["resource"]["name"] == "Ω"


def test_fastapi(http, serve):
    url = serve("fastapi_app", http.url, http.key(["write"]), "-m", "uvicorn", "main:app", "--port", "0")
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
    url = serve("flask_app", http.url, http.key(["write"]), "-m", "flask", "--app", "main", "run", "--port", "0")
    answer = httpx.post(f"{url}/documents", data={"title": "Q4 Report"}, headers={"X-User": "7"})
    assert (answer.status_code, answer.json()) == (200, {"id": "doc_123"}), answer.text
    event, = seen(http)
    assert event["actor"] == {"id": "7", "name": "Sarah Chen", "type": None}
    assert event["resource"]["type"] == "document" and event["metadata"] == {"title": "Q4 Report"}


def test_a_key_of_a_tenant_makes_the_events_that_tenants(http, serve):
    """The builders cannot name a tenant. The key does."""
    url = serve("flask_app", http.url, http.key(["write"], "org_7rT2xBc"), "-m", "flask", "--app", "main", "run", "--port", "0")
    assert httpx.post(f"{url}/documents", data={"title": "t"}, headers={"X-User": "7"}).status_code == 200
    event, = seen(http, "org_7rT2xBc")
    assert event["tenant_id"] == "org_7rT2xBc"
    assert seen(http) == [] and seen(http, "org_other") == []


def test_many_threads_share_nothing(http, serve):
    """Each event is a connection of its own."""
    import concurrent.futures
    url = serve("flask_app", http.url, http.key(["write"]), "-m", "flask", "--app", "main", "run", "--port", "0")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        sent = [pool.submit(httpx.post, f"{url}/documents", data={"title": str(n)}, headers={"X-User": str(n)}) for n in range(24)]
        assert [each.result().status_code for each in sent] == [200] * 24
    assert {event["actor"]["id"] for event in seen(http)} == {str(n) for n in range(24)}
