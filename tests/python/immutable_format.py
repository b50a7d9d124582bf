#!/usr/bin/env python3
"""Hash format v1 of `immutable`, implemented a second time and independently of the extension.

It shares no code with the server, so an error in either shows up as a disagreement. Python 3.9 or newer, standard
library alone.

    psql ... | immutable_format.py check          rows as row_to_json(e), one a line, session TimeZone UTC
    immutable_format.py psql -- -d mydatabase     runs psql itself, streams every event and checks it
    immutable_format.py export FILE...            what immutable.export_events() wrote, plain or gzip; - is stdin

All print a summary as JSON and exit with 0 (all is well), 1 (something does not match) or 2 (the input cannot be
read). An export that holds exits with 0 only if saved heads confirm it (VALID), else with 3 (consistent, not anchored):
whoever can write the log can write such a file. immutable_evidence.py verifies an export against a checkpoint. What is
checked: every stored event_hash against the hash recomputed from the row, the server's own canonical
text where a line carries it in a member "canonical", and the chain of each lane.

In Python, a row is the dict that read_row() makes of one such line: numbers are `Number`, bytea is "\\x..." text.
"""

import argparse
import datetime
import gzip
import hashlib
import io
import json
import re
import subprocess
import sys
import zlib
from typing import NamedTuple, Optional

MAX_DEPTH = 64
MAX_BYTES = 65536
MAX_TARGETS = 1000
MAX_METADATA_KEYS = 1000

COLUMNS = (
    "id", "tenant_id", "actor_id", "actor_name", "actor_type", "action", "action_category",
    "resource_type", "resource_id", "resource_name", "targets", "metadata", "session_id", "idempotency_key",
    "ip_address", "ip_country", "ip_city", "user_agent", "version", "occurred_at", "created_at", "lane", "seq",
    "previous_event_hash", "event_hash", "salt", "erased", "recorded_by", "log_id",
)
ERASABLE = (
    "actor_id", "actor_name", "resource_id", "resource_name", "session_id", "idempotency_key",
    "ip_address", "ip_country", "ip_city", "user_agent",
)


# The verdict on an export, a receipt or a checkpoint, and the exit status of each.
VALID, NOT_VALID, NOT_ANCHORED = "VALID", "NOT VALID", "consistent, not anchored"
STATUS = {VALID: 0, NOT_VALID: 1, NOT_ANCHORED: 3}


class FormatError(ValueError):
    """Text that is not JSON as the format knows it, or a value without a canonical form."""


class NoDocument(Exception):
    """A row that has no canonical document; the text says why."""


class InputError(Exception):
    """Input that is not a row of immutable.events at all."""


# ---------------------------------------------------------------------------------------------------------------------
# Canonical JSON: RFC 8785, with numbers as their own decimal text


class Number(str):
    """A JSON number, kept as the text it was written with."""

    GRAMMAR = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
    __slots__ = ()

    def __repr__(self):
        return f"Number({str(self)!r})"


def parse(text):
    """JSON text to dict, list, str, Number, bool and None. Duplicate keys, NaN and Infinity are refused."""
    try:
        return _loads(text)
    except RecursionError:
        raise FormatError(f"nested deeper than {MAX_DEPTH} levels") from None


def _loads(text):
    try:
        return json.loads(text, parse_int=Number, parse_float=Number, parse_constant=_refuse_constant,
                          object_pairs_hook=_object)
    except json.JSONDecodeError:
        raise FormatError("not JSON") from None


def _refuse_constant(_name):
    raise FormatError("not JSON")


def _object(pairs):
    members = dict(pairs)
    if len(members) != len(pairs):
        raise FormatError("duplicate key")
    return members


def canonical(value, max_depth=MAX_DEPTH):
    """The canonical text of a value. A container is one level deeper than what holds it; the outermost is level 1."""
    if isinstance(value, Number):
        if not Number.GRAMMAR.fullmatch(value):
            raise FormatError("not a JSON number")
        return str(value)
    if isinstance(value, str):
        return _quoted(value)
    if value is None:
        return "null"
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, int):
        return str(value)
    if not isinstance(value, (dict, list)):
        raise FormatError(f"no canonical form for {type(value).__name__}")
    if max_depth is not None:
        if max_depth == 0:
            raise FormatError(f"nested deeper than {MAX_DEPTH} levels")
        max_depth -= 1
    if isinstance(value, list):
        return "[" + ",".join(canonical(item, max_depth) for item in value) + "]"
    return "{" + ",".join(_quoted(key) + ":" + canonical(value[key], max_depth)
                          for key in sorted(value, key=_utf16)) + "}"


def _utf16(key):
    """Big-endian UTF-16: its bytes compare as the code units do."""
    return key.encode("utf-16-be", "surrogatepass")


_ESCAPES = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r", '"': '\\"', "\\": "\\\\"}
_MUST_ESCAPE = re.compile(r'[\x00-\x1f"\\]')
_SURROGATE = re.compile("[\ud800-\udfff]")


def _quoted(text):
    if _SURROGATE.search(text):
        raise FormatError("lone surrogate")
    return '"' + _MUST_ESCAPE.sub(lambda match: _ESCAPES.get(match[0]) or f"\\u{ord(match[0]):04x}", text) + '"'


def _bounded(value, name):
    """Checks the two bounds that metadata and each target have."""
    try:
        text = canonical(value)
    except FormatError as error:
        raise NoDocument(f"{name}: {error}") from None
    if len(text.encode("utf-8")) > MAX_BYTES:
        raise NoDocument(f"{name}: canonical text longer than {MAX_BYTES} bytes")


# ---------------------------------------------------------------------------------------------------------------------
# Commitments


def leaf_salt(event_salt, path):
    """bytes, path -> hex of 16 bytes"""
    return hashlib.sha256(event_salt + path.encode("utf-8")).digest()[:16].hex()


def commitment(salt_hex, path, value):
    """hex of the leaf salt, path, value -> hex of 32 bytes"""
    return _sha256(canonical([salt_hex, path, value], max_depth=None))


def _sha256(text):
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def commitments(row):
    """{path: hex} for every value that is still present in the row. Raises NoDocument."""
    return _commitments(_checked(row))


def _commitments(row):
    values = _values(row)
    if row["salt"] is not None:
        salts = {path: leaf_salt(row["salt"], path) for path in values}
    else:
        salts = row["erased"]["salts"]
    return {path: commitment(salts[path], path, value) for path, value in values.items()}


def _values(row):
    """{path: value} for every value that is still present; needs a row that is well-formed so far."""
    values = {column: row[column] for column in ERASABLE if row[column] is not None}
    values.update(("metadata." + key, value) for key, value in row["metadata"].items())
    erased_targets = row["erased"]["commitments"].get("targets", {}) if row["erased"] is not None else {}
    values.update((f"targets.{n}", target) for n, target in enumerate(row["targets"]) if str(n) not in erased_targets)
    return values


# ---------------------------------------------------------------------------------------------------------------------
# The document and its hash


def document(row) -> Optional[str]:
    """The canonical document of a row, or None if it has none."""
    try:
        return _document(row)
    except NoDocument:
        return None


def why_no_document(row) -> Optional[str]:
    """Why a row has no document, or None if it has one."""
    try:
        _document(row)
    except NoDocument as reason:
        return str(reason)
    return None


def event_hash(row) -> Optional[str]:
    """The recomputed hash as hex, or None if the row has no document."""
    text = document(row)
    return None if text is None else _sha256(text)


def _document(row):
    row = _checked(row)
    event = {
        "v": 1,
        "log_id": row["log_id"],
        "id": row["id"],
        "tenant_id": row["tenant_id"],
        "lane": row["lane"],
        "seq": row["seq"],
        "created_at": row["created_at"],
        "occurred_at": row["occurred_at"],
        "recorded_by": row["recorded_by"],
        "action": row["action"],
        "action_category": row["action_category"],
        "actor_type": row["actor_type"],
        "resource_type": row["resource_type"],
        "version": row["version"],
        "target_types": [target["type"] for target in row["targets"]] or None,
        "commitments": _merged(row, _commitments(row)) or None,
    }
    event = {name: value for name, value in event.items() if value is not None}
    event["previous_event_hash"] = row["previous_event_hash"]
    try:
        return canonical(event, max_depth=None)
    except FormatError as error:
        raise NoDocument(str(error)) from None


def _merged(row, present):
    """The document's "commitments": those of the present values together with those of the erased ones."""
    erased = row["erased"]["commitments"] if row["erased"] is not None else {}

    columns = {column: present.get(column) or erased.get(column) for column in ERASABLE}
    merged = {column: hash_ for column, hash_ in columns.items() if hash_ is not None}

    metadata = [present["metadata." + key] for key in row["metadata"]] + erased.get("metadata", [])
    if len(set(metadata)) != len(metadata):
        raise NoDocument("metadata: the same commitment twice")
    if metadata:
        merged["metadata"] = sorted(metadata)

    erased_targets = erased.get("targets", {})
    if row["targets"]:
        merged["targets"] = [present.get(f"targets.{n}") or erased_targets[str(n)] for n in range(len(row["targets"]))]
    return merged


# ---------------------------------------------------------------------------------------------------------------------
# What a row must look like to have a document

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_INTEGER = re.compile(r"0|-?[1-9][0-9]{0,18}")
_BYTEA = re.compile(r"\\x((?:[0-9a-f]{2})*)")
_TIMESTAMP = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})"
                        r"(?:\.([0-9]{1,6}))?\+00:00")
_HASH = re.compile(r"[0-9a-f]{64}")
_SALT = re.compile(r"[0-9a-f]{32}")
_POSITION = re.compile(r"0|[1-9][0-9]*")


def _checked(row):
    """A copy of the row with each column as the document wants it. Raises NoDocument if anything is wrong."""
    checked = {column: _text(row, column) for column in ERASABLE}
    for column in ("tenant_id", "action", "recorded_by"):
        checked[column] = _required(column, _text(row, column))
    for column in ("action_category", "actor_type", "resource_type"):
        checked[column] = _text(row, column)

    checked["id"] = _required("id", _uuid(row, "id"))
    checked["created_at"] = _required("created_at", _timestamp(row, "created_at"))
    checked["occurred_at"] = _required("occurred_at", _timestamp(row, "occurred_at"))
    checked["version"] = _integer(row, "version")
    checked["lane"] = _required("lane", _integer(row, "lane"))
    checked["seq"] = _required("seq", _integer(row, "seq"))
    checked["metadata"] = _metadata(row.get("metadata"), "metadata")
    checked["targets"] = _targets(row.get("targets"))
    _check_place_in_chain(row, checked)
    _check_salt_or_erased(row, checked)
    return checked


def _check_place_in_chain(row, checked):
    """The first event of a lane has a log_id and no previous hash; every other one the reverse."""
    if checked["lane"] < 0:
        raise NoDocument("lane is negative")
    if checked["seq"] < 1:
        raise NoDocument("seq is less than 1")
    checked["previous_event_hash"] = _bytea(row, "previous_event_hash", 32)
    checked["log_id"] = _uuid(row, "log_id")
    if checked["seq"] == 1:
        _required("log_id", checked["log_id"])
        _must_be_null("previous_event_hash", checked["previous_event_hash"], "at seq 1")
    else:
        _required("previous_event_hash", checked["previous_event_hash"])
        _must_be_null("log_id", checked["log_id"], "after seq 1")


def _check_salt_or_erased(row, checked):
    salt = _bytea(row, "salt", 16)
    checked["salt"] = None if salt is None else bytes.fromhex(salt)
    checked["erased"] = row.get("erased")
    if (checked["salt"] is None) == (checked["erased"] is None):
        raise NoDocument("exactly one of salt and erased must be present")
    if checked["erased"] is not None:
        _check_erased(checked)
    elif checked["actor_id"] is None:
        raise NoDocument("actor_id is missing")


def _check_erased(row):
    erased = row["erased"]
    if not isinstance(erased, dict) or set(erased) != {"commitments", "salts"}:
        raise NoDocument("erased must have exactly the members commitments and salts")
    hashes, salts = erased["commitments"], erased["salts"]
    if not isinstance(hashes, dict) or not isinstance(salts, dict):
        raise NoDocument("erased: commitments and salts must be objects")
    if not hashes:
        raise NoDocument("erased: no commitments")
    for name, content in hashes.items():
        if name == "metadata":
            _check_erased_metadata(content)
        elif name == "targets":
            _check_erased_targets(content, row["targets"])
        elif name in ERASABLE:
            _check_erased_column(name, content, row)
        else:
            raise NoDocument(f"erased: unknown commitment {name}")
    if row["actor_id"] is None and "actor_id" not in hashes:
        raise NoDocument("actor_id is missing")
    if row["action"].startswith("immutable.") and (set(hashes) != {"metadata"} or len(hashes["metadata"]) != 1):
        raise NoDocument("erased: only metadata.reason of an event of the extension's own can be erased")

    for path, salt in salts.items():
        if not _is_hex(salt, _SALT):
            raise NoDocument(f"erased: the salt of {path} is not 32 hex digits")
    if set(salts) != set(_values(row)):
        raise NoDocument("erased: salts must be there for exactly the paths that are present")


def _check_erased_column(column, hash_, row):
    if not _is_hex(hash_, _HASH):
        raise NoDocument(f"erased: the commitment of {column} is not 64 hex digits")
    if row[column] is not None:
        raise NoDocument(f"erased: {column} is present beside its commitment")


def _check_erased_metadata(hashes):
    if not isinstance(hashes, list) or not hashes:
        raise NoDocument("erased: metadata must be an array that is not empty")
    if not all(_is_hex(hash_, _HASH) for hash_ in hashes):
        raise NoDocument("erased: a metadata commitment is not 64 hex digits")
    if any(hashes[i] >= hashes[i + 1] for i in range(len(hashes) - 1)):
        raise NoDocument("erased: metadata commitments are not strictly ascending")


def _check_erased_targets(hashes, targets):
    if not isinstance(hashes, dict) or not hashes:
        raise NoDocument("erased: targets must be an object that is not empty")
    for position, hash_ in hashes.items():
        # the length is looked at first: int() of endless digits is slow, or refused
        if not _POSITION.fullmatch(position) or len(position) > 4 or int(position) >= len(targets):
            raise NoDocument("erased: no such target position")
        if not _is_hex(hash_, _HASH):
            raise NoDocument("erased: a target commitment is not 64 hex digits")
        if set(targets[int(position)]) != {"type"}:
            raise NoDocument("erased: an erased target must have its type alone")


def _is_hex(value, pattern):
    return _is_text(value) and pattern.fullmatch(value) is not None


def _metadata(value, name):
    if not isinstance(value, dict):
        raise NoDocument(f"{name} is not an object")
    if name == "metadata" and len(value) > MAX_METADATA_KEYS:
        raise NoDocument(f"more than {MAX_METADATA_KEYS} metadata keys")
    _bounded(value, name)
    return value


def _targets(targets):
    if not isinstance(targets, list):
        raise NoDocument("targets is not an array")
    if len(targets) > MAX_TARGETS:
        raise NoDocument(f"more than {MAX_TARGETS} targets")
    for target in targets:
        if not isinstance(target, dict):
            raise NoDocument("a target is not an object")
        if not set(target) <= {"type", "id", "name", "metadata"}:
            raise NoDocument("a target has an unknown member")
        if "type" not in target:
            raise NoDocument("a target has no type")
        for member in ("type", "id", "name"):
            if member in target and not _is_text(target[member]):
                raise NoDocument(f"the {member} of a target is not a string")
        if "metadata" in target and not isinstance(target["metadata"], dict):
            raise NoDocument("the metadata of a target is not an object")
        _bounded(target, "a target")
    return targets


def _is_text(value):
    return isinstance(value, str) and not isinstance(value, Number)


def _text(row, column):
    value = row.get(column)
    if value is None:
        return None
    if not _is_text(value):
        raise NoDocument(f"{column} is not text")
    if len(value.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise NoDocument(f"{column} is longer than {MAX_BYTES} bytes")
    if _SURROGATE.search(value):
        raise NoDocument(f"{column}: lone surrogate")
    return value


def _uuid(row, column):
    value = _text(row, column)
    if value is not None and not _UUID.fullmatch(value):
        raise NoDocument(f"{column} is not a UUID")
    return value


def _integer(row, column):
    value = row.get(column)
    if value is None:
        return None
    if isinstance(value, Number) and _INTEGER.fullmatch(value):
        return int(value)
    raise NoDocument(f"{column} is not an integer")


def _bytea(row, column, length):
    """bytea text -> hex"""
    value = _text(row, column)
    if value is None:
        return None
    match = _BYTEA.fullmatch(value)
    if not match or len(match[1]) != 2 * length:
        raise NoDocument(f"{column} is not {length} bytes")
    return match[1]


def _timestamp(row, column):
    """2026-03-15T14:32:18.8+00:00 -> 2026-03-15T14:32:18.800000Z. Infinity, BC and years over 9999 are refused."""
    value = _text(row, column)
    if value is None:
        return None
    match = _TIMESTAMP.fullmatch(value)
    try:
        datetime.datetime(*(int(field) for field in match.groups()[:6]))
    except (AttributeError, ValueError):
        raise NoDocument(f"{column} is outside the years 0001 to 9999") from None
    return f"{value[:19]}.{match[7] or '':0<6}Z"


def _required(column, value):
    if value is None:
        raise NoDocument(f"{column} is missing")
    return value


def _must_be_null(column, value, where):
    if value is not None:
        raise NoDocument(f"{column} is present {where}")


# ---------------------------------------------------------------------------------------------------------------------
# Erasure


def erase(row, paths):
    """A new row in which the values at these paths are erased; its hash is the same. Raises ValueError."""
    try:
        checked = _checked(row)
        present = _commitments(checked)
    except NoDocument as reason:
        raise ValueError(f"the row has no document: {reason}") from None
    paths = set(paths)
    if not paths:
        raise ValueError("nothing to erase")
    for path in sorted(paths):
        if path not in present:
            raise ValueError(f"nothing to erase at {path}")
        if row["action"].startswith("immutable.") and path != "metadata.reason":
            raise ValueError(f"{path} of an event of the extension's own cannot be erased")

    before = row["erased"] or {"commitments": {}, "salts": None}
    hashes = dict(before["commitments"])
    metadata, targets = dict(row["metadata"]), list(row["targets"])
    after = dict(row)
    for path in paths:
        container, _, name = path.partition(".")
        if container == "metadata":
            del metadata[name]
            hashes["metadata"] = sorted(hashes.get("metadata", []) + [present[path]])
        elif container == "targets":
            targets[int(name)] = {"type": targets[int(name)]["type"]}
            hashes["targets"] = {**hashes.get("targets", {}), name: present[path]}
        else:
            after[path] = None
            hashes[path] = present[path]
    salts = {path: before["salts"][path] if before["salts"] is not None else leaf_salt(checked["salt"], path)
             for path in present if path not in paths}
    after.update(metadata=metadata, targets=targets, salt=None, erased={"commitments": hashes, "salts": salts})
    return after


# ---------------------------------------------------------------------------------------------------------------------
# Breaks of the chain


class Link(NamedTuple):
    """What the chain needs to know of a row. Sorts by tenant (UTF-8 bytes), lane, seq."""

    tenant: bytes
    lane: int
    seq: int
    event_id: str
    stored: Optional[str]
    previous: Optional[str]
    recomputed: Optional[str]

    def place(self):
        return self[:4]


def link(row):
    return Link(row["tenant_id"].encode("utf-8"), int(row["lane"]), int(row["seq"]), row["id"],
                _plain_hex(row["event_hash"]), _plain_hex(row["previous_event_hash"]), event_hash(row))


def _plain_hex(bytea):
    return None if bytea is None else bytea[2:]


def walk(links):
    """Yields the breaks of links that come in order, holding no more than one of them."""
    before = None
    for now in links:
        lane_begins = before is None or (before.tenant, before.lane) != (now.tenant, now.lane)
        last_seq = 0 if lane_begins else before.seq
        hole = now.seq > last_seq + 1
        if hole:
            yield _break("missing_event", now, seq=last_seq + 1, event_id=None)
        if now.recomputed is None or now.recomputed != now.stored:
            yield _break("hash_mismatch", now, expected=now.recomputed, actual=now.stored)
        expected = None if lane_begins else before.stored
        if not hole and now.previous != expected:
            yield _break("chain_break", now, expected=expected, actual=now.previous)
        if now.seq > last_seq:
            before = now  # of several at one seq the lane goes on from the first


def _break(type_, at, **members):
    return {"type": type_, "tenant_id": at.tenant.decode("utf-8"), "lane": at.lane, "seq": at.seq,
            "event_id": at.event_id, "expected": None, "actual": None, **members}


def verify(rows):
    """The breaks of rows in any order, of any lanes: hash_mismatch, chain_break and missing_event.

    A hole is one missing_event at its first missing seq. The row behind a hole has nothing to be compared with, so it
    is no chain_break. A lane without its first events is reported: rows do not say what was pruned.
    """
    return list(walk(sorted(map(link, rows), key=Link.place)))


# ---------------------------------------------------------------------------------------------------------------------
# Exports

_TIME = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})\.[0-9]{6}Z")
_NATURAL = re.compile(r"0|[1-9][0-9]*")
_HEX = re.compile(r"(?:[0-9a-f]{2})*")
_BEFORE_DOCUMENT, _AFTER_DOCUMENT = '{"document":', ',"event_hash":'


def export_line(row):
    """The line of a row that has a document, as immutable.export_events() writes it."""
    checked = _checked(row)
    values = _values(checked)
    salts = checked["erased"]["salts"] if checked["erased"] is not None else None
    order = [column for column in sorted(ERASABLE) if column in values]
    order += ["metadata." + key for key in sorted(checked["metadata"], key=_utf16)]
    order += [path for path in (f"targets.{n}" for n in range(len(checked["targets"]))) if path in values]
    disclosures = [[leaf_salt(checked["salt"], path) if salts is None else salts[path], path, values[path]]
                   for path in order]
    stored = canonical(_plain_hex(row["event_hash"]))
    return (f'{_BEFORE_DOCUMENT}{_document(row)}{_AFTER_DOCUMENT}{stored},'
            f'"disclosures":{canonical(disclosures, max_depth=None)}}}')


def escaped_line(line):
    """A line as the server writes it for a client whose encoding is not UTF-8: of ASCII alone."""
    return "".join(char if char < "\x80" else "".join(
        f"\\u{unit[0] << 8 | unit[1]:04x}" for unit in zip(*[iter(char.encode("utf-16-be"))] * 2)) for char in line)


_ESCAPE = re.compile(r"\\u([0-9a-f]{4})|\\.?", re.DOTALL)


def restored_line(line):
    """The reverse. Escapes of characters up to U+007F are the line's own. Raises ExportError."""
    def plain(match):
        return match[0] if match[1] is None or int(match[1], 16) < 0x80 else chr(int(match[1], 16))
    try:
        return _ESCAPE.sub(plain, line).encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        raise ExportError("half of a surrogate pair") from None


AGAIN = ("export again, with ENCODING 'UTF8' in the COPY, into a file that psql writes: \\copy ... TO 'file', or psql -o; "
         "a shell's > may recode")


def what_happened(line, first):
    """What clients, shells and editors do to a file, by its bytes, with what to do; or nothing."""
    marks = {b"\xef\xbb\xbf": "a byte order mark", b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16",
             b"{\0": "UTF-16 without a mark", b"\0{": "UTF-16 without a mark"}
    for mark, name in marks.items():
        if first and line.startswith(mark):
            return f"{name}, from a shell or an editor: {AGAIN}"
    try:
        line.decode("utf-8")
    except UnicodeDecodeError as error:
        return f"not UTF-8, at byte {error.start + 1}, from the client or a shell: {AGAIN}"
    if line.endswith(b"}\r") or line == b"\r":
        return f"the line ends in CR LF, from a client, a shell or an editor: {AGAIN}"
    if not line.strip():
        return "an empty line: remove the empty lines, and look for what put them there"
    return None


class ExportError(Exception):
    """A line that is none of an export."""


class Event(NamedTuple):
    """One event of an export, checked by itself."""

    tenant_id: str
    lane: int
    seq: int
    id: str
    log_id: Optional[str]
    previous: Optional[str]
    stored: Optional[str]
    recomputed: Optional[str]  # None: there is no valid document, or a disclosure does not belong to it
    erased: list  # commitments
    recorded: list  # (event id, commitment)
    disclosed: list  # paths
    begins: dict = {}  # of the record of a pruning: lane -> (seq, hash)

    def broken(self, type_, **members):
        return {"type": type_, "tenant_id": self.tenant_id, "lane": self.lane, "seq": self.seq, "event_id": self.id,
                "expected": None, "actual": None, **members}


def _need(condition, what):
    if not condition:
        raise ExportError(what)


def _strict(text, what, max_depth):
    """The value of a text that has to be canonical."""
    try:
        value = parse(text)
        _need(canonical(value, max_depth) == text, f"{what}: not canonical JSON")
    except FormatError as error:
        raise ExportError(f"{what}: {error}") from None
    except RecursionError:
        raise ExportError(f"{what}: nested too deeply") from None
    return value


def _int(value, least, most):
    _need(isinstance(value, Number) and _INTEGER.fullmatch("0" if value == "-0" else value), "not an integer")
    number = int(value)
    _need(least <= number <= most, "an integer out of range")
    return number


def _hashes(value):
    _need(isinstance(value, list) and all(_is_hex(item, _HASH) for item in value), "not an array of hashes")
    return value


def read_event(line, selected=False):
    """A line that begins with the document -> Event. `selected`: what is not disclosed needs not be erased."""
    end = line.find(_AFTER_DOCUMENT)
    _need(end >= 0, "no event_hash")
    text = line[len(_BEFORE_DOCUMENT):end]
    document = _strict(text, "document", MAX_DEPTH)
    _need(isinstance(document, dict), "the document is no object")
    found = re.match(r'(null|"((?:[0-9a-f]{2})*)"),"disclosures":', line[end + len(_AFTER_DOCUMENT):])
    _need(found is not None, "no event_hash in hex, or no disclosures behind it")
    listed = line[end + len(_AFTER_DOCUMENT) + found.end():]
    _need(listed.endswith("}"), "the line does not end where it should")
    disclosures = _strict(listed[:-1], "disclosures", MAX_DEPTH + 2)
    _need(isinstance(disclosures, list), "disclosures is no array")
    for disclosure in disclosures:
        _need(isinstance(disclosure, list) and len(disclosure) == 3 and _is_hex(disclosure[0], _SALT)
              and _is_text(disclosure[1]), "not a disclosure")

    _need(document.get("v") == "1" and isinstance(document["v"], Number), "not a document of version 1")
    for member in ("id", "tenant_id"):
        _need(_is_text(document.get(member)), f"no {member}")
    for member in ("action", "log_id"):
        _need(_is_text(document.get(member, "")), f"{member} is no text")
    for member in ("id", "log_id"):
        _need(member not in document or _UUID.fullmatch(document[member]), f"{member} is no UUID")
    lane, seq = _int(document.get("lane"), -2 ** 15, 2 ** 15 - 1), _int(document.get("seq"), -2 ** 63, 2 ** 63 - 1)
    previous = document.get("previous_event_hash")
    _need(previous is None or _is_hex(previous, _HASH), "previous_event_hash is no hash")
    types = document.get("target_types", [])
    _need(isinstance(types, list) and all(map(_is_text, types)), "target_types is no array of texts")
    committed = dict(document.get("commitments", {}) if isinstance(document.get("commitments", {}), dict) else {"": 0})
    metadata, targets = _hashes(committed.pop("metadata", [])), _hashes(committed.pop("targets", []))
    _hashes(list(committed.values()))

    recomputed, stored = _sha256(text), found[2]
    if recomputed == stored and not _discloses(document, committed, metadata, targets, types, disclosures,
                                                       selected):
        recomputed = None
    erased, recorded, begins = [], [], {}
    if recomputed == stored:  # an event that is not valid says nothing about erasures
        known = {commitment(*disclosure) for disclosure in disclosures}
        erased = [hash_ for hash_ in [*committed.values(), *metadata, *targets] if hash_ not in known]
        recorded = list(_recorded(document, disclosures))
        begins = _begins(document, disclosures)
    return Event(document["tenant_id"], lane, seq, document["id"], document.get("log_id"), previous, stored, recomputed,
                 erased, recorded, [path for _, path, _ in disclosures], begins)


def _discloses(document, columns, metadata, targets, types, disclosures, selected):
    """Whether the document is one that a row can have, and the disclosures are of it, in order, each once."""
    seq = document["seq"]
    if document["lane"].startswith("-") or seq.startswith("-") or seq == "0":
        return False
    if (seq == "1") != (document.get("previous_event_hash") is None) or (seq == "1") != ("log_id" in document):
        return False
    if len(types) != len(targets) or any(a >= b for a, b in zip(metadata, metadata[1:])) or "actor_id" not in columns:
        return False
    before = (0,)
    known_metadata = set(metadata)
    shown = set()
    for salt, path, value in disclosures:
        hash_ = commitment(salt, path, value)
        kind, _, name = path.partition(".")
        if kind == "metadata" and "." in path:
            place = (1, _utf16(path))
            right = hash_ in known_metadata
        elif kind == "targets" and "." in path:
            if not _POSITION.fullmatch(name) or len(name) > 4 or int(name) >= len(targets):
                return False
            place = (2, int(name))
            right = (targets[int(name)] == hash_ and isinstance(value, dict)
                     and _is_text(value.get("type")) and value["type"] == types[int(name)])
        else:
            place = (0, _utf16(path))
            right = columns.get(path) == hash_ and _is_text(value)
        if not right or place <= before:
            return False
        before = place
        shown.add(path)
    if document.get("action", "").startswith("immutable.") and not selected:
        erased = len(columns) + len(metadata) + len(targets) - len(shown)
        erased_keys = len(metadata) - sum(path.startswith("metadata.") for path in shown)
        return erased == 0 or (erased == erased_keys == 1 and "metadata.reason" not in shown)
    return True


def _recorded(document, disclosures):
    if document.get("action") != "immutable.event_erased":
        return
    for _, path, target in disclosures:
        if path.startswith("targets.") and isinstance(target, dict) and target.get("type") == "immutable.event":
            hashes = target.get("metadata", {})
            hashes = hashes.get("commitments") if isinstance(hashes, dict) else None
            if _is_hex(target.get("id"), _UUID) and isinstance(hashes, list):
                yield from ((target["id"], hash_) for hash_ in hashes if _is_hex(hash_, _HASH))


def _begins(document, disclosures):
    """Where lanes begin, by the record of a pruning. Every target has to be of the form, and no lane be there twice."""
    begins = {}
    if document.get("action") == "immutable.pruned":
        for _, path, target in disclosures:
            if not path.startswith("targets."):
                continue
            metadata = target.get("metadata")
            if not (set(target) == {"type", "id", "metadata"} and target["type"] == "immutable.lane"
                    and _is_text(target["id"]) and isinstance(metadata, dict) and set(metadata) == {"event_hash", "seq"}
                    and _NATURAL.fullmatch(target["id"]) and len(target["id"]) <= 5 and int(target["id"]) < 2 ** 15
                    and _is_hex(metadata["event_hash"], _HASH) and isinstance(metadata["seq"], Number)
                    and _NATURAL.fullmatch(metadata["seq"]) and len(metadata["seq"]) <= 19
                    and 0 < int(metadata["seq"]) < 2 ** 63 and int(target["id"]) not in begins):
                return {}
            begins[int(target["id"])] = int(metadata["seq"]), metadata["event_hash"]
    return begins


def _members(line, name):
    """The object on a line that is not an event's, of version 1 if it has one."""
    try:
        value = parse(line)
    except (FormatError, RecursionError) as error:
        raise ExportError(str(error)) from None
    _need(isinstance(value, dict) and (name == "no_document" or value.get(name) == "1"), "of another version than 1")
    return value


def read_no_document(line):
    row = _members(line, "no_document")["no_document"]
    _need(isinstance(row, dict) and _is_text(row.get("tenant_id")) and _is_hex(row.get("id"), _UUID), "no place")
    for member, pattern in ("previous_event_hash", _HEX), ("event_hash", _HEX), ("log_id", _UUID):
        _need(member in row and (row[member] is None or _is_hex(row[member], pattern)), f"no {member}")
    return Event(row["tenant_id"], _int(row.get("lane"), -2 ** 15, 2 ** 15 - 1),
                 _int(row.get("seq"), -2 ** 63, 2 ** 63 - 1), row["id"], row["log_id"], row["previous_event_hash"],
                 row["event_hash"], None, [], [], [])


def read_header(line):
    header = _members(line, "immutable_export")
    time = _TIME.fullmatch(header["created_at"]) if _is_text(header.get("created_at")) else None
    _need(time is not None, "no created_at")
    try:
        datetime.datetime(*(int(field) for field in time.groups()))
    except ValueError:
        raise ExportError("no such time") from None
    filters = header.get("filters")
    _need(isinstance(filters, dict) and all(map(_is_text, filters.values())), "no filters")
    _need("log_id" in header and (header["log_id"] is None or _is_hex(header["log_id"], _UUID)), "no log_id")
    left = set(filters) - {"tenant_id"}
    lanes = "gaps" if left - {"from_date", "to_date"} else "range" if left else "whole"
    _need(header.get("lanes") == lanes, "the filters do not leave the lanes as the header says")
    _need(isinstance(header.get("escaped", False), bool), "escaped is neither true nor false")
    return header


def read_end(line):
    end = _members(line, "immutable_export_end")
    for member in ("events", "lanes"):
        _need(isinstance(end.get(member), Number) and _NATURAL.fullmatch(end[member]) and int(end[member]) < 2 ** 64,
              "no counts")
    return int(end["events"]), int(end["lanes"])


def judged(summary, confirmed_by_heads, covered=0):
    """The summary with the verdict on an export: without breaks it is valid only if saved heads or a checkpoint, which come
    from outside, confirm events of it."""
    verdict = NOT_VALID if summary["breaks"] else VALID if confirmed_by_heads or covered else NOT_ANCHORED
    return {"verdict": verdict, **summary, "valid": {VALID: True, NOT_VALID: False}.get(verdict),
            "events_confirmed": 0 if summary["breaks"] else confirmed_by_heads}


class Export:
    """Verifies an export, or several, line by line. `summary` has what is known so far; its `valid` says that there is no
    break, which is not yet a verdict. `events_confirmed` counts the events that lead to a head."""

    def __init__(self, heads=()):
        self.heads = {}
        for head in heads:
            place = (head["tenant_id"], int(head["lane"]))
            self.heads.setdefault(place, {})[int(head["seq"])] = head["event_hash"].replace("\\x", "")
        self.heads_checked, self.heads_pruned = set(), set()
        self.header = self.log_id = None
        self.events_confirmed = 0
        self.unconfirmed = 0  # events of the lane since the last gap or head
        self.summary = {"valid": True, "log_id": None, "exports": 0, "whole": True, "events_checked": 0,
                        "chains_checked": 0, "links_checked": 0, "gaps": 0, "values_erased": 0,
                        "erasures_checked": True, "heads_checked": 0, "heads_not_covered": 0, "breaks": []}

    def line(self, line):
        """A line of bytes without its line feed. Raises ExportError."""
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError:
            raise ExportError("not UTF-8") from None
        if self.header is not None and self.header.get("escaped"):
            text = restored_line(text)
        if text.startswith('{"immutable_export":'):
            header = read_header(text)
            _need(self.header is None, "a header where the export before has no end line")
            self._begin(header)
            return
        event = end = None
        if text.startswith(_BEFORE_DOCUMENT):
            event = read_event(text)
        elif text.startswith('{"no_document":'):
            event = read_no_document(text)
        elif text.startswith('{"later_record":'):
            _need(self.header is not None, "an export begins with its header")
            self._later_record(text[len('{"later_record":'):])
            return
        else:
            _need(text.startswith('{"immutable_export_end":'), "not a line of an export")
            end = read_end(text)
        _need(self.header is not None, "an export begins with its header")
        if event:
            self._event(event)
        else:
            self._end(*end)

    def finish(self):
        """After the last line. Gives the summary."""
        _need(self.header is None, "the export is cut off: it has no end line")
        _need(self.summary["exports"], "no export")
        everything = {(*place, seq) for place, heads in self.heads.items() for seq in heads}
        self.summary["heads_not_covered"] = len(everything - self.heads_checked)
        self.summary["valid"] = not self.summary["breaks"]
        return self.summary

    def _report(self, found):
        # Behind a hole that the record of a pruning may explain later, breaks wait, so that they keep their order.
        (self.waiting if getattr(self, "waiting", None) else self.summary["breaks"]).append(found)

    def _end_lane(self):
        if self.lane is not None:
            self.ends[self.lane[1]] = max(self.seq, self.ends.get(self.lane[1], 0))

    def _end_tenant(self):
        """Every record of a pruning of the tenant's events is known by now."""
        waiting, self.waiting, pruned = self.waiting, [], 0
        for found in waiting:
            if isinstance(found, dict):
                self._report(found)
                continue
            event, after = found
            seq, hash_ = self.begins.get(event.lane, (0, None))
            pruned += max(0, min(seq, event.seq - 1) - after)
            first = max(after, seq) + 1
            if first < event.seq:
                self._report(event.broken("missing_event", seq=first, event_id=None, expected=event.previous))
            elif seq == event.seq - 1 and event.previous != hash_:
                self._report(event.broken("chain_break", expected=hash_, actual=event.previous))
        if self.header["lanes"] == "whole" and self.tenant is not None:
            for lane, (seq, hash_) in sorted(self.begins.items()):
                if self.ends.get(lane, 0) < seq:
                    self._report({"type": "missing_event", "tenant_id": self.tenant, "lane": lane, "seq": seq + 1,
                                  "event_id": None, "expected": hash_, "actual": None})
            for lane, (seq, hash_) in sorted(self.begins.items()):
                for saved, expected in sorted(self.heads.get((self.tenant, lane), {}).items()):
                    place = (self.tenant, lane, saved)
                    if place in self.heads_checked or saved > seq:
                        continue
                    self.heads_pruned.add(place)
                    if saved == seq:
                        self.heads_checked.add(place)
                        self._count("heads_checked")
                        if expected != hash_:
                            self._report({"type": "missing_event", "tenant_id": self.tenant, "lane": lane, "seq": seq,
                                          "event_id": None, "expected": expected, "actual": None})
        if pruned:
            self.pruned_tenants.add(self.tenant)
            self.summary["events_pruned"] = self.summary.get("events_pruned", 0) + pruned
        self.begins, self.ends = {}, {}

    def _count(self, name, number=1):
        self.summary[name] += number

    def _begin(self, header):
        _need(None in (self.log_id, header["log_id"]) or self.log_id == header["log_id"], "an export of another log")
        self.log_id = self.log_id or header["log_id"]
        self.summary["log_id"] = self.log_id
        self.header, self.lane = header, None
        self.walked_log_id = self.log_id
        self.events = self.lanes = 0
        self.erased, self.recorded = {}, {}
        self.is_later = False
        self.tenant, self.waiting, self.begins, self.ends = None, [], {}, {}
        self.pruned_tenants, self.ids = set(), set()
        self._count("exports")
        if header["lanes"] != "whole":
            self.summary["whole"] = self.summary["erasures_checked"] = False

    def _event(self, event):
        _need(not self.is_later, "an event after the later records")
        self.events += 1
        self._count("events_checked")
        self._count("values_erased", len(event.erased))
        whole, lane = self.header["lanes"] == "whole", (event.tenant_id.encode("utf-8"), event.lane)
        saved = self.heads.get((event.tenant_id, event.lane), {})
        if lane != self.lane:
            self._end_lane()
            if self.tenant != event.tenant_id:
                self._end_tenant()
                self.tenant = event.tenant_id
            if self.lane is not None and lane < self.lane:
                self._report(event.broken("chain_break", actual=event.previous))
            self.lane, self.seq, self.last, self.unconfirmed = lane, 0, None, 0
            self.lanes += 1
            self._count("chains_checked")
            if not whole and event.seq > 1:
                self.seq, self.last = event.seq - 1, event.previous or ""
                if event.seq - 1 in saved:
                    self.last = saved[event.seq - 1]
                    self._head_checked(event, event.seq - 1)
                    self._count("links_checked")
                else:
                    self._count("gaps")
        elif self.header["lanes"] == "gaps" and event.seq > self.seq + 1:
            self.seq, self.last, self.unconfirmed = event.seq - 1, event.previous or "", 0
            self._count("gaps")
        else:
            self._count("links_checked")
        self._walk(event)
        for lane_, begin in event.begins.items():
            self.begins[lane_] = max(self.begins.get(lane_, (0, "")), begin, key=lambda known: known[0])
        self.ids.add((event.tenant_id, event.id))
        self.unconfirmed += 1
        if event.seq in saved:
            self._head_checked(event, event.seq)
            if event.stored == saved[event.seq]:
                # It is the hash of all that lead to it. Whoever knows it can make up what follows.
                self.events_confirmed += self.unconfirmed
                self.unconfirmed = 0
            else:
                self._report(event.broken("missing_event", expected=saved[event.seq], actual=event.stored))
        if whole:
            for hash_ in event.erased:
                self.erased[event.tenant_id, event.id, hash_] = event
            self.recorded.update(dict.fromkeys((event.tenant_id, *record) for record in event.recorded))

    def _later_record(self, text):
        """A record of erasures that is newer than the events: hashed, and linked to nothing."""
        _need(text.endswith("}"), "something follows the event")
        text = text[:-1]
        if text.startswith(_BEFORE_DOCUMENT):
            event = read_event(text)
            action = parse(text[len(_BEFORE_DOCUMENT):text.index(',"event_hash":')]).get("action")
            _need(action == "immutable.event_erased", "a later record that is not one of erasures")
        else:
            event = read_no_document(text)
        _need(self.header["lanes"] == "whole", "later records where the lanes are not whole")
        self.is_later = True
        self.summary["later_records"] = self.summary.get("later_records", 0) + 1
        if event.recomputed is None or event.recomputed != event.stored:
            self._report(event.broken("hash_mismatch", expected=event.recomputed, actual=event.stored))
        for record in event.recorded:
            if (event.tenant_id, *record) in self.erased:
                self.recorded[event.tenant_id, *record] = None

    def _head_checked(self, event, seq):
        self.heads_checked.add((event.tenant_id, event.lane, seq))
        self._count("heads_checked")

    def _walk(self, event):
        if event.recomputed is None or event.recomputed != event.stored:
            self._report(event.broken("hash_mismatch", expected=event.recomputed, actual=event.stored))
        if event.seq <= self.seq:
            self._report(event.broken("chain_break", expected=self.last, actual=event.previous))
            return
        if event.seq > self.seq + 1:
            self.waiting.append((event, self.seq))
        elif event.previous != self.last:
            self._report(event.broken("chain_break", expected=self.last, actual=event.previous))
        if event.seq == 1:
            self.walked_log_id = self.walked_log_id or event.log_id
            if event.log_id != self.walked_log_id:
                self._report(event.broken("chain_break", actual=event.previous))
        self.seq, self.last = event.seq, event.stored

    def _end(self, events, lanes):
        self._end_lane()
        self._end_tenant()
        header, self.header = self.header, None
        nowhere = dict.fromkeys(("tenant_id", "lane", "seq", "event_id", "expected", "actual"))
        if header["lanes"] == "whole":
            for (tenant, lane), heads in sorted(self.heads.items(), key=lambda item: (item[0][0].encode(), item[0][1])):
                if header["filters"].get("tenant_id", tenant) != tenant:
                    continue
                for seq in sorted(heads):
                    if (tenant, lane, seq) not in self.heads_checked | self.heads_pruned:
                        self.heads_checked.add((tenant, lane, seq))
                        self._count("heads_checked")
                        self._report({"type": "missing_event", **nowhere, "tenant_id": tenant, "lane": lane,
                                      "seq": seq, "expected": heads[seq]})
            self._report_erasures(nowhere)
        if header["log_id"] is None and self.events:
            self._report({"type": "missing_event", **nowhere})
        if (events, lanes) != (self.events, self.lanes):
            self._report({"type": "missing_event", **nowhere})

    def _report_erasures(self, nowhere):
        # Of a tenant of which events were pruned, the event of a record may be among them.
        back = [record for record in set(self.recorded) - set(self.erased)
                if record[0] not in self.pruned_tenants or record[:2] in self.ids]
        back = sorted(back, key=lambda key: (key[0].encode(), *key[1:]))
        unrecorded = [(event, hash_) for (tenant, id_, hash_), event in self.erased.items()
                      if (tenant, id_, hash_) not in self.recorded]
        unrecorded.sort(key=lambda item: (item[0].tenant_id.encode(), item[0].lane, item[0].seq, item[0].id, item[1]))
        found = [(tenant.encode(), 0, {"type": "erasure_mismatch", **nowhere, "tenant_id": tenant, "event_id": id_,
                                       "expected": hash_}) for tenant, id_, hash_ in back]
        found += [(event.tenant_id.encode(), 1, event.broken("erasure_mismatch", actual=hash_))
                  for event, hash_ in unrecorded]
        for _, _, each in sorted(found, key=lambda item: item[:2]):
            self._report(each)


def read_heads(text):
    """What `SELECT jsonb_agg(h) FROM immutable.heads() h` printed."""
    try:
        heads = json.loads(text) if text.strip() else []
        for head in heads or []:
            if not (isinstance(head["tenant_id"], str) and isinstance(head["lane"], int)
                    and isinstance(head["seq"], int) and re.fullmatch(r"(\\x)?[0-9a-f]{64}", head["event_hash"])):
                raise ValueError
    except (ValueError, TypeError, KeyError):
        raise InputError("the heads are not an array of {tenant_id, lane, seq, event_hash}") from None
    return heads or []


def check_export(files, heads=(), export=None):
    """`files`: (name, lines of bytes). Gives the summary; raises InputError with file and line."""
    export = export or Export(heads)
    for name, lines in files:
        number = 0
        try:
            for number, line in enumerate(lines, 1):
                line = line[:-1] if line.endswith(b"\n") else line
                export.line(line)
        except ExportError as error:
            raise InputError(f"{name}, line {number}: {what_happened(line, number == 1) or error}") from None
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{name}, line {number + 1}: {error}") from None
    try:
        return export.finish()
    except ExportError as error:
        raise InputError(f"{files[-1][0]}: {error}") from None


def _open(name):
    file = sys.stdin.buffer if name == "-" else open(name, "rb")
    file = file if hasattr(file, "peek") else io.BufferedReader(file)
    if file.peek(2)[:2] != b"\x1f\x8b":
        return file
    unpacked = gzip.GzipFile(fileobj=file)
    unpacked.myfileobj = file  # is closed with it
    return unpacked


# ---------------------------------------------------------------------------------------------------------------------
# Command line


def read_row(line):
    """One line of row_to_json to a row. Raises InputError if it is not a row of immutable.events."""
    try:
        try:
            row = _loads(line)
        except RecursionError:
            row = parse(_without_depths(line))
    except FormatError as error:
        raise InputError(str(error)) from None
    if not isinstance(row, dict):
        raise InputError("not a row")
    absent = [column for column in COLUMNS if column not in row]
    if absent:
        raise InputError(f"not a row of immutable.events: no {', '.join(absent)}")
    if not _is_text(row["id"]) or not _is_text(row["tenant_id"]) or _SURROGATE.search(row["id"] + row["tenant_id"]):
        raise InputError("id and tenant_id must be text")
    for column in ("lane", "seq"):
        if not isinstance(row[column], Number) or not _INTEGER.fullmatch(row[column]):
            raise InputError(f"{column} must be an integer")
    for column in ("event_hash", "previous_event_hash"):
        if row[column] is not None and not (_is_text(row[column]) and _BYTEA.fullmatch(row[column])):
            raise InputError(f"{column} must be bytea in hex format (bytea_output)")
    for column in ("created_at", "occurred_at"):
        offset = re.search(r"([-+][0-9:]+)(?: BC)?$", row[column]) if _is_text(row[column]) else None
        if offset and offset[1] != "+00:00":
            raise InputError(f"{column} must be in UTC (SET timezone = 'UTC')")
    return row


_STRING_OR_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*"|[\[\]{}]')


def _without_depths(text, keep=100):
    """The text with everything left out that is nested deeper than `keep`: what remains is too deep as well."""
    kept, depth, done = [], 0, 0
    for match in _STRING_OR_BRACKET.finditer(text):
        if match[0] in "[{":
            depth += 1
            if depth == keep:
                kept.append(text[done:match.end()])
        elif match[0] in "]}":
            if depth == keep:
                done = match.start()
            depth -= 1
    return "".join(kept) + text[done:]


def read_rows(lines):
    """Lines of bytes to rows."""
    for number, line in enumerate(lines, 1):
        try:
            text = line.decode("utf-8").strip(" \t\r\n")
            if text:
                yield read_row(text)
        except UnicodeDecodeError:
            raise InputError(f"line {number}: not UTF-8") from None
        except InputError as error:
            raise InputError(f"line {number}: {error}") from None


def check(rows, in_order=False):
    """The summary that the command line prints. Rows that come in order need not be held in memory."""
    summary = {"rows": 0, "hash_mismatch": [], "canonical_mismatch": [], "breaks": []}

    def links():
        for row in rows:
            summary["rows"] += 1
            if "canonical" in row and row["canonical"] != document(row):
                summary["canonical_mismatch"].append(row["id"])
            now = link(row)
            if now.recomputed is None or now.recomputed != now.stored:
                summary["hash_mismatch"].append(row["id"])
            yield now

    summary["breaks"] = list(walk(links() if in_order else sorted(links(), key=Link.place)))
    return summary


# row_to_json writes no raw control character, so with these two as quote and delimiter COPY quotes and escapes nothing:
# its lines are the JSON texts themselves, and unlike a SELECT in psql they are not collected first.
_COPY = """
COPY (
    SELECT pg_catalog.row_to_json(r)
    FROM (SELECT e.*{canonical} FROM immutable.events e ORDER BY e.tenant_id COLLATE "C", e.lane, e.seq, e.id) r
) TO STDOUT WITH (FORMAT csv, QUOTE E'\\x01', DELIMITER E'\\x02')
"""


def psql_command(arguments, server_canonical=True):
    copy = _COPY.format(canonical=", immutable.canonical(e) AS canonical" if server_canonical else "")
    command = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1"]
    for statement in ("SET timezone = 'UTC'", "SET bytea_output = 'hex'", "SET client_encoding = 'UTF8'", copy):
        command += ["-c", statement]
    return command + list(arguments)


def check_with_psql(arguments, server_canonical=True):
    try:
        psql = subprocess.Popen(psql_command(arguments, server_canonical), stdout=subprocess.PIPE)
    except OSError as error:
        raise InputError(f"psql does not run: {error.strerror}") from None
    with psql:
        try:
            summary = check(read_rows(psql.stdout), in_order=True)
        except BaseException:
            psql.kill()
            raise
    if psql.returncode:
        raise InputError(f"psql failed with exit status {psql.returncode}")
    return summary


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Checks rows of immutable.events, independently of the extension.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("check", help="read row_to_json lines from standard input")
    psql = commands.add_parser("psql", help="run psql and check every event it can see")
    psql.add_argument("--no-canonical", action="store_true", help="do not ask for immutable.canonical(e) to compare")
    export = commands.add_parser("export", help="verify what immutable.export_events() wrote, plain or gzip")
    export.add_argument("--heads", metavar="FILE", help="heads saved earlier, a JSON array")
    export.add_argument("files", nargs="+", metavar="FILE")
    psql.usage = "immutable_format.py psql [-h] [--no-canonical] [-- ARGUMENTS FOR PSQL]"
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    end = arguments.index("--") if "--" in arguments else len(arguments)
    options = parser.parse_args(arguments[:end])
    try:
        if options.command == "check":
            if end < len(arguments):
                parser.error("check takes no arguments")
            summary = check(read_rows(sys.stdin.buffer))
        elif options.command == "export":
            heads = read_heads(open(options.heads, encoding="utf-8").read()) if options.heads else ()
            verified = Export(heads)
            summary = check_export([(name, _open(name)) for name in options.files], export=verified)
            summary = judged(summary, verified.events_confirmed)
        else:
            summary = check_with_psql(arguments[end + 1:], not options.no_canonical)
    except (InputError, OSError) as error:
        print(f"immutable_format.py: {error}", file=sys.stderr)
        return 2
    print(json.dumps(summary))
    if "verdict" in summary:
        return STATUS[summary["verdict"]]
    return 1 if summary["breaks"] or summary.get("canonical_mismatch") else 0


if __name__ == "__main__":
    sys.exit(main())
