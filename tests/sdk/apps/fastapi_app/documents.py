# As printed in the SDK's documentation.
from contextlib import asynccontextmanager
from fastapi import FastAPI, Request
from getimmutable import ImmutableClient

client = ImmutableClient(
    api_key="imk_your_api_key",
    base_url="https://getimmutable.dev",
)

app = FastAPI()


@app.post("/documents")
def create_document(request: Request):
    # ... create document ...

    client.actor(str(request.state.user.id), name=request.state.user.name) \
        .session(request.cookies.get("session_id", "")) \
        .track("document.created", "document", {
            "document_id": "doc_123",
        })

    return {"id": "doc_123"}
