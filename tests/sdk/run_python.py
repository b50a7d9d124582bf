"""Runs pieces of Python one after the other in one namespace: a JSON object {title: text} on standard input. Prints what
each of them printed, and the ImmutableError that it raised."""

import contextlib
import io
import json
import sys

import httpx
from getimmutable import ImmutableError

names, ran = {"__name__": "example"}, {}
for title, text in json.load(sys.stdin).items():
    printed, raised = io.StringIO(), None
    with contextlib.redirect_stdout(printed):
        try:
            exec(compile(text, title, "exec"), names)
        except ImmutableError as error:
            raised = {"text": str(error), "status": error.status_code, "body": error.response_data}
        except Exception as error:
            raised = {"text": f"{type(error).__name__}: {error}"}
    ran[title] = {"printed": printed.getvalue(), "raised": raised}
json.dump({"httpx": httpx.__version__, "ran": ran}, sys.stdout)
