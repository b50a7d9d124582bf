# As printed in the SDK's documentation, with one line more: the two values come from the environment.
from flask import Flask, request, g
from getimmutable import ImmutableClient

app = Flask(__name__)
app.config.from_prefixed_env()
client = ImmutableClient(
    api_key=app.config["IMMUTABLE_API_KEY"],
    base_url=app.config["IMMUTABLE_BASE_URL"],
)


@app.route("/documents", methods=["POST"])
def create_document():
    # ... create document ...

    client.actor(str(g.user.id), name=g.user.name) \
        .track("document.created", "document", {
            "title": request.form["title"],
        })

    return {"id": "doc_123"}
