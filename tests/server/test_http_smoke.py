"""The server program answers, and passes on what the log says."""


def test_an_event_that_was_sent_is_listed(http):
    key = http.key()
    sent = http.post("/api/v1/events", key, {"actor_id": "u1", "action": "document.created"})
    assert sent.status_code == 202, sent.text
    listed = http.get("/api/v1/events", key).json()
    assert sent.json()["id"] in [event["id"] for event in listed["data"]]
