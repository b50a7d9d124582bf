#!/usr/bin/env python3
"""Writes tests/vectors/*.json, the same bytes every time. `--check` only says whether the files are up to date.

Every expectation that a person can know is written here by hand: canonical texts, reasons of failure, breaks. The
module computes the rest, and making the vectors fails where the two disagree.
"""

import hashlib
import json
import pathlib
import sys

import immutable_format as fmt
from immutable_format import Number

VECTORS = pathlib.Path(__file__).resolve().parent.parent / "vectors"

COMPOSED, DECOMPOSED = "Jos\u00e9", "Jose\u0301"
GRIN, HEBREW = "\U0001f600", "\ufb33"  # UTF-16 sorts the first before the second, UTF-8 and code points after it


def numbered(n):
    return Number(str(n))


def nested(levels):
    """JSON text of that many arrays, one in the other."""
    return "[" * levels + "]" * levels


# ---------------------------------------------------------------------------------------------------------------------
# canonical.json


def canonical_vectors():
    good = [
        ("empty object", "{}", "{}"),
        ("empty array", "[]", "[]"),
        ("nested empties", ' { "b" : [ { } , [ ] , "" ] , "a" : { "" : { } } } ', '{"a":{"":{}},"b":[{},[],""]}'),
        ("literals", "[ null , true , false ]", "[null,true,false]"),
        ("null", "null", "null"),
        ("string", '"x"', '"x"'),
        ("white space of JSON", "\t\r\n [ 1\n,\t2 ]\r\n", "[1,2]"),
        ("array order is kept", "[3,1,2]", "[3,1,2]"),

        ("keys: RFC 8785, section 3.2.3",
         '{"\\u20ac":"Euro Sign","\\r":"Carriage Return","\\ufb33":"Hebrew Letter Dalet With Dagesh","1":"One",'
         '"\\ud83d\\ude00":"Emoji: Grinning Face","\\u0080":"Control",'
         '"\\u00f6":"Latin Small Letter O With Diaeresis"}',
         '{"\\r":"Carriage Return","1":"One","\u0080":"Control","\u00f6":"Latin Small Letter O With Diaeresis",'
         '"\u20ac":"Euro Sign","\U0001f600":"Emoji: Grinning Face","\ufb33":"Hebrew Letter Dalet With Dagesh"}'),
        ("keys: UTF-16 order, literal text", f'{{"{HEBREW}":1,"{GRIN}":2}}', f'{{"{GRIN}":2,"{HEBREW}":1}}'),
        ("keys: U+E000, U+FFFF and U+10000", '{"\uffff":1,"\ue000":2,"\U00010000":3,"\ud7ff":4}',
         '{"\ud7ff":4,"\U00010000":3,"\ue000":2,"\uffff":1}'),
        ("keys: surrogate pairs that share the first half", '{"\U0001f601":1,"\U0001f600":2}',
         '{"\U0001f600":2,"\U0001f601":1}'),
        ("keys: difference behind an equal beginning", f'{{"a{HEBREW}":1,"a{GRIN}":2,"a":3}}',
         f'{{"a":3,"a{GRIN}":2,"a{HEBREW}":1}}'),
        ("keys: a shorter one first", '{"aa":1,"a":2,"":3,"ab":4}', '{"":3,"a":2,"aa":1,"ab":4}'),
        ("keys: by code, not by length or language", '{"b":1,"a":2,"B":3,"10":4,"9":5,"_":6,"\u00e4":7}',
         '{"10":4,"9":5,"B":3,"_":6,"a":2,"b":1,"\u00e4":7}'),
        ("keys: escaped in the output, sorted unescaped", '{"\\"":1,"!":2,"#":3,"\\\\":4,"\\n":5,"\\u0000":6}',
         '{"\\u0000":6,"\\n":5,"!":2,"\\"":1,"#":3,"\\\\":4}'),
        ("keys: sorted at every level", '[{"b":{"d":1,"c":2},"a":[{"f":1,"e":2}]}]',
         '[{"a":[{"e":2,"f":1}],"b":{"c":2,"d":1}}]'),
        ("keys: case and NFC/NFD are different keys", f'{{"{DECOMPOSED}":1,"{COMPOSED}":2,"A":3,"a":4}}',
         f'{{"A":3,"{DECOMPOSED}":1,"{COMPOSED}":2,"a":4}}'),

        ("strings: NFC and NFD stay", f'["{COMPOSED}","{DECOMPOSED}"]', f'["{COMPOSED}","{DECOMPOSED}"]'),
        ("strings: all controls below 0x20",
         '"' + "".join(f"\\u{code:04X}" for code in range(0x20)) + '"',
         '"\\u0000\\u0001\\u0002\\u0003\\u0004\\u0005\\u0006\\u0007\\b\\t\\n\\u000b\\f\\r\\u000e\\u000f'
         '\\u0010\\u0011\\u0012\\u0013\\u0014\\u0015\\u0016\\u0017\\u0018\\u0019\\u001a\\u001b\\u001c\\u001d\\u001e\\u001f"'),
        ("strings: quote, backslash, slash", '"\\"\\\\\\/\\u0022\\u005c\\u002f"', '"\\"\\\\/\\"\\\\/"'),
        ("strings: short escapes", '"\\b\\t\\n\\f\\r"', '"\\b\\t\\n\\f\\r"'),
        ("strings: DEL, C1, U+2028, U+2029, U+FEFF stay literal", '"\\u007f\\u0080\\u0085\\u2028\\u2029\\ufeff"',
         '"\u007f\u0080\u0085\u2028\u2029\ufeff"'),
        ("strings: escaped letters", '"\\u0041\\u00e9\\u20AC\\uD83D\\uDE00"', '"A\u00e9\u20ac\U0001f600"'),
        ("strings: noncharacters and the last code point", '"\ufdd0\ufffe\uffff\U0010ffff"',
         '"\ufdd0\ufffe\uffff\U0010ffff"'),
        ("strings: markup stays", '"<script>&\'</script>"', '"<script>&\'</script>"'),

        ("numbers: digits after the point stay", "[1.10,0.10,1.0,100.00,1.10]", "[1.10,0.10,1.0,100.00,1.10]"),
        ("numbers: zeros", "[0,0.0,0.000]", "[0,0.0,0.000]"),
        ("numbers: minus zero is verbatim", "[-0,-0.0]", "[-0,-0.0]"),
        ("numbers: 30 digits", "123456789012345678901234567890", "123456789012345678901234567890"),
        ("numbers: 30 digits after the point", "-0.123456789012345678901234567890", "-0.123456789012345678901234567890"),
        ("numbers: over 2^53 and 2^64", "[9007199254740993,18446744073709551617]",
         "[9007199254740993,18446744073709551617]"),
        ("numbers: what jsonb prints for 1e400", "1" + "0" * 400, "1" + "0" * 400),
        ("numbers: what jsonb prints for 1e-400", "0." + "0" * 399 + "1", "0." + "0" * 399 + "1"),
        ("numbers: exponents are verbatim", "[1E5,1e5,1e+5,1E-05,0e0,1.50e10,1e400]",
         "[1E5,1e5,1e+5,1E-05,0e0,1.50e10,1e400]"),
        ("numbers: RFC 8785 would round", "[333333333.33333329,1e-27,4.50,2e-3,0.000001]",
         "[333333333.33333329,1e-27,4.50,2e-3,0.000001]"),

        ("nesting: 64 arrays", nested(64), nested(64)),
        ("nesting: 64 objects", '{"a":' * 63 + "{}" + "}" * 63, '{"a":' * 63 + "{}" + "}" * 63),
        ("nesting: a scalar at level 64 adds none", "[" * 64 + "1" + "]" * 64, "[" * 64 + "1" + "]" * 64),
        ("nesting: many side by side", "[" + ",".join([nested(63)] * 3) + "]", "[" + ",".join([nested(63)] * 3) + "]"),
    ]
    too_deep, not_json = "nested deeper than 64 levels", "not JSON"
    bad = [
        ("nesting: 65 arrays", nested(65), too_deep),
        ("nesting: 65 objects", '{"a":' * 64 + "{}" + "}" * 64, too_deep),
        ("nesting: 65, mixed", '[{"a":' * 32 + "[]" + "}]" * 32, too_deep),
        ("nesting: 65, not the first member", "[1," + nested(64) + "]", too_deep),
        ("nesting: 10,000", nested(10000), too_deep),
        ("duplicate key", '{"a":1,"a":1}', "duplicate key"),
        ("duplicate key, written differently", '{"a":1,"\\u0061":2}', "duplicate key"),
        ("duplicate key, inside", '[{"x":{"":1,"":2}}]', "duplicate key"),
        ("lone high surrogate", '"\\ud83d"', "lone surrogate"),
        ("lone low surrogate", '"\\ude00"', "lone surrogate"),
        ("surrogates in the wrong order", '"\\ude00\\ud83d"', "lone surrogate"),
        ("high surrogate before a letter", '"\\ud83dx"', "lone surrogate"),
        ("two high surrogates", '"\\ud83d\\ud83d\\ude00"', "lone surrogate"),
        ("lone surrogate in a key", '{"\\udfff":1}', "lone surrogate"),
    ] + [(f"not JSON: {text!a}", text, not_json) for text in (
        "", " ", "NaN", "[Infinity]", "-Infinity", "nan", "01", "-01", "00", "+1", ".5", "1.", "-", "-.5", "1.e5", "1e",
        "1e+", "0x10", "1_000", "1,000", "\uff11", "[1.5.2]", "tru", "True", "nulll", "'a'", '"a', '"\t"', '"\n"',
        '"\x00"', '"\\x41"', '"\\u12"', '"\\u+123"', '"\\U0041"', "[1,]", "[,1]", "[1 2]", "[", "]", '{"a":1,}',
        '{"a"}', '{"a":}', "{1:2}", "{a:1}", '{"a":1', "[] []", "[]x", "[1]//", "/**/1", "\ufeff{}", "\u00a01",
        "\x0b1", "\x0c1")]

    vectors = []
    for name, text, expected in good:
        assert fmt.canonical(fmt.parse(text)) == expected, name
        vectors.append({"name": name, "input": text, "canonical": expected})
    for name, text, reason in bad:
        try:
            raise AssertionError(f"{name}: {fmt.canonical(fmt.parse(text))}")
        except fmt.FormatError as error:
            assert str(error) == reason, (name, str(error))
        vectors.append({"name": name, "input": text, "error": reason})
    return vectors


# ---------------------------------------------------------------------------------------------------------------------
# Rows

ID = "0195d3a0-6c1e-7c3a-9f00-{:012x}"
LOG_ID = "7f3e1c52-9d0b-4a86-b6f4-2f8f5d1c0e9a"


def bytea(data):
    return "\\x" + data.hex()


def some_hash(name):
    return hashlib.sha256(name.encode()).hexdigest()


def plain(**columns):
    """The smallest row there is, with these columns instead, and its hash."""
    row = dict.fromkeys(fmt.COLUMNS)
    row.update(
        id=ID.format(1), tenant_id="acme", actor_id="user-17", action="document.viewed", targets=[], metadata={},
        occurred_at="2026-03-15T14:32:18.8+00:00", created_at="2026-03-15T14:32:18.847312+00:00", lane=numbered(0),
        seq=numbered(1), salt=bytea(bytes(range(16))), recorded_by="app_writer", log_id=LOG_ID)
    assert set(columns) <= set(row)
    row.update(columns)
    return sealed(row)


def full(**columns):
    """A row with every column, with these instead, and its hash."""
    row = dict(
        id=ID.format(2), actor_name="Jos\u00e9 \u00c1lvarez", actor_type="user", action="document.shared",
        action_category="access", resource_type="document", resource_id="doc-9", resource_name='Plan "B"',
        targets=[{"type": "group", "id": "g-1", "name": "Auditors"},
                 {"type": "user", "id": "u-2", "metadata": {"role": "viewer", "quota": Number("1.10")}},
                 {"type": "user", "id": "u-3"}, {"type": "workspace"}],
        metadata={"reason": "ticket 4711", "amount": Number("0.10"), "nothing": None, "deep": {"list": [{}, []]}},
        session_id="s-1", idempotency_key="k-1", ip_address="203.0.113.7", ip_country="DE", ip_city="K\u00f6ln",
        user_agent="Mozilla/5.0", version=numbered(3), lane=numbered(2), seq=numbered(7), log_id=None,
        previous_event_hash=bytea(bytes.fromhex(some_hash("previous"))), salt=bytea(bytes(range(16, 32))))
    row.update(columns)
    return plain(**row)


def sealed(row):
    """The row with its own hash, or with one that fits nothing if it has none."""
    hash_ = fmt.event_hash(row)
    return dict(row, event_hash="\\x" + (hash_ or "ee" * 32))


def changed(row, **columns):
    """The row with these columns instead, its stored hash as it was."""
    assert set(columns) <= set(row)
    return {**row, **columns}


def row_text(row):
    """The row as row_to_json prints it: columns in their order, numbers with their own text."""
    return "{" + ",".join(f'"{column}":' + fmt.canonical(row[column], max_depth=None) for column in fmt.COLUMNS) + "}"


def sized(size, make):
    """The value that `make` makes of a text so long that the canonical text has exactly that many bytes."""
    value = make("x" * (size - len(fmt.canonical(make("")).encode())))
    assert len(fmt.canonical(value).encode()) == size
    return value


# ---------------------------------------------------------------------------------------------------------------------
# events.json


def event_vectors():
    good = [
        ("smallest", plain()),
        ("every column", full()),
        ("no tenant", plain(tenant_id="")),
        ("empty texts are present", plain(
            actor_id="", actor_name="", actor_type="", action="", action_category="", resource_type="", resource_id="",
            resource_name="", session_id="", idempotency_key="", ip_country="", ip_city="", user_agent="",
            recorded_by="")),
        ("texts that look like something else", plain(
            tenant_id="null", actor_id="17", actor_name="true", resource_id="{}", user_agent="\\x00", session_id="1.10")),
        ("largest numbers", full(version=numbered(2147483647), lane=numbered(32767), seq=numbered(9223372036854775807))),
        ("negative and zero version", plain(version=numbered(-2147483648))),
        ("version 0", plain(version=numbered(0))),

        ("text: NFC", plain(actor_name=COMPOSED)),
        ("text: NFD", plain(actor_name=DECOMPOSED)),
        ("text: controls, quotes, astral", plain(
            tenant_id='a"b\\c\u00e9\u2028' + GRIN, action="a\tb", actor_name="".join(map(chr, range(1, 32))),
            user_agent='"\\/\x7f\u0085\ufeff' + GRIN, recorded_by='role "x"', resource_type="t\nt", actor_type="\x01")),

        ("ip: IPv4", plain(ip_address="203.0.113.7")),
        ("ip: IPv4 with netmask", plain(ip_address="203.0.113.0/24")),
        ("ip: IPv4 host with netmask", plain(ip_address="10.1.2.3/8")),
        ("ip: IPv4 in IPv6", plain(ip_address="::1.2.3.4")),
        ("ip: IPv4-mapped", plain(ip_address="::ffff:1.2.3.4")),
        ("ip: IPv6", plain(ip_address="2001:db8::1")),
        ("ip: IPv6 with netmask", plain(ip_address="2001:db8::/32")),
        ("ip: unspecified", plain(ip_address="::")),

        ("time: no fraction", plain(occurred_at="2026-03-15T14:32:18+00:00")),
        ("time: trailing zeros trimmed", plain(occurred_at="2026-03-15T14:32:18.1+00:00",
                                               created_at="2026-03-15T14:32:18.12345+00:00")),
        ("time: leading zeros of the fraction", plain(occurred_at="2026-03-15T14:32:18.000001+00:00")),
        ("time: year 0001", plain(occurred_at="0001-01-01T00:00:00+00:00")),
        ("time: year 9999", plain(occurred_at="9999-12-31T23:59:59.999999+00:00")),
        ("time: leap day", plain(occurred_at="2024-02-29T00:00:00+00:00")),
        ("time: before 1970", plain(occurred_at="1969-12-31T23:59:59.5+00:00")),

        ("text: 65,536 bytes", plain(actor_name="\u00e9" * 32768, user_agent="x" * 65536, action="y" * 65536)),
        ("metadata: 1000 keys", plain(metadata={f"k{n:03}": numbered(n) for n in range(1000)})),
        ("metadata: JSON null has a commitment", plain(metadata={"a": None})),
        ("metadata: nested empties", plain(metadata={"a": {}, "b": [], "c": "", "d": {"": [{}]}})),
        ("metadata: dotted and empty keys", plain(metadata={
            "": 1, ".": 2, "a.b": 3, "a": {"b": 3}, "metadata.a": 4, "targets.0": 5, "actor_id": 6})),
        ("metadata: keys in UTF-16 order, NFC and NFD", plain(metadata={
            HEBREW: {HEBREW: 1, GRIN: 2}, GRIN: "x", COMPOSED: 1, DECOMPOSED: 2})),
        ("metadata: keys with controls and quotes", plain(metadata={"\n": 1, '"': 2, "\\": 3, "\x7f": 4, " ": 5})),
        ("metadata: the same value under two keys", plain(metadata={"a": "same", "b": "same"})),
        ("metadata: numbers", plain(metadata={"n": [Number(text) for text in (
            "0", "1.10", "0.10", "1.00", "-5", "123456789012345678901234567890", "1" + "0" * 400, "0." + "0" * 399 + "1")]})),
        ("metadata: number and text differ", plain(metadata={"a": Number("1"), "b": "1", "c": True, "d": "true"})),
        ("metadata: one level deep of 64", plain(metadata={"a": fmt.parse(nested(63))})),
        ("metadata: 65,536 bytes", plain(metadata=sized(65536, lambda text: {"a": text}))),
        ("metadata: 65,536 bytes, fewer letters", plain(metadata=sized(65536, lambda text: {"\u00e4": GRIN + text}))),
        ("metadata: 200 keys", plain(metadata={f"key{n}": numbered(n) for n in range(200)})),

        ("targets: one", plain(targets=[{"type": "user"}])),
        ("targets: the stored order counts", plain(targets=[{"type": "z"}, {"type": "a"}, {"type": "m", "id": "1"}])),
        ("targets: two alike", plain(targets=[{"type": "user", "id": "1"}, {"type": "user", "id": "1"}])),
        ("targets: empty texts and metadata", plain(targets=[{"type": "", "id": "", "name": "", "metadata": {}}])),
        ("targets: 12, positions of two digits", plain(targets=[{"type": "t", "id": f"{n:02}"} for n in range(12)])),
        ("targets: 1000", plain(targets=[{"type": "t"}] * 1000)),
        ("targets: nested 64", plain(targets=[{"type": "t", "metadata": {"a": fmt.parse(nested(62))}}])),
        ("targets: one of 65,536 bytes", plain(targets=[sized(65536, lambda text: {"type": "t", "name": text})])),

        ("an event of the extension's own", plain(
            action="immutable.event_erased", actor_id="dpo", metadata={"reason": "request 12"},
            targets=[{"type": "immutable.event", "id": ID.format(9), "metadata": {"commitments": [some_hash("x")]}}])),
    ]

    ok = plain()
    deep = {"a": fmt.parse(nested(64))}
    big_number = Number("1" + "0" * 65536)
    year = "{} is outside the years 0001 to 9999".format
    bad = [(f"{column} missing", {column: None}, f"{column} is missing") for column in (
        "id", "tenant_id", "actor_id", "action", "recorded_by", "occurred_at", "created_at", "lane", "seq")]
    bad = [(name, changed(ok, **columns), why) for name, columns, why in bad + [
        ("metadata missing", {"metadata": None}, "metadata is not an object"),
        ("targets missing", {"targets": None}, "targets is not an array"),
        ("no salt, nothing erased", {"salt": None}, "exactly one of salt and erased must be present"),
        ("salt of 15 bytes", {"salt": bytea(bytes(15))}, "salt is not 16 bytes"),
        ("salt of 17 bytes", {"salt": bytea(bytes(17))}, "salt is not 16 bytes"),
        ("salt empty", {"salt": "\\x"}, "salt is not 16 bytes"),

        ("first event with a previous hash", {"previous_event_hash": bytea(bytes(32))},
         "previous_event_hash is present at seq 1"),
        ("first event without log_id", {"log_id": None}, "log_id is missing"),
        ("second event without a previous hash", {"seq": numbered(2), "log_id": None}, "previous_event_hash is missing"),
        ("second event with log_id", {"seq": numbered(2), "previous_event_hash": bytea(bytes(32))},
         "log_id is present after seq 1"),
        ("previous hash of 31 bytes", {"seq": numbered(2), "log_id": None, "previous_event_hash": bytea(bytes(31))},
         "previous_event_hash is not 32 bytes"),
        ("previous hash of 33 bytes", {"seq": numbered(2), "log_id": None, "previous_event_hash": bytea(bytes(33))},
         "previous_event_hash is not 32 bytes"),
        ("seq 0", {"seq": numbered(0)}, "seq is less than 1"),
        ("negative seq", {"seq": numbered(-1)}, "seq is less than 1"),
        ("negative lane", {"lane": numbered(-1)}, "lane is negative"),

        ("time: year 10000", {"occurred_at": "10000-01-01T00:00:00+00:00"}, year("occurred_at")),
        ("time: 1 BC", {"occurred_at": "0001-12-31T23:59:59.999999+00:00 BC"}, year("occurred_at")),
        ("time: infinity", {"occurred_at": "infinity"}, year("occurred_at")),
        ("time: -infinity", {"occurred_at": "-infinity"}, year("occurred_at")),
        ("time: created in the year 10000", {"created_at": "10000-01-01T00:00:00+00:00"}, year("created_at")),
        ("time: created at infinity", {"created_at": "infinity"}, year("created_at")),

        *((f"text: {column} of 65,537 bytes", {column: "\u00e9" + "x" * 65535}, f"{column} is longer than 65536 bytes")
          for column in ("tenant_id", "actor_id", "actor_type", "action", "user_agent", "recorded_by")),
        ("metadata: 1001 keys", {"metadata": {f"k{n:04}": numbered(n) for n in range(1001)}},
         "more than 1000 metadata keys"),
        ("metadata: array", {"metadata": []}, "metadata is not an object"),
        ("metadata: string", {"metadata": "x"}, "metadata is not an object"),
        ("metadata: number", {"metadata": Number("1")}, "metadata is not an object"),
        ("metadata: nested 65", {"metadata": deep}, "metadata: nested deeper than 64 levels"),
        ("metadata: 65,537 bytes", {"metadata": sized(65537, lambda text: {"a": text})},
         "metadata: canonical text longer than 65536 bytes"),
        ("metadata: 65,537 bytes, fewer letters", {"metadata": sized(65537, lambda text: {"\u00e4": GRIN + text})},
         "metadata: canonical text longer than 65536 bytes"),
        ("metadata: a number of 65,537 digits", {"metadata": {"n": big_number}},
         "metadata: canonical text longer than 65536 bytes"),

        ("targets: object", {"targets": {}}, "targets is not an array"),
        ("targets: string", {"targets": "user"}, "targets is not an array"),
        ("targets: 1001", {"targets": [{"type": "t"}] * 1001}, "more than 1000 targets"),
        ("targets: string in it", {"targets": ["user"]}, "a target is not an object"),
        ("targets: null in it", {"targets": [None]}, "a target is not an object"),
        ("targets: array in it", {"targets": [[]]}, "a target is not an object"),
        ("targets: empty object in it", {"targets": [{}]}, "a target has no type"),
        ("targets: no type", {"targets": [{"id": "1"}]}, "a target has no type"),
        ("targets: null type", {"targets": [{"type": None}]}, "the type of a target is not a string"),
        ("targets: number as type", {"targets": [{"type": Number("1")}]}, "the type of a target is not a string"),
        ("targets: null id", {"targets": [{"type": "t", "id": None}]}, "the id of a target is not a string"),
        ("targets: number as id", {"targets": [{"type": "t", "id": Number("1")}]}, "the id of a target is not a string"),
        ("targets: null name", {"targets": [{"type": "t", "name": None}]}, "the name of a target is not a string"),
        ("targets: array as name", {"targets": [{"type": "t", "name": []}]}, "the name of a target is not a string"),
        ("targets: null metadata", {"targets": [{"type": "t", "metadata": None}]},
         "the metadata of a target is not an object"),
        ("targets: array as metadata", {"targets": [{"type": "t", "metadata": []}]},
         "the metadata of a target is not an object"),
        ("targets: unknown member", {"targets": [{"type": "t", "role": "x"}]}, "a target has an unknown member"),
        ("targets: member in capitals", {"targets": [{"type": "t", "ID": "x"}]}, "a target has an unknown member"),
        ("targets: the second one is wrong", {"targets": [{"type": "t"}, {"type": "t", "id": True}]},
         "the id of a target is not a string"),
        ("targets: nested 65", {"targets": [{"type": "t", "metadata": {"a": fmt.parse(nested(63))}}]},
         "a target: nested deeper than 64 levels"),
        ("targets: one of 65,537 bytes", {"targets": [sized(65537, lambda text: {"type": "t", "name": text})]},
         "a target: canonical text longer than 65536 bytes"),
    ]]

    erased_good, erased_bad = erased_rows()
    vectors = []
    for name, row in good + erased_good:
        assert fmt.document(row) is not None, (name, fmt.why_no_document(row))
        assert row["event_hash"] == "\\x" + fmt.event_hash(row), name
        vectors.append({"name": name, "row": row_text(row), "document": fmt.document(row),
                        "event_hash": fmt.event_hash(row), "commitments": fmt.commitments(row)})
    for name, row, why in bad + erased_bad:
        assert fmt.why_no_document(row) == why, (name, fmt.why_no_document(row))
        vectors.append({"name": name, "row": row_text(row), "document": None, "why": why})
    return vectors


def everything(row):
    return list(fmt.commitments(row))


def erased_rows():
    before = full()
    own = plain(action="immutable.event_erased", actor_id="dpo", metadata={"reason": "request 12", "n": numbered(1)},
                targets=[{"type": "immutable.event", "id": ID.format(9)}])
    one = fmt.erase(before, ["actor_name"])
    two = fmt.erase(one, ["metadata.amount", "targets.1"])
    good = [(f"erased: {column}", fmt.erase(before, [column])) for column in fmt.ERASABLE] + [
        ("erased: all columns", fmt.erase(before, fmt.ERASABLE)),
        ("erased: a metadata key", fmt.erase(before, ["metadata.reason"])),
        ("erased: a metadata key that holds JSON null", fmt.erase(before, ["metadata.nothing"])),
        ("erased: two metadata keys", fmt.erase(before, ["metadata.reason", "metadata.deep"])),
        ("erased: all metadata", fmt.erase(before, [path for path in everything(before) if path[:9] == "metadata."])),
        ("erased: a target", fmt.erase(before, ["targets.1"])),
        ("erased: a target that has its type alone", fmt.erase(before, ["targets.3"])),
        ("erased: all targets", fmt.erase(before, [f"targets.{n}" for n in range(4)])),
        ("erased: everything", fmt.erase(before, everything(before))),
        ("erased: everything of the smallest", fmt.erase(plain(), ["actor_id"])),
        ("erased: twice", two),
        ("erased: three times, all that is left", fmt.erase(two, everything(two))),
        ("erased: dotted and empty keys", fmt.erase(
            plain(metadata={"": 1, "a.b": 2, "a": {"b": 3}, "targets.0": 4, ".": 5}), ["metadata.", "metadata.a.b"])),
        ("erased: target 11", fmt.erase(plain(targets=[{"type": "t"}] * 12), ["targets.11"])),
        ("erased: the reason of an event of the extension's own", fmt.erase(own, ["metadata.reason"])),
    ]

    # What comes next is built by hand from a good erased row: columns erased and present, keys, targets, all kinds.
    row = fmt.erase(before, ["actor_name", "ip_city", "metadata.reason", "metadata.amount", "targets.1", "targets.2"])
    hashes, salts = row["erased"]["commitments"], row["erased"]["salts"]
    old = fmt.commitments(before)

    def with_hashes(**members):
        """The row with these erased commitments instead; None leaves one out."""
        members = {name: value for name, value in {**hashes, **members}.items() if value is not None}
        return changed(row, erased={"commitments": members, "salts": salts})

    def with_salts(**members):
        members = {path: value for path, value in {**salts, **members}.items() if value is not None}
        return changed(row, erased={"commitments": hashes, "salts": members})

    def with_targets(**positions):
        positions = {name[1:]: value for name, value in positions.items()}
        return with_hashes(targets={**hashes["targets"], **positions})

    def target(n, value):
        return changed(row, targets=row["targets"][:n] + [value] + row["targets"][n + 1:])

    both_hashes = hashes["metadata"]
    members = "erased must have exactly the members commitments and salts"
    objects = "erased: commitments and salts must be objects"
    exactly_one = "exactly one of salt and erased must be present"
    salts_for = "erased: salts must be there for exactly the paths that are present"
    column_hex = "erased: the commitment of actor_name is not 64 hex digits"
    metadata_hex = "erased: a metadata commitment is not 64 hex digits"
    target_hex = "erased: a target commitment is not 64 hex digits"
    metadata_array = "erased: metadata must be an array that is not empty"
    targets_object = "erased: targets must be an object that is not empty"
    ascending = "erased: metadata commitments are not strictly ascending"
    no_position = "erased: no such target position"
    type_alone = "erased: an erased target must have its type alone"
    only_reason = "erased: only metadata.reason of an event of the extension's own can be erased"
    salt_hex = "erased: the salt of actor_id is not 32 hex digits"

    bad = [
        ("salt beside erased", changed(row, salt=before["salt"]), exactly_one),
        ("unknown member", changed(row, erased={**row["erased"], "by": "me"}), members),
        ("no commitments member", changed(row, erased={"salts": salts}), members),
        ("no salts member", changed(row, erased={"commitments": hashes}), members),
        ("empty object", changed(row, erased={}), members),
        ("array", changed(row, erased=[]), members),
        ("string", changed(row, erased="x"), members),
        ("false", changed(row, erased=False), members),
        ("commitments is an array", changed(row, erased={"commitments": [], "salts": salts}), objects),
        ("commitments is null", changed(row, erased={"commitments": None, "salts": salts}), objects),
        ("salts is null", changed(row, erased={"commitments": hashes, "salts": None}), objects),
        ("salts is an array", changed(row, erased={"commitments": hashes, "salts": []}), objects),
        ("no commitments", changed(before, salt=None, erased={"commitments": {}, "salts": {
            path: fmt.leaf_salt(bytes(range(16, 32)), path) for path in old}}), "erased: no commitments"),
        ("commitment of a column that is never erased", with_hashes(action=some_hash("x")),
         "erased: unknown commitment action"),
        ("commitment of a path", with_hashes(**{"metadata.deep": some_hash("x")}),
         "erased: unknown commitment metadata.deep"),
        ("commitment of a column that does not exist", with_hashes(email=some_hash("x")),
         "erased: unknown commitment email"),

        ("value beside its commitment, a column", changed(row, actor_name=before["actor_name"]),
         "erased: actor_name is present beside its commitment"),
        ("value and salt beside the commitment, a column",
         changed(row, actor_name=before["actor_name"], erased={"commitments": hashes, "salts": {
             **salts, "actor_name": fmt.leaf_salt(bytes(range(16, 32)), "actor_name")}}),
         "erased: actor_name is present beside its commitment"),
        ("another value beside the commitment, a column", changed(row, actor_name=""),
         "erased: actor_name is present beside its commitment"),
        ("value beside its commitment, a metadata key",
         changed(row, metadata={**row["metadata"], "reason": before["metadata"]["reason"]}, erased={
             "commitments": hashes,
             "salts": {**salts, "metadata.reason": fmt.leaf_salt(bytes(range(16, 32)), "metadata.reason")}}),
         "metadata: the same commitment twice"),
        ("value without salt, a metadata key",
         changed(row, metadata={**row["metadata"], "reason": before["metadata"]["reason"]}), salts_for),
        ("value beside its commitment, a target", target(1, before["targets"][1]), type_alone),
        ("erased target with an id", target(1, {"type": "user", "id": "x"}), type_alone),
        ("erased target with empty metadata", target(1, {"type": "user", "metadata": {}}), type_alone),

        ("no actor_id and no commitment of it", changed(row, actor_id=None), "actor_id is missing"),

        ("column: upper-case hash", with_hashes(actor_name=hashes["actor_name"].upper()), column_hex),
        ("column: hash of 63 digits", with_hashes(actor_name=hashes["actor_name"][:63]), column_hex),
        ("column: hash of 65 digits", with_hashes(actor_name=hashes["actor_name"] + "0"), column_hex),
        ("column: hash and line feed", with_hashes(actor_name=hashes["actor_name"] + "\n"), column_hex),
        ("column: hash with \\x", with_hashes(actor_name="\\x" + hashes["actor_name"][2:]), column_hex),
        ("column: a number of 64 digits", with_hashes(actor_name=Number("1" * 64)), column_hex),
        ("column: null", changed(row, erased={"commitments": {**hashes, "actor_name": None}, "salts": salts}), column_hex),

        ("metadata: object", with_hashes(metadata={"0": both_hashes[0]}), metadata_array),
        ("metadata: string", with_hashes(metadata=both_hashes[0]), metadata_array),
        ("metadata: empty array", with_hashes(metadata=[]), metadata_array),
        ("metadata: descending", with_hashes(metadata=both_hashes[::-1]), ascending),
        ("metadata: the same twice", with_hashes(metadata=both_hashes[:1] * 2), ascending),
        ("metadata: upper-case hash", with_hashes(metadata=[both_hashes[0].upper(), both_hashes[1]]), metadata_hex),
        ("metadata: short hash", with_hashes(metadata=[both_hashes[0], both_hashes[1][:62]]), metadata_hex),
        ("metadata: null in it", with_hashes(metadata=[None]), metadata_hex),

        ("targets: array", with_hashes(targets=[hashes["targets"]["1"]]), targets_object),
        ("targets: empty object", with_hashes(targets={}), targets_object),
        ("targets: position beyond the last", with_targets(_4=some_hash("x")), no_position),
        ("targets: position with a leading zero", with_targets(_01=some_hash("x")), no_position),
        ("targets: position -0", with_targets(**{"_-0": some_hash("x")}), no_position),
        ("targets: position +1", with_targets(**{"_+1": some_hash("x")}), no_position),
        ("targets: position with a space", with_targets(**{"_ 3": some_hash("x")}), no_position),
        ("targets: position empty", with_targets(_=some_hash("x")), no_position),
        ("targets: position 2^64", with_targets(_18446744073709551616=some_hash("x")), no_position),
        ("targets: position in other digits", with_targets(**{"_\u0663": some_hash("x")}), no_position),
        ("targets: upper-case hash", with_targets(_1=hashes["targets"]["1"].upper()), target_hex),
        ("targets: short hash", with_targets(_1=hashes["targets"]["1"][:60]), target_hex),
        ("targets: null", with_targets(_1=None), target_hex),

        ("salts: one missing", with_salts(actor_id=None), salts_for),
        ("salts: one of an erased column", with_salts(actor_name="00" * 16), salts_for),
        ("salts: one of an erased metadata key", with_salts(**{"metadata.reason": "00" * 16}), salts_for),
        ("salts: one of an erased target", with_salts(**{"targets.1": "00" * 16}), salts_for),
        ("salts: one of a path that does not exist", with_salts(action="00" * 16), salts_for),
        ("salts: target position with a leading zero", with_salts(**{"targets.0": None, "targets.00": "00" * 16}), salts_for),
        ("salts: none", changed(row, erased={"commitments": hashes, "salts": {}}), salts_for),
        ("salts: upper-case", with_salts(actor_id="AB" * 16), salt_hex),
        ("salts: short", with_salts(actor_id=salts["actor_id"][:30]), salt_hex),
        ("salts: long", with_salts(actor_id=salts["actor_id"] * 2), salt_hex),
        ("salts: number", with_salts(actor_id=Number("1" * 32)), salt_hex),
        ("salts: null", changed(row, erased={"commitments": hashes, "salts": {**salts, "actor_id": None}}), salt_hex),

        ("an event of the extension's own: a column", changed(fmt.erase(full(), ["ip_city"]),
                                                              action="immutable.pruned"), only_reason),
        ("an event of the extension's own: a target", changed(fmt.erase(full(), ["targets.0"]),
                                                              action="immutable.event_erased"), only_reason),
        ("an event of the extension's own: two keys", changed(
            fmt.erase(full(), ["metadata.reason", "metadata.deep"]), action="immutable.event_erased"), only_reason),
        ("an event of the extension's own: a key and a column", changed(
            fmt.erase(full(), ["metadata.reason", "ip_city"]), action="immutable.event_erased"), only_reason),
        ("metadata that remains is nested 65", changed(row, metadata={"deep": {"a": fmt.parse(nested(63))}}),
         "metadata: nested deeper than 64 levels"),
    ]
    return good, [("bad erasure: " + name, row, why) for name, row, why in bad]


# ---------------------------------------------------------------------------------------------------------------------
# erasure.json


def erasure_vectors():
    before, vectors = full(), []
    own = plain(action="immutable.event_erased", actor_id="dpo", metadata={"reason": "request 12", "n": numbered(1)},
                targets=[{"type": "immutable.event", "id": ID.format(9)}])
    odd = plain(metadata={"": 1, "a.b": 2, "a": {"b": 3}, "targets.0": None, HEBREW: 4, GRIN: 5},
                targets=[{"type": "t", "id": f"{n:02}"} for n in range(12)])
    once = fmt.erase(before, ["actor_id", "metadata.reason", "targets.0"])
    twice = fmt.erase(once, ["actor_name", "metadata.amount", "targets.2"])

    for name, row, paths in [(column, before, [column]) for column in fmt.ERASABLE] + [
            ("all columns", before, list(fmt.ERASABLE)),
            ("a metadata key", before, ["metadata.reason"]),
            ("a metadata key that holds JSON null", before, ["metadata.nothing"]),
            ("a target", before, ["targets.1"]),
            ("a target that has its type alone", before, ["targets.3"]),
            ("all kinds at once", before, ["actor_id", "metadata.reason", "targets.0"]),
            ("a second time", once, ["actor_name", "metadata.amount", "targets.2"]),
            ("a third time, all that is left", twice, everything(twice)),
            ("everything", before, everything(before)),
            ("empty key", odd, ["metadata."]),
            ("dotted key", odd, ["metadata.a.b"]),
            ("key that looks like a target", odd, ["metadata.targets.0"]),
            ("keys in UTF-16 order", odd, ["metadata." + GRIN, "metadata." + HEBREW]),
            ("target 10 and 2", odd, ["targets.10", "targets.2"]),
            ("the reason of an event of the extension's own", own, ["metadata.reason"])]:
        after = fmt.erase(row, paths)
        assert fmt.document(after) == fmt.document(row), name
        vectors.append({"name": name, "row": row_text(row), "paths": paths, "erased_row": row_text(after),
                        "document": fmt.document(row), "event_hash": fmt.event_hash(row)})

    not_there, own_event = "nothing to erase at {}".format, "{} of an event of the extension's own cannot be erased".format
    for name, row, paths, error in [
            ("no paths", before, [], "nothing to erase"),
            ("a column that is NULL", plain(), ["actor_name"], not_there("actor_name")),
            ("a column that is erased already", once, ["actor_id"], not_there("actor_id")),
            ("a metadata key that is erased already", once, ["metadata.reason"], not_there("metadata.reason")),
            ("a target that is erased already", once, ["targets.0"], not_there("targets.0")),
            ("one of two is not there", before, ["actor_id", "metadata.x"], not_there("metadata.x")),
            ("a target beyond the last", before, ["targets.4"], not_there("targets.4")),
            ("a target with a leading zero", before, ["targets.01"], not_there("targets.01")),
            ("all metadata", before, ["metadata"], not_there("metadata")),
            ("all targets", before, ["targets"], not_there("targets")),
            ("a key inside a key", before, ["metadata.deep.list"], not_there("metadata.deep.list")),
            ("a member of a target", before, ["targets.0.name"], not_there("targets.0.name")),
            ("empty path", before, [""], not_there("")),
            *((f"never: {column}", before, [column], not_there(column)) for column in (
                "tenant_id", "id", "action", "action_category", "actor_type", "resource_type", "recorded_by", "version",
                "occurred_at", "created_at", "lane", "seq", "event_hash", "salt")),
            ("actor_id of an event of the extension's own", own, ["actor_id"], own_event("actor_id")),
            ("another key of an event of the extension's own", own, ["metadata.n"], own_event("metadata.n")),
            ("a target of an event of the extension's own", own, ["targets.0"], own_event("targets.0"))]:
        try:
            raise AssertionError(f"{name}: {fmt.erase(row, paths)}")
        except ValueError as refused:
            assert str(refused) == error, (name, str(refused))
        vectors.append({"name": name, "row": row_text(row), "paths": paths, "error": error})
    return vectors


# ---------------------------------------------------------------------------------------------------------------------
# chains.json


def lane(length, tenant="acme", lane_number=0, first_id=1):
    """The rows of a lane that is as it should be."""
    rows = []
    for seq in range(1, length + 1):
        rows.append(plain(
            id=ID.format(first_id + seq - 1), tenant_id=tenant, lane=numbered(lane_number), seq=numbered(seq),
            created_at=f"2026-03-15T14:32:18.{seq:06}".rstrip("0") + "+00:00", occurred_at="2026-03-15T14:00:00+00:00",
            metadata={"n": numbered(seq)}, log_id=LOG_ID if seq == 1 else None,
            previous_event_hash=rows[-1]["event_hash"] if rows else None,
            salt=bytea(hashlib.sha256(f"{tenant}/{lane_number}/{seq}".encode()).digest()[:16])))
    return rows


def hex_(row):
    return row["event_hash"][2:]


def broken(kind, row, expected=None, actual=None):
    return {"type": kind, "tenant_id": row["tenant_id"], "lane": int(row["lane"]), "seq": int(row["seq"]),
            "event_id": row["id"], "expected": expected, "actual": actual}


def missing(seq, tenant="acme", lane_number=0):
    return {"type": "missing_event", "tenant_id": tenant, "lane": lane_number, "seq": seq, "event_id": None,
            "expected": None, "actual": None}


def chain_vectors():
    a = lane(5)
    b = lane(3, lane_number=1, first_id=0x101)
    other = lane(3, tenant="globex", first_id=0x201)
    grin, hebrew = lane(2, tenant=GRIN, first_id=0x301), lane(2, tenant=HEBREW, first_id=0x401)

    def replaced(n, row):
        return a[:n] + [row] + a[n + 1:]

    edited = changed(a[2], action="document.deleted")
    resealed = sealed(edited)
    no_document = changed(a[2], metadata=[])
    no_hash = changed(a[2], event_hash=None)
    short_hash = changed(a[2], event_hash=a[2]["event_hash"][:-2])
    relinked = sealed(changed(a[2], previous_event_hash=bytea(bytes(32))))
    unlinked = changed(a[2], previous_event_hash=None)
    linked_first = changed(a[0], previous_event_hash=bytea(bytes(32)))
    fork = sealed(changed(a[2], id=ID.format(0x99), action="document.deleted"))
    erased = [fmt.erase(a[0], ["actor_id"]), a[1], fmt.erase(a[2], ["metadata.n"]), fmt.erase(a[3], everything(a[3])), a[4]]
    forged = changed(erased[3], erased={**erased[3]["erased"], "commitments": {
        **erased[3]["erased"]["commitments"], "actor_id": some_hash("forged")}})
    moved = changed(a[4], tenant_id="globex", seq=numbered(4))

    cases = [
        ("no rows", [], []),
        ("one lane", a, []),
        ("one event", a[:1], []),
        ("several lanes and tenants, mixed up", [row for rows in zip(b, other, a) for row in rows][::-1], []),
        ("tenants beyond the BMP", hebrew + grin, []),
        ("erased rows", erased, []),
        ("the last events gone: nobody can see it", a[:3], []),

        ("a value edited", replaced(2, edited),
         [broken("hash_mismatch", edited, fmt.event_hash(edited), hex_(a[2]))]),
        ("a value edited, its hash recomputed", replaced(2, resealed),
         [broken("chain_break", a[3], hex_(resealed), hex_(a[2]))]),
        ("an erased commitment forged", erased[:3] + [forged, a[4]],
         [broken("hash_mismatch", forged, fmt.event_hash(forged), hex_(a[3]))]),
        ("a row without document", replaced(2, no_document), [broken("hash_mismatch", no_document, None, hex_(a[2]))]),
        ("a hash set to NULL", replaced(2, no_hash),
         [broken("hash_mismatch", no_hash, hex_(a[2]), None), broken("chain_break", a[3], None, hex_(a[2]))]),
        ("a hash cut short", replaced(2, short_hash),
         [broken("hash_mismatch", short_hash, hex_(a[2]), hex_(short_hash)),
          broken("chain_break", a[3], hex_(short_hash), hex_(a[2]))]),
        ("a link to nowhere", replaced(2, relinked),
         [broken("chain_break", relinked, hex_(a[1]), "00" * 32), broken("chain_break", a[3], hex_(relinked), hex_(a[2]))]),
        ("a link set to NULL", replaced(2, unlinked),
         [broken("hash_mismatch", unlinked, None, hex_(a[2])), broken("chain_break", unlinked, hex_(a[1]), None)]),
        ("a first event with a link", replaced(0, linked_first),
         [broken("hash_mismatch", linked_first, None, hex_(a[0])), broken("chain_break", linked_first, None, "00" * 32)]),

        ("an event gone", a[:2] + a[3:], [missing(3)]),
        ("two neighbours gone are one hole", a[:1] + a[3:], [missing(2)]),
        ("two holes", a[0:1] + a[2:3] + a[4:5], [missing(2), missing(4)]),
        ("the first event gone", a[1:], [missing(1)]),
        ("only the last event there", a[4:], [missing(1)]),
        ("an event gone, the hole closed", a[:2] + [changed(a[3], seq=numbered(3))],
         [broken("hash_mismatch", changed(a[3], seq=numbered(3)), fmt.event_hash(changed(a[3], seq=numbered(3))), hex_(a[3])),
          broken("chain_break", changed(a[3], seq=numbered(3)), hex_(a[1]), hex_(a[2]))]),
        ("an event moved to another tenant", a[:4] + other + [moved],
         [broken("hash_mismatch", moved, fmt.event_hash(moved), hex_(a[4])),
          broken("chain_break", moved, hex_(other[2]), hex_(a[3]))]),
        ("two events at one seq", a[:3] + [fork] + a[3:],
         [broken("chain_break", fork, hex_(a[2]), hex_(a[1]))]),
        ("breaks come by tenant in UTF-8 bytes, then lane, then seq",
         grin[1:] + hebrew[1:] + other[1:] + b[:1] + b[2:] + a[:1] + a[2:],
         [missing(2), missing(2, lane_number=1), missing(1, "globex"), missing(1, HEBREW), missing(1, GRIN)]),
    ]
    vectors = []
    for name, rows, breaks in cases:
        assert fmt.verify(rows) == breaks, (name, fmt.verify(rows))
        vectors.append({"name": name, "rows": [row_text(row) for row in rows], "breaks": breaks})
    return vectors


# ---------------------------------------------------------------------------------------------------------------------
# exports.json


def header(lanes="whole", log_id=LOG_ID, **filters):
    return fmt.canonical({"filters": filters}, None).join((
        f'{{"immutable_export":1,"created_at":"2026-03-15T15:00:00.000000Z","log_id":{fmt.canonical(log_id)},'
        f'"lanes":"{lanes}",', "")).replace(',{"filters"', ',"filters"')


def export_end(events, lanes):
    return f'{{"immutable_export_end":1,"events":{events},"lanes":{lanes}}}'


def export_of(rows, *head):
    """The lines of an export of these rows, which come in its order."""
    lanes = len({(row["tenant_id"], row["lane"]) for row in rows})
    return [*(head or [header()]), *map(fmt.export_line, rows), export_end(len(rows), lanes)]


def escaped(lines):
    """The same export, as a client gets it whose encoding is not UTF-8."""
    head = lines[0].replace(',"filters"', ',"escaped":true,"filters"')
    return [fmt.escaped_line(line) for line in [head, *lines[1:]]]


def pruned_vectors():
    """Exports of logs of which events were pruned."""
    long, second, other = lane(6), lane(4, lane_number=1, first_id=0x101), lane(3, tenant="globex", first_id=0x201)

    def pruned(*begins, previous=long[-1], **columns):
        """The record behind `previous`. `begins`: lane, and the last row that was pruned of it, or seq and hash."""
        begins = [(number, *((int(last["seq"]), hex_(last)) if isinstance(last, dict) else last)) for number, last in begins]
        return plain(**{**dict(
            id=ID.format(0x900), seq=numbered(int(previous["seq"]) + 1), lane=previous["lane"], log_id=None,
            tenant_id=previous["tenant_id"], previous_event_hash=previous["event_hash"], action="immutable.pruned",
            actor_id="keeper", metadata={"events": 1}, targets=[
                {"type": "immutable.lane", "id": str(number), "metadata": {"event_hash": hash_, "seq": seq}}
                for number, seq, hash_ in begins]), **columns})

    def hole(seq, after):
        return {**missing(seq, after["tenant_id"], int(after["lane"])), "expected": after["previous_event_hash"][2:]}

    def none_follows(number, seq, hash_):
        return {**missing(seq, "acme", number), "expected": hash_}

    def head(row, hash_=None):
        return {"tenant_id": row["tenant_id"], "lane": int(row["lane"]), "seq": int(row["seq"]),
                "event_hash": "\\x" + (hash_ or hex_(row))}

    record = pruned((0, long[2]))
    left = long[3:] + [record]
    both = pruned((0, long[2]), (1, second[1]))
    later = pruned((0, long[3]), previous=record, id=ID.format(0x901))
    full_row = full(seq=numbered(2), lane=numbered(0), previous_event_hash=long[0]["event_hash"])
    erased = fmt.erase(full_row, ["actor_name"])
    third = plain(id=ID.format(0x903), seq=numbered(3), previous_event_hash=erased["event_hash"], log_id=None)
    erasure = plain(id=ID.format(0x904), seq=numbered(4), log_id=None, action="immutable.event_erased", actor_id="dpo",
                    previous_event_hash=third["event_hash"], metadata={"reason": "request 12"}, targets=[
                        {"type": "immutable.event", "id": full_row["id"],
                         "metadata": {"commitments": [erased["erased"]["commitments"]["actor_name"]]}}])
    wrong = some_hash("w")
    cases = [
        ("pruned: a lane begins where the record says", left, {}, [], 3),
        ("pruned: nothing is gone yet", long + [record], {}, [], 0),
        ("pruned: some events are there still", long[:1] + left, {}, [], 2),
        ("pruned: only those before are gone", long[2:] + [record], {}, [], 2),
        ("pruned: two lanes", long[3:] + [both] + second[2:], {}, [], 5),
        ("pruned: the record comes before the lane", long[3:] + [pruned((1, second[1]), (0, long[2]))] + second[2:], {}, [], 5),
        ("pruned: the greatest of two records counts", long[4:] + [record, later], {}, [], 4),
        ("pruned: an earlier record alone does not explain a later begin", long[4:] + [record], {}, [hole(4, long[4])], 3),
        ("pruned: without a record", long[3:], {}, [hole(1, long[3])], 0),
        ("pruned: a hole behind it", long[3:4] + long[5:] + [record], {}, [hole(5, long[5])], 3),
        ("pruned: more is gone than the record says", long[5:] + [record], {}, [hole(4, long[5])], 3),
        ("pruned: the record has another hash", long[3:] + [pruned((0, (3, wrong)))], {},
         [broken("chain_break", long[3], wrong, long[3]["previous_event_hash"][2:])], 3),
        ("pruned: the record of another tenant", long[3:] + other + [
            pruned((0, long[2]), previous=other[-1])], {}, [hole(1, long[3])], 0),
        ("pruned: the record of another lane", long[3:] + [pruned((2, long[2]))], {},
         [hole(1, long[3]), none_follows(2, 4, hex_(long[2]))], 0),
        ("pruned: no event follows in a lane", left[:-1] + [both], {}, [none_follows(1, 3, hex_(second[1]))], 3),
        ("pruned: the lane ends before the record's", left[:-1] + [both] + second[:1], {},
         [none_follows(1, 3, hex_(second[1]))], 3),
        ("pruned: a saved head of the last that is gone", left, {"heads": [head(long[2])]}, [], 3),
        ("pruned: another saved head of it", left, {"heads": [head(long[2], wrong)]},
         [{**none_follows(0, 3, wrong)}], 3),
        ("pruned: a saved head before it is not compared", left, {"heads": [head(long[0]), head(long[4])]}, [], 3),
        ("pruned: a saved head of an event that is there still", long[:1] + left, {"heads": [head(long[0], wrong)]},
         [broken("missing_event", long[0], wrong, hex_(long[0]))], 2),
        ("pruned: an erased event and its record remains", [third, erasure, pruned(
            (0, erased), previous=erasure)], {}, [], 2),
        ("pruned: an erased value is back", [full_row, third, erasure, pruned((0, long[0]), previous=erasure)], {},
         [{**dict.fromkeys(("lane", "seq", "actual")), "type": "erasure_mismatch", "tenant_id": "acme",
           "event_id": full_row["id"], "expected": erased["erased"]["commitments"]["actor_name"]}], 1),
    ]
    target = record["targets"][0]
    for name, members in (
            ("another type", {"type": "immutable.event"}), ("a name", {"name": "x"}), ("a lane that is none", {"id": "00"}),
            ("a lane beyond 32767", {"id": "32768"}), ("a seq as text", {"metadata": {**target["metadata"], "seq": "3"}}),
            ("a seq with a fraction", {"metadata": {**target["metadata"], "seq": Number("3.0")}}),
            ("a seq of 0", {"metadata": {**target["metadata"], "seq": 0}}),
            ("a hash in capitals", {"metadata": {**target["metadata"], "event_hash": hex_(long[2]).upper()}}),
            ("a hash too short", {"metadata": {**target["metadata"], "event_hash": hex_(long[2])[2:]}}),
            ("another member", {"metadata": {**target["metadata"], "x": 1}})):
        changed = plain(**{**{column: value for column, value in record.items() if column not in ("event_hash", "targets")},
                           "targets": [{**target, **members}]})
        cases.append((f"pruned: no record: {name}", long[3:] + [changed], {}, [hole(1, long[3])], 0))
    twice = pruned((0, long[2]), (0, long[1]))
    cases.append(("pruned: no record: a lane twice", long[3:] + [twice], {}, [hole(1, long[3])], 0))
    vectors = []
    for name, rows, options, breaks, gone in cases:
        lines = export_of(rows)
        vectors.append(export_vector(name, lines, options, breaks, gone))
    forged = [line.replace('"seq":3}', '"seq":4}') for line in export_of(left)]
    vectors.append(export_vector("pruned: an altered record is none", forged, {}, [
        hole(1, long[3]), broken("hash_mismatch", record, None, hex_(record))], 0))
    return vectors


def export_vector(name, lines, options, breaks, pruned):
    """The vector of an export, after this implementation has found in it what it must."""
    export = fmt.Export(options.get("heads", ()))
    for line in lines:
        export.line(line.encode())
    summary = export.finish()
    assert summary["breaks"] == breaks, (name, summary["breaks"], breaks)
    assert summary.get("events_pruned", 0) == pruned, (name, summary)
    counts = {member: summary[member] for member in (
        "events_checked", "chains_checked", "links_checked", "gaps", "values_erased", "heads_checked",
        "heads_not_covered", "whole", "erasures_checked")}
    return {"name": name, "lines": lines, **options, "counts": {**counts, **({"events_pruned": pruned} if pruned else {})},
            "breaks": breaks}


def export_vectors():
    a = lane(4)
    b = lane(2, lane_number=1, first_id=0x101)
    other = lane(2, tenant="globex", first_id=0x201)
    rows = a + b + other
    good = export_of(rows)
    full_row = full(seq=numbered(2), lane=numbered(0), previous_event_hash=a[0]["event_hash"])
    odd = plain(metadata={"": 1, "a.b": 2, HEBREW: 4, GRIN: None, "q": 'a"\\\n\x01\u2028', "n": Number("1.10")},
                targets=[{"type": 't"', "id": f"{n:02}"} for n in range(12)], action="caf\u00e9\t")

    erased = fmt.erase(full_row, ["actor_name", "metadata.reason", "targets.1"])
    hashes = erased["erased"]["commitments"]
    gone = [hashes["actor_name"], *hashes["metadata"], hashes["targets"]["1"]]

    def record(*commitments, id_=full_row["id"], previous=erased, **columns):
        """The event after `previous` that lists these as erased."""
        return plain(**{**dict(
            id=ID.format(0x900), seq=numbered(int(previous["seq"]) + 1), log_id=None, action="immutable.event_erased",
            previous_event_hash=previous["event_hash"], actor_id="dpo", metadata={"reason": "request 12"},
            targets=[{"type": "immutable.event", "id": id_, "metadata": {"commitments": list(commitments)}}]), **columns})

    recorded = [a[0], erased, record(*gone)]
    newer = record(*gone, seq=numbered(9), previous_event_hash="\\x" + some_hash("y"))
    beside = record(*gone, some_hash("x"), seq=numbered(9), previous_event_hash="\\x" + some_hash("y"))

    def pinned(*later, rows=(a[0], erased), head=None):
        """An export of rows that were pinned, and records of erasures that are newer."""
        lines = export_of(rows, head or header())
        return [*lines[:-1], *(f'{{"later_record":{fmt.export_line(row)}}}' for row in later), lines[-1]]

    def head(row, hash_=None):
        return {"tenant_id": row["tenant_id"], "lane": int(row["lane"]), "seq": int(row["seq"]),
                "event_hash": "\\x" + (hash_ or hex_(row))}

    def hole(seq, after):
        return {**missing(seq, after["tenant_id"], int(after["lane"])), "expected": after["previous_event_hash"][2:]}

    def nowhere(type_="missing_event", **members):
        return {**dict.fromkeys(("tenant_id", "lane", "seq", "event_id", "expected", "actual")), "type": type_, **members}

    def replaced(n, old, new, lines=good):
        """A line changed in one place."""
        assert lines[n].count(old) >= 1, (lines[n], old)
        return lines[:n] + [lines[n].replace(old, new, 1)] + lines[n + 1:]

    def without(*numbers):
        return [line for n, line in enumerate(good[:-1]) if n not in numbers]

    def content(row):
        return broken("hash_mismatch", row, None, hex_(row))

    lines_full = export_of([a[0], full_row])
    shown = lines_full[2]
    first, second = [shown[shown.index(f'["{salt}'):].split("],[")[0] + "]" for salt in (
        fmt.leaf_salt(bytes(range(16, 32)), path) for path in ("actor_id", "actor_name"))]
    edited_document = good[2].replace("document.viewed", "document.deleted")
    edited_hash = hashlib.sha256(edited_document[12:edited_document.index(',"event_hash"')].encode()).hexdigest()
    no_document = ('{"no_document":{"event_hash":"%s","id":"%s","lane":0,"log_id":null,"previous_event_hash":"%s","seq":2,'
                   '"tenant_id":"acme","why":"metadata is not an object"}}' % (hex_(a[1]), a[1]["id"], hex_(a[0])))
    future = json.loads(good[1][12:good[1].index(',"event_hash"')])
    later = fmt.canonical({**{k: numbered(v) if isinstance(v, int) else v for k, v in future.items()},
                           "zz_later": {"x": []}}, None)
    later = f'{{"document":{later},"event_hash":"{hashlib.sha256(later.encode()).hexdigest()}",' + good[1].split('",', 1)[1][
        good[1].split('",', 1)[1].index('"disclosures"'):]

    cases = [
        ("several lanes and tenants", good, {}, []),
        ("no events", [header(), export_end(0, 0)], {}, []),
        ("no events and no log", [header(log_id=None), export_end(0, 0)], {}, []),
        ("every column", lines_full, {}, []),
        ("keys, escapes and numbers", export_of([odd]), {}, []),
        ("keys, escapes and numbers, escaped", escaped(export_of([odd])), {}, []),
        ("escaped, with nothing to escape", escaped(good), {}, []),
        ("escaped, and a filter with it", escaped(export_of([odd], header(tenant_id="caf\u00e9 " + GRIN))), {}, []),
        ("one export escaped, the next not", escaped(export_of([odd])) + export_of([odd]), {}, []),
        ("escaped, and a value edited", [line.replace("\\u2028", "\\u2029") for line in escaped(export_of([odd]))], {},
         [content(odd)]),
        ("a member that comes with a later version", [header(), later, export_end(1, 1)], {}, []),
        ("two exports, one after the other", export_of(a) + export_of(other), {}, []),
        ("one tenant", export_of(other, header(tenant_id="globex")), {}, []),
        ("a range", export_of(a[1:3] + b, header("range", from_date="2026-03-15T14:32:18.000002Z")), {}, []),
        ("a filter that leaves holes", export_of([a[0], a[2], a[3]], header("gaps", action="*")), {}, []),
        ("erased and recorded", export_of(recorded), {}, []),
        ("a record's reason erased, and recorded", export_of([
            a[0], erased, fmt.erase(record(*gone), ["metadata.reason"]),
            record(fmt.commitments(record(*gone))["metadata.reason"], id_=record()["id"], previous=record(*gone),
                   id=ID.format(0x901))]), {}, []),
        ("recorded in another lane, twice", export_of([a[0], erased, *[
            record(*gone, lane=numbered(1), seq=numbered(1), log_id=LOG_ID, previous_event_hash=None)],
            record(*gone, lane=numbered(2), seq=numbered(1), log_id=LOG_ID, previous_event_hash=None)]), {}, []),
        ("erased after it was pinned", pinned(newer), {}, []),
        ("erased after it was pinned, with other values", pinned(beside), {}, []),
        ("erased after it was pinned, in one event of two records", pinned(
            record(*gone[:1], seq=numbered(9), previous_event_hash=newer["previous_event_hash"]),
            record(*gone[1:], seq=numbered(11), previous_event_hash=newer["previous_event_hash"])), {}, []),
        ("a later record of a tenant", pinned(newer, head=header(tenant_id="acme")), {}, []),
        ("later records, escaped", escaped(pinned(newer)), {}, []),
        ("erased, in a range: the record may lie outside", export_of([a[0], erased], header("range", to_date="infinity")),
         {}, []),

        ("a value edited", replaced(2, "document.viewed", "document.deleted"), {},
         [broken("hash_mismatch", a[1], edited_hash, hex_(a[1]))]),
        ("a value edited and its hash with it", replaced(2, hex_(a[1]) + '","disc', edited_hash + '","disc',
                                                         replaced(2, "document.viewed", "document.deleted")), {},
         [broken("chain_break", a[2], edited_hash, hex_(a[1]))]),
        ("a disclosed value edited", replaced(2, '"user-17"]', '"user-18"]'), {}, [content(a[1])]),
        ("a disclosed number edited", replaced(2, '"metadata.n",2]', '"metadata.n",3]'), {}, [content(a[1])]),
        ("a disclosed number of the same value", replaced(2, '"metadata.n",2]', '"metadata.n",2.0]'), {}, [content(a[1])]),
        ("a disclosed key renamed", replaced(2, '"metadata.n",', '"metadata.m",'), {}, [content(a[1])]),
        ("a salt edited", [line.replace(fmt.leaf_salt(bytes.fromhex(a[1]["salt"][2:]), "actor_id"), "00" * 16)
                           for line in good], {}, [content(a[1])]),
        ("a disclosure twice", replaced(2, first, first + "," + first, lines_full), {}, [content(full_row)]),
        ("disclosures in another order", replaced(2, first + "," + second, second + "," + first, lines_full), {},
         [content(full_row)]),
        ("a disclosure left out: erased without a record", replaced(2, first + ",", "", lines_full), {},
         [broken("erasure_mismatch", full_row, None, fmt.commitments(full_row)["actor_id"])]),
        ("a disclosure of nothing in the document", replaced(2, first + ",", first + ',["' + "00" * 16 + '","email","x"],',
                                                             lines_full), {}, [content(full_row)]),
        ("a target of another type", replaced(2, '"type":"group"}]', '"type":"grouq"}]', lines_full), {},
         [content(full_row)]),
        ("a row without a document", good[:2] + [no_document] + good[3:], {}, [content(a[1])]),

        ("an event removed", without(2) + [export_end(7, 3)], {}, [hole(2, a[2])]),
        ("an event removed, the end line left", without(2) + good[-1:], {}, [hole(2, a[2]), nowhere()]),
        ("the first event of a lane removed", without(5) + [export_end(7, 3)], {}, [hole(1, b[1])]),
        ("a lane removed, the end line left", without(5, 6) + good[-1:], {}, [nowhere()]),
        ("the end of a lane removed: nobody can see it", without(4) + [export_end(7, 3)], {}, []),
        ("two events swapped", good[:2] + [good[3], good[2]] + good[4:], {},
         [hole(2, a[2]), broken("chain_break", a[1], hex_(a[2]), hex_(a[0]))]),
        ("an event twice", good[:3] + good[2:-1] + [export_end(9, 3)], {},
         [broken("chain_break", a[1], hex_(a[1]), hex_(a[0]))]),
        ("lanes in another order", [good[0], *good[5:7], *good[1:5], *good[7:]], {}, [broken("chain_break", a[0])]),
        ("an event removed from a range", export_of([a[0], a[2]], header("range", to_date="infinity")), {}, [hole(2, a[2])]),
        ("a lane of another log", export_of(rows, header(log_id=ID.format(0x77))), {}, [
            broken("chain_break", row) for row in (a[0], b[0], other[0])]),
        ("the log's identity lost", export_of(a, header(log_id=None)), {}, [nowhere()]),

        ("erased without a record", export_of([a[0], erased]), {}, [
            broken("erasure_mismatch", erased, None, hash_) for hash_ in sorted(gone)]),
        ("a record of something else", export_of([a[0], erased, record(*gone[1:], some_hash("x"))]), {}, [
            nowhere("erasure_mismatch", tenant_id="acme", event_id=erased["id"], expected=some_hash("x")),
            broken("erasure_mismatch", erased, None, gone[0])]),
        ("a later record of another value", pinned(record(*gone[1:], seq=numbered(9),
                                                          previous_event_hash=newer["previous_event_hash"])), {}, [
            broken("erasure_mismatch", erased, None, gone[0])]),
        ("a later record of another tenant", pinned(record(*gone, seq=numbered(9), tenant_id="globex",
                                                           previous_event_hash=newer["previous_event_hash"])), {}, [
            broken("erasure_mismatch", erased, None, hash_) for hash_ in sorted(gone)]),
        ("a later record edited", [line.replace("request 12", "request 13") for line in pinned(newer)], {}, [
            content(newer), *(broken("erasure_mismatch", erased, None, hash_) for hash_ in sorted(gone))]),
        ("recorded as erased, and back", export_of([a[0], full_row, record(gone[0])]), {}, [
            nowhere("erasure_mismatch", tenant_id="acme", event_id=erased["id"], expected=gone[0])]),
        ("more than the reason erased from a record", replaced(
            3, '["' + fmt.leaf_salt(bytes(range(16)), "actor_id") + '","actor_id","dpo"],', "", export_of(recorded)), {},
         [content(record(*gone)), *(broken("erasure_mismatch", erased, None, hash_) for hash_ in sorted(gone))]),

        ("heads that are there", good, {"heads": [head(a[3]), head(b[0]), head(other[1])]}, []),
        ("a head that is gone", without(4) + [export_end(7, 3)], {"heads": [head(a[3])]},
         [{**missing(4), "expected": hex_(a[3])}]),
        ("a lane whose head is gone", [good[0], *good[1:5], *good[7:-1], export_end(6, 2)], {"heads": [head(b[1])]},
         [{**missing(2, lane_number=1), "expected": hex_(b[1])}]),
        ("another event in the place of a head", good, {"heads": [head(a[1], some_hash("x"))]},
         [{**broken("missing_event", a[1], some_hash("x"), hex_(a[1]))}]),
        ("a head of another tenant than was exported", export_of(other, header(tenant_id="globex")),
         {"heads": [head(a[3])]}, []),
        ("a range that follows a head", export_of(a[2:], header("range", from_date="x")), {"heads": [head(a[1])]}, []),
        ("a range that follows another event than the head", export_of(a[2:], header("range", from_date="x")),
         {"heads": [head(a[1], some_hash("x"))]}, [broken("chain_break", a[2], some_hash("x"), hex_(a[1]))]),
    ]
    vectors = []
    for name, lines, options, breaks in cases:
        export = fmt.Export(options.get("heads", ()))
        for line in lines:
            export.line(line.encode())
        summary = export.finish()
        assert summary["breaks"] == breaks, (name, summary["breaks"])
        counts = {member: summary[member] for member in (
            "events_checked", "chains_checked", "links_checked", "gaps", "values_erased", "heads_checked",
            "heads_not_covered", "whole", "erasures_checked")}
        vectors.append({"name": name, "lines": lines, **options, "counts": counts, "breaks": breaks})

    vectors += pruned_vectors()
    deep = '{"a":' * 64 + "1" + "}" * 64
    bad = [  # the number of the line that is refused; after the last: the export is cut off
        ("nothing", [], 1), ("no header", good[1:], 1), ("no end line", good[:-1], len(good)),
        ("only a header", good[:1], 2), ("another header inside", good[:3] + good[:1] + good[3:], 4),
        ("something behind the end", good + good[1:2], len(good) + 1),
        ("an empty line", good[:2] + [""] + good[2:], 3),
        ("a line cut off", good[:2] + [good[2][:len(good[2]) // 2]], 3),
        ("a line cut off in its disclosures", good[:2] + [good[2][:-30]], 3),
        ("a line cut off by one", good[:2] + [good[2][:-1]], 3),
        ("something behind a line", good[:2] + [good[2] + " "], 3),
        ("two lines in one", good[:2] + [good[2] + good[3]], 3),
        ("not JSON", good[:2] + ["x"], 3), ("an array", good[:2] + ["[]"], 3),
        ("white space in the document", replaced(2, '"lane":', '"lane": '), 3),
        ("white space in the disclosures", replaced(2, '],["', '], ["'), 3),
        ("a member twice in the document", replaced(2, '"lane":0', '"lane":0,"lane":0'), 3),
        ("members in another order", replaced(2, '"seq":2,"tenant_id":"acme"', '"tenant_id":"acme","seq":2'), 3),
        ("a member twice in a value", replaced(2, '"metadata.n",2]', '"metadata.n",{"a":1,"a":1}]'), 3),
        ("an escape that canonical JSON has not", replaced(2, '"user-17"]', '"user-\\u0031\\u0037"]'), 3),
        ("a lone surrogate", replaced(2, '"user-17"]', '"\\ud800"]'), 3),
        ("a control character", replaced(2, '"user-17"]', '"\t"]'), 3),
        ("COPY's text format: backslashes doubled", [line.replace("\\", "\\\\") for line in export_of([odd])], 2),
        ("escaped without saying so", [header(), *escaped(export_of([odd]))[1:]], 2),
        ("not escaped, although it says so, is taken; half a pair is not",
         [line.replace("\\ud83d", "") for line in escaped(export_of([odd]))], 2),
        ("escaped is no text", [escaped(good)[0].replace("true", '"true"'), *good[1:]], 1),
        ("a number that is none", replaced(2, '"metadata.n",2]', '"metadata.n",02]'), 3),
        ("nested too deeply", replaced(2, '"metadata.n",2]', f'"metadata.n",{{"a":{deep}}}]'), 3),
        ("nested without end", replaced(2, '"metadata.n",2]', '"metadata.n",' + "[" * 5000), 3),
        ("a salt too short", replaced(2, '"disclosures":[["', '"disclosures":[["0'), 3),
        ("a disclosure of two", replaced(2, '"metadata.n",2]', '2]'), 3),
        ("a disclosure of four", replaced(2, '"metadata.n",2]', '"metadata.n",2,2]'), 3),
        ("a hash in capitals", replaced(2, hex_(a[1]) + '","disc', hex_(a[1]).upper() + '","disc'), 3),
        ("a hash that is no hex", replaced(2, hex_(a[1]) + '","disc', "x" * 64 + '","disc'), 3),
        ("a commitment too short", replaced(2, '"actor_id":"', '"actor_id":"0'), 3),
        ("no event_hash", [header(), good[1].split(',"event_hash"')[0] + "}"], 2),
        ("no disclosures", [header(), good[1].split(',"disclosures"')[0] + "}"], 2),
        ("another member between", replaced(2, ',"disclosures"', ',"x":1,"disclosures"'), 3),
        ("a document of version 2", replaced(2, '"v":1}', '"v":2}'), 3),
        ("a document without a tenant", replaced(2, ',"tenant_id":"acme"', ""), 3),
        ("a lane beyond 32767", replaced(2, '"lane":0', '"lane":32768'), 3),
        ("a seq beyond 2^63", replaced(2, '"seq":2', '"seq":9223372036854775808'), 3),
        ("a seq with a fraction", replaced(2, '"seq":2', '"seq":2.0'), 3),
        ("an id in capitals", replaced(2, '"id":"0195d3a0', '"id":"0195D3A0'), 3),
        ("a document that is no object", [header(), '{"document":[],"event_hash":null,"disclosures":[]}'], 2),
        ("an export of version 2", [good[0].replace('export":1', 'export":2')] + good[1:], 1),
        ("a header without a log_id", [good[0].replace(f'"log_id":"{LOG_ID}",', "")] + good[1:], 1),
        ("a header whose time is none", [good[0].replace("03-15", "02-30")] + good[1:], 1),
        ("a header that hides what was left out", export_of(rows, header("whole", action="x")), 1),
        ("exports of two logs", export_of(a) + export_of([], header(log_id=ID.format(5))), 7),
        ("an end line that counts nothing", good[:-1] + ['{"immutable_export_end":1}'], len(good)),
        ("an end line that counts below zero", good[:-1] + [export_end(-1, 0)], len(good)),
        ("an event behind a later record", pinned(newer)[:-1] + good[5:], 5),
        ("a later record of a filtered export", pinned(newer, head=header("gaps", action="*")), 4),
        ("a later record that is none", pinned(a[1]), 4),
        ("a later record without an end", [line[:-1] if "later" in line else line for line in pinned(newer)], 4),
        ("a later record outside of an export", pinned(newer)[3:], 1),
        ("no_document without a place", good[:2] + ['{"no_document":{}}'], 3),
    ]
    for name, lines, number in bad:
        export, refused = fmt.Export(), None
        for n, line in enumerate(lines, 1):
            try:
                export.line(line.encode())
            except fmt.ExportError:
                refused = n
                break
        if refused is None:
            try:
                export.finish()
            except fmt.ExportError:
                refused = len(lines) + 1
        assert refused == number, (name, refused)
        vectors.append({"name": name, "lines": lines, "refused": number})
    return vectors


# ---------------------------------------------------------------------------------------------------------------------


def build():
    """{file name: content}"""
    import make_tlog_vectors  # it imports this module
    files = {"canonical.json": canonical_vectors(), "events.json": event_vectors(), "chains.json": chain_vectors(),
             "erasure.json": erasure_vectors(), "exports.json": export_vectors(),
             "tlog.json": make_tlog_vectors.tlog_vectors()}
    for name, vectors in files.items():
        names = [vector["name"] for vector in vectors]
        assert len(set(names)) == len(names), (name, [twice for twice in names if names.count(twice) > 1])
    return {name: json.dumps(vectors, indent=1) + "\n" for name, vectors in files.items()}


def stale():
    """Names of the files that are not what build() makes."""
    return [name for name, content in build().items()
            if not (VECTORS / name).is_file() or (VECTORS / name).read_bytes() != content.encode("ascii")]


def main():
    if sys.argv[1:] == ["--check"]:
        names = stale()
        print("\n".join(f"{name} is not up to date" for name in names) or "up to date")
        return 1 if names else 0
    if sys.argv[1:]:
        print(__doc__, file=sys.stderr)
        return 2
    VECTORS.mkdir(exist_ok=True)
    for name, content in build().items():
        (VECTORS / name).write_bytes(content.encode("ascii"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
