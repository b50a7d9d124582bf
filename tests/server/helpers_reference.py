"""docs/reference.md, made from the COMMENTs of a database in which the extension is new: `render(conn)`. As a program (see
scripts/reference) it prints it.

What a function's comment looks like: the first line says what it does, a line "- name: …" is about an argument or a
column of the result, a line "Returns …" about the result, and the last, "Raises …", about the errors. The lines in between
are wrapped."""

import os
import pathlib
import re
import sys
import textwrap

ROOT = pathlib.Path(__file__).resolve().parents[2]

# The parts of the reference, in the order in which a reader needs them, and the files of sql/ that each is about.
PARTS = {
    "Recording events": ["write/track", "write/batch", "write/shard", "write/chain", "write/targets", "write/restore", "write/replica"],
    "Reading events": ["read/events", "read/time_bound", "read/changes", "read/feed", "read/search", "read/views"],
    "Verifying and exporting": ["verify", "read/export"],
    "Evidence for others": ["evidence/checkpoint", "evidence/witness", "evidence/proof", "evidence/receipt", "evidence/page", "evidence/tiles", "evidence/tree"],
    "Erasing": ["erase"],
    "Tenants and viewers": ["access/viewers"],
    "API keys": ["access/api_keys"],
    "Action schemas": ["write/schemas"],
    "Alerts": ["jobs/alerts"],
    "Exports for download": ["jobs/exports"],
    "Deliveries": ["jobs/streams"],
    "Row changes": ["capture"],
    "Segments and retention": ["jobs/segments", "jobs/retention", "log/segments"],
    "Maintenance": ["jobs/maintenance"],
    "Operating": ["status", "citus", "access/nodes"],
    "The log itself": ["schema", "log", "guard/append_only", "guard/ddl", "grants", "notice"],
}
# Words at the beginning of a comment by which a function is one that the extension calls itself.
INTERNAL = re.compile(r"Part of|Triggers? that|Event trigger function|Input function|Output function|Policy that|Rule of"
                      r"|.*\bIt is the (CHECK|default) of|.*\bA policy calls it", re.S)
# PostgreSQL's names for the SQLSTATEs that comments name.
CONDITIONS = {
    "08006": "connection_failure",
    "38000": "external_routine_exception",
    "09000": "triggered_action_exception", "0A000": "feature_not_supported", "21000": "cardinality_violation",
    "22001": "string_data_right_truncation", "22003": "numeric_value_out_of_range", "22004": "null_value_not_allowed",
    "22007": "invalid_datetime_format", "22008": "datetime_field_overflow", "22021": "character_not_in_repertoire",
    "22023": "invalid_parameter_value", "22P02": "invalid_text_representation", "22P05": "untranslatable_character",
    "23502": "not_null_violation", "23505": "unique_violation", "23514": "check_violation", "25001": "active_sql_transaction", "25006": "read_only_sql_transaction",
    "28000": "invalid_authorization_specification", "40001": "serialization_failure", "428C9": "generated_always",
    "42501": "insufficient_privilege", "42703": "undefined_column", "42809": "wrong_object_type", "42710": "duplicate_object", "42704": "undefined_object", "42804": "datatype_mismatch",
    "42P01": "undefined_table", "54000": "program_limit_exceeded", "55000": "object_not_in_prerequisite_state",
    "55P03": "lock_not_available", "57014": "query_canceled", "P0002": "no_data_found", "XX001": "data_corrupted",
}
PRIVILEGES = ["SELECT", "INSERT", "UPDATE", "DELETE", "EXECUTE"]
WIDTH = 100

ACL = """(SELECT coalesce(jsonb_object_agg(role, privileges), '{{}}') FROM (
  SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END AS role, jsonb_agg(a.privilege_type) AS privileges
  FROM aclexplode({acl}) a WHERE a.grantee <> {owner} GROUP BY 1) x)"""
FUNCTIONS = f"""
  SELECT p.proname, p.prokind, p.proretset, p.prosecdef, format_type(p.prorettype, NULL), p.proargnames, p.proargmodes::text[],
    ARRAY(SELECT format_type(t, NULL) FROM unnest(coalesce(p.proallargtypes, p.proargtypes::oid[])) WITH ORDINALITY u(t, n) ORDER BY n),
    ARRAY(SELECT pg_get_function_arg_default(p.oid, n) FROM generate_series(1, p.pronargs) n ORDER BY n),
    {ACL.format(acl='p.proacl', owner='p.proowner')}, obj_description(p.oid, 'pg_proc'),
    EXISTS (SELECT FROM pg_cast c WHERE c.castfunc = p.oid)
  FROM pg_proc p WHERE p.pronamespace = 'immutable'::regnamespace ORDER BY p.oid"""
RELATIONS = f"""
  SELECT c.relname, c.relkind, {ACL.format(acl='c.relacl', owner='c.relowner')}, obj_description(c.oid, 'pg_class'),
    (SELECT jsonb_agg(jsonb_build_array(a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, col_description(c.oid, a.attnum))
       ORDER BY a.attnum) FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
    (SELECT coalesce(jsonb_agg(jsonb_build_array(p.polname, obj_description(p.oid, 'pg_policy')) ORDER BY p.polname COLLATE "C"), '[]')
       FROM pg_policy p WHERE p.polrelid = c.oid)
  FROM pg_class c WHERE c.relnamespace = 'immutable'::regnamespace AND c.relkind IN ('r', 'v') ORDER BY c.oid"""
TYPES = """SELECT t.typname, obj_description(t.oid, 'pg_type') FROM pg_type t
  WHERE t.typnamespace = 'immutable'::regnamespace AND t.typrelid = 0 AND t.typcategory <> 'A' ORDER BY t.oid"""
ROLES = """SELECT rolname, shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname LIKE 'immutable\\_%' ORDER BY oid"""
SETTINGS = """SELECT name, vartype, boot_val, min_val, max_val, context, short_desc, extra_desc FROM pg_settings
  WHERE name LIKE 'immutable.%' ORDER BY name COLLATE "C" """
EVENT_TRIGGERS = """SELECT evtname, evtevent, obj_description(oid, 'pg_event_trigger') FROM pg_event_trigger
  WHERE evtfoid IN ('immutable.guard_ddl'::regproc, 'immutable.capture_ddl'::regproc) ORDER BY oid"""


def code(text):
    return f"`{text}`"


# What of a comment is code: statements, calls, settings with their values, JSON, arguments with theirs.
CODE = re.compile(
    r"SELECT .+? FROM \S+ \w\b|COPY \(SELECT .*?'UTF8'\)|\b[a-z_.]+\([^()]*=>[^()]*\)|immutable\.[a-z_]+(?:\([^()]*\))?(?: = o(?:n|ff)\b)?"
    r"|\b[a-z_]+\(\)|\b[a-z_]+ => (?:'[a-z]+'|[a-z]+(?:\(\))?)|\{(?:[^{}]|\{(?:[^{}]|\{[^{}]*\})*\})*\}|docs/[a-z-]+\.md")


def prose(text):
    """A comment's text as Markdown: code as such, and the rest without anything that Markdown would read."""
    pieces, end = [], 0
    for match in CODE.finditer(text):
        pieces.append(escaped(text[end:match.start()]))
        file = re.fullmatch(r"docs/(.+\.md)", match[0])
        assert not file or (ROOT / match[0]).exists(), f"a comment refers to {match[0]}, which is not there"
        pieces.append(f"[{match[0]}]({file[1]})" if file else code(match[0]))
        end = match.end()
    pieces.append(escaped(text[end:]))
    return "".join(pieces)


def escaped(text):
    text = re.sub(r"([\\<*`|\[\]])", r"\\\1", text)
    return re.sub(r"\b[0-9A-Z]{5}\b", lambda match: code(match[0]) if match[0] in CONDITIONS else match[0], text)


def wrapped(text, indent=""):
    return textwrap.wrap(text, WIDTH + 10, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def paragraphs(comment):
    """The paragraphs of a function's comment, unwrapped."""
    first, *lines = comment.split("\n")
    found = [first, ""]
    for line in lines:
        begins = re.match(r"- |Returns |Raises ", line) or found[-1].startswith("- ") and not line.startswith("  ")
        if begins:
            found.append("")
        found[-1] = f"{found[-1]} {line.strip()}".strip()
    return [paragraph for paragraph in found if paragraph]


def markdown(comment):
    lines = []
    for paragraph in paragraphs(comment):
        argument = re.fullmatch(r"- ([a-z_, ]+): (.*)", paragraph)
        if argument:
            if lines and not lines[-1].startswith(("- ", "  ")):
                lines.append("")
            names = ", ".join(code(name) for name in argument[1].split(", "))
            lines += wrapped(f"- {names}: {prose(argument[2])}", "  ")
        else:
            lines += [""] if lines else []
            lines += wrapped(prose(paragraph))
    return lines


class Function:
    def __init__(self, row):
        (self.name, self.kind, self.is_set, self.is_definer, self.result, names, modes, types, defaults, self.acl,
         self.comment, self.is_cast) = row
        modes = modes or ["i"] * len(types)
        names = names or [""] * len(types)
        inputs = [(name, kind) for name, mode, kind in zip(names, modes, types) if mode in "ib"]
        self.arguments = []
        for (name, kind), default in zip(inputs, defaults):
            argument = f"{self.quoted(name)} {short(kind)}".strip()
            if default is not None:
                argument += f" DEFAULT {re.sub(r'::.*', '', default)}"
            self.arguments.append(argument)
        self.columns = [f"{name} {short(kind)}" for name, mode, kind in zip(names, modes, types) if mode in "ot"]
        self.types = [short(kind) for _, kind in inputs]

    @staticmethod
    def quoted(name):
        """These names a call has to quote."""
        return f'"{name}"' if name in ("limit", "order") else name

    @property
    def is_internal(self):
        return (self.is_cast or self.result in ("trigger", "event_trigger", "internal") or "internal" in self.types
                or bool(INTERNAL.match(self.comment)))

    @property
    def signature(self):
        begin = f"immutable.{self.name}("
        line = f"{begin}{', '.join(self.arguments)})"
        if len(line) > WIDTH:
            line = begin + "\n  " + ",\n  ".join(self.arguments) + ")"
        if self.kind == "p":
            return f"CALL {line}"
        if self.columns:
            columns = f"({', '.join(self.columns)})"
            if len(columns) > WIDTH - 20:
                columns = "(\n  " + ",\n  ".join(self.columns) + ")"
            result = f"{'TABLE' if self.is_set else 'record'} {columns}"
        else:
            result = f"{'SETOF ' if self.is_set else ''}{short(self.result)}"
        separator = " " if "\n" not in line + result and len(f"{line} RETURNS {result}") <= WIDTH else "\n"
        return f"{line}{separator}RETURNS {result}"

    @property
    def callers(self):
        may = [role for role, _ in roles_in_order(self.acl)]
        who = ", ".join("everyone" if role == "PUBLIC" else code(role) for role in may)
        callers = f"May be called by {who}." if who else "Only the extension's owner may call it."
        return callers + (" It runs with the owner's rights." if self.is_definer else "")

    @property
    def raises(self):
        """What the comment says about errors."""
        return " ".join(paragraph for paragraph in paragraphs(self.comment) if paragraph.startswith("Raises "))

    def codes(self, by_name):
        """The SQLSTATEs that the comment names, and those of the functions whose errors it takes over."""
        found = set(re.findall(r"\b(?=[A-Z]*\d)[0-9A-Z]{5}\b", self.raises))
        unknown = found - CONDITIONS.keys()
        assert not unknown, f"immutable.{self.name}() names {unknown}, of which CONDITIONS has no name"
        for name in re.findall(r"errors of immutable\.(\w+)\(", self.raises):
            found |= {sqlstate for other in by_name[name] if other is not self for sqlstate in other.codes(by_name)}
        return found


def short(kind):
    """The names of types that one writes."""
    return kind.replace("timestamp with time zone", "timestamptz").replace("timestamp without time zone", "timestamp")


def roles_in_order(acl):
    return sorted(acl.items(), key=lambda item: ("PUBLIC" != item[0], item[0]))


def rooms():
    """What each file of sql/ makes, in order: {file: [names]}."""
    files = (ROOT / "sql/install.list").read_text().split()
    assert sorted(files) == sorted(file for part in PARTS.values() for file in part), "PARTS names every file of sql/install.list"
    pattern = re.compile(r"^CREATE (?:FUNCTION|PROCEDURE|AGGREGATE|TABLE|VIEW|TYPE) immutable\.(\w+)", re.M)
    return {file: list(dict.fromkeys(pattern.findall((ROOT / f"sql/{file}.sql").read_text()))) for file in files}


def hidden_setting(name):
    """Descriptions of a setting that pg_settings does not show."""
    source = (ROOT / "src/settings.rs").read_text()
    match = re.search(rf'"{re.escape(name)}".*?"((?:[^"\\]|\\.)*)".*?"((?:[^"\\]|\\.)*)"', source, re.S)
    assert match, f"src/settings.rs has no descriptions of {name}"
    return match.groups()


def table(head, rows):
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def relation(row):
    name, kind, acl, comment, columns, policies = row
    yield f"### {'Table' if kind == 'r' else 'View'} `{name}`"
    yield ""
    yield from wrapped(prose(comment))
    yield ""
    rights = [f"{code(role)} {', '.join(sorted(privileges, key=PRIVILEGES.index))}" for role, privileges in roles_in_order(acl)]
    yield f"Privileges: {'; '.join(rights) or 'only the owner has any'}."
    yield ""
    yield from table(["Column", "Type", "Description"], (
        [code(column), short(type_) + (" NOT NULL" if required else ""), prose(comment)] for column, type_, required, comment in columns))
    yield ""
    if policies:
        yield "Row security:"
        yield ""
        yield from (f"- `{policy}`: {prose(comment)}" for policy, comment in policies)
        yield ""


def public(name, overloads):
    yield f"### `{name}()`"
    yield ""
    for function in overloads:
        yield "```text"
        yield function.signature
        yield "```"
        yield ""
        yield from markdown(function.comment)
        yield ""
        yield function.callers
        yield ""


def settings(conn):
    conn.execute("SELECT immutable.new_id()")  # loads the library, which makes them
    rows = conn.execute(SETTINGS).fetchall()
    assert not any(row[0] == "immutable.viewer_token" for row in rows)
    rows.append(("immutable.viewer_token", "string", None, None, None, "user", *hidden_setting("immutable.viewer_token")))
    for name, kind, default, least, most, context, short_description, long_description in sorted(rows):
        values = {"integer": f"{least} to {most}", "bool": "on, off"}.get(kind, "text")
        by = {"user": "every role", "superuser": "superusers", "sighup": "the configuration file alone"}[context]
        yield [code(name), default or "empty", values, by, prose(" ".join(filter(None, (short_description, long_description))))]


def render(conn):
    """The whole text. Depends on the extension alone, and neither on the server's version nor on what the log has."""
    functions = [Function(row) for row in conn.execute(FUNCTIONS).fetchall()]
    relations = {row[0]: row for row in conn.execute(RELATIONS).fetchall()}
    types = dict(conn.execute(TYPES).fetchall())
    by_name = {}
    for function in functions:
        by_name.setdefault(function.name, []).append(function)
    made = rooms()
    left = (by_name.keys() | relations.keys() | types.keys()) - {name for names in made.values() for name in names}
    assert not left, f"no file of sql/ makes {left}"

    titles = [*PARTS, "Settings", "Roles", "Event triggers", "Errors", "Functions that the extension calls itself"]
    lines = ["# SQL reference", "",
             "Every object of schema `immutable`, from the comments that `psql` shows with `\\df+` and `\\d+`. `make reference` writes",
             "this file; the comments are in `sql/`.", ""]
    lines += [f"- [{title}](#{title.lower().replace(' ', '-')})" for title in titles] + [""]
    for title, files in PARTS.items():
        lines += [f"## {title}", ""]
        names = [name for file in files for name in made[file]]
        for name in names:
            overloads = [function for function in by_name.get(name, []) if not function.is_internal]
            lines += public(name, overloads) if overloads else []
        for name in names:
            lines += [f"### Type `{name}`", "", *wrapped(prose(types[name])), ""] if name in types else []
            lines += relation(relations[name]) if name in relations else []
    lines += ["## Settings", "", "`SET LOCAL` sets one for the rest of the transaction, as a connection pooler requires.", ""]
    lines += [*table(["Setting", "Default", "Values", "Set by", "Description"], settings(conn)), ""]
    lines += ["## Roles", "", "None of them may log in. A login gets their rights with `GRANT`.", ""]
    lines += [*table(["Role", "Description"], ([code(name), prose(comment)] for name, comment in conn.execute(ROLES).fetchall())), ""]
    lines += ["## Event triggers", ""]
    lines += [*table(["Event trigger", "Event", "Description"], (
        [code(name), event, prose(comment)] for name, event, comment in conn.execute(EVENT_TRIGGERS).fetchall())), ""]
    lines += ["## Errors", "", "The SQLSTATEs that the extension raises itself. Any statement may also fail with PostgreSQL's own.", ""]
    raised = {}
    for function in functions:
        for sqlstate in function.codes(by_name) if not function.comment.startswith("Part of") else ():
            raised.setdefault(sqlstate, {})[f"{function.name}()"] = None
    lines += [*table(["SQLSTATE", "Condition", "Raised by"], (
        [code(sqlstate), CONDITIONS[sqlstate], ", ".join(map(code, raised[sqlstate]))] for sqlstate in sorted(raised))), ""]
    lines += [f"## {titles[-1]}", "", "Triggers, policies, casts and the parts of others. None of them is of use in a statement.", ""]
    for files in PARTS.values():
        for function in (f for file in files for name in made[file] for f in by_name.get(name, []) if f.is_internal):
            types_of = f"{function.types[0]}, …" if len(function.types) > 3 else ", ".join(function.types)
            text = " ".join(paragraph.removeprefix("- ") for paragraph in paragraphs(function.comment))
            lines += wrapped(f"- `{function.name}({types_of})`: {prose(text)}", "  ")
    return "\n".join(lines).rstrip("\n") + "\n"


def main():
    import psycopg

    dsn = f"host={os.environ['PGHOST']} port={os.environ['PGPORT']} user=postgres dbname="
    with psycopg.connect(dsn + "postgres", autocommit=True) as admin:
        admin.execute("DROP DATABASE IF EXISTS reference WITH (FORCE)")
        admin.execute("CREATE DATABASE reference TEMPLATE template0 ENCODING 'UTF8'")
    with psycopg.connect(dsn + "reference", autocommit=True) as conn:
        conn.execute("CREATE EXTENSION immutable")
        sys.stdout.write(render(conn))


if __name__ == "__main__":
    main()
