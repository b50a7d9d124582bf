//! What happened to a file on its way, and what to do about it. The reader of an error of this
//! program has a file that somebody else made, and seldom has the database.

use immutable_format::export::read;

/// How to write a file whose encoding nothing changes.
const AGAIN: &str =
    "Export again, with ENCODING 'UTF8' in the COPY, into a file that psql itself writes: \\copy … TO 'file', \
    or psql -o. A shell can change the encoding when > writes the file, as PowerShell does.";
const COPY: &str =
    "Export again with this command: COPY (SELECT immutable.export_events()) TO STDOUT WITH (FORMAT csv, QUOTE e'\\x01', \
    DELIMITER e'\\x02', ENCODING 'UTF8').";
const WHOLE: &str =
    "Copy the file again. If that does not help, export again, and check that psql ends without an error.";

/// What is wrong with a line, if that has a name, and what to do.
pub struct Advice {
    pub what: Option<String>,
    pub todo: &'static str,
}

fn named(what: impl Into<String>, todo: &'static str) -> Advice {
    Advice { what: Some(what.into()), todo }
}

/// Advice on a line that is not one of an export; `first` if it is the first of its file.
pub fn on_line(line: &[u8], first: bool) -> Advice {
    if first {
        match line {
            [0xef, 0xbb, 0xbf, ..] => {
                return named(
                    "a byte order mark (EF BB BF) stands before the export; an editor or a shell has written it",
                    AGAIN,
                )
            }
            [0xff, 0xfe, ..] => {
                return named(
                    "UTF-16 (its mark FF FE) instead of UTF-8; a shell has changed the encoding of the export",
                    AGAIN,
                )
            }
            [0xfe, 0xff, ..] => {
                return named(
                    "UTF-16 (its mark FE FF) instead of UTF-8; a shell has changed the encoding of the export",
                    AGAIN,
                )
            }
            [b'{', 0, ..] | [0, b'{', ..] => {
                return named(
                    "UTF-16 without a mark instead of UTF-8; something has changed the encoding of the export",
                    AGAIN,
                )
            }
            _ => {}
        }
    }
    if let Err(error) = std::str::from_utf8(line) {
        let at = error.valid_up_to() + 1;
        return named(
            format!(
                "not UTF-8, at byte {at}: the client or a shell has changed the encoding of the export, or a byte was damaged"
            ),
            AGAIN,
        );
    }
    if line.ends_with(b"}\r") || line == b"\r" {
        return named(
            "the line ends in CR LF; a client, a shell or an editor on Windows has changed the line ends",
            AGAIN,
        );
    }
    if line.iter().all(u8::is_ascii_whitespace) {
        return named("an empty line; an export has none", "Remove the empty lines, and find out what added them.");
    }
    if is_doubled(line) {
        return named("every backslash is doubled, because COPY wrote its text format", COPY);
    }
    if line.starts_with(b"\"{\"\"") {
        return named("the line is quoted, because COPY wrote CSV with its default quotes", COPY);
    }
    if first && !line.starts_with(b"{") {
        return Advice { what: None, todo: COPY };
    }
    Advice { what: None, todo: WHOLE }
}

/// Whether the line would be one of an export if it had half of its backslashes.
fn is_doubled(line: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(line) else { return false };
    text.contains("\\\\") && read::line(line).is_err() && read::line(text.replace("\\\\", "\\").as_bytes()).is_ok()
}

/// Parts of messages of this program and of the system, each with what to do.
const KNOWN: &[(&str, &str)] = &[
    ("an export begins with its header", "Give all parts of the export in their order. The first part has the header."),
    ("a header where", "The export before this line is cut off. Give all of its parts, in their order."),
    (
        "an export of log",
        "Verify the exports of each log in a run of their own. If you did not expect this log, ask who made the export.",
    ),
    (
        "the export leaves out",
        "Ask for an export without any filter except tenant_id, or run without --whole if you know what the filters left out.",
    ),
    ("cut off", WHOLE),
    ("there is no export", COPY),
    ("of another version", "Use a version of immutable-verify that is as new as the extension in the database."),
    ("a line of more than", "No event makes such a long line. Ask who made the file, and how."),
    (
        "JSON array of",
        "Save heads with --save-heads, or with psql -At -c 'SELECT jsonb_agg(h) FROM immutable.heads() h'.",
    ),
    ("No such file", "Check the name and the directory of the file."),
    ("Permission denied", "Ask for the right to read the file, or to write in its directory."),
    ("Is a directory", "Give the name of a file."),
];

/// Whether a message has advice of its own, whatever the line is.
pub fn is_known(message: &str) -> bool {
    KNOWN.iter().any(|(part, _)| message.contains(part))
}

/// Advice on another failure.
pub fn on(message: &str) -> &'static str {
    KNOWN.iter().find(|(part, _)| message.contains(part)).map_or(WHOLE, |(_, todo)| todo)
}
