//! What happened to a file on its way, and what to do about it. Whoever reads an error of this program has a file that
//! somebody else made, and seldom the database.

use immutable_format::export::read;

/// How to write a file that nothing recodes.
const AGAIN: &str =
    "Export again, with ENCODING 'UTF8' in the COPY, into a file that psql writes: \\copy … TO 'file', or psql -o. \
    A shell's > may recode, as that of PowerShell does.";
const COPY: &str =
    "Export again as the README has it: COPY (SELECT immutable.export_events()) TO STDOUT WITH (FORMAT csv, \
    QUOTE e'\\x01', DELIMITER e'\\x02', ENCODING 'UTF8').";
const WHOLE: &str = "Copy the file again, and if that does not help export again: psql has to end without an error.";

/// What is wrong with a line, where it has a name, and what to do.
pub struct Advice {
    pub what: Option<String>,
    pub todo: &'static str,
}

fn named(what: impl Into<String>, todo: &'static str) -> Advice {
    Advice { what: Some(what.into()), todo }
}

/// Of a line that is none of an export; `first` if it is the first of its file.
pub fn on_line(line: &[u8], first: bool) -> Advice {
    if first {
        match line {
            [0xef, 0xbb, 0xbf, ..] => {
                return named(
                    "a byte order mark (EF BB BF) before the export, which an editor or a shell has put there",
                    AGAIN,
                )
            }
            [0xff, 0xfe, ..] => {
                return named("UTF-16 (its mark FF FE), into which a shell has recoded the export", AGAIN)
            }
            [0xfe, 0xff, ..] => {
                return named("UTF-16 (its mark FE FF), into which a shell has recoded the export", AGAIN)
            }
            [b'{', 0, ..] | [0, b'{', ..] => {
                return named("UTF-16 without a mark, into which something has recoded the export", AGAIN)
            }
            _ => {}
        }
    }
    if let Err(error) = std::str::from_utf8(line) {
        let at = error.valid_up_to() + 1;
        return named(
            format!("not UTF-8, at byte {at}: the client or a shell has recoded the export, or a byte was damaged"),
            AGAIN,
        );
    }
    if line.ends_with(b"}\r") || line == b"\r" {
        return named("the line ends in CR LF, made on the way by a client, a shell or an editor of Windows", AGAIN);
    }
    if line.iter().all(u8::is_ascii_whitespace) {
        return named(
            "an empty line, where an export has none",
            "Remove the empty lines, and look for what put them there.",
        );
    }
    if is_doubled(line) {
        return named("every backslash is doubled, as the text format of COPY does it", COPY);
    }
    if line.starts_with(b"\"{\"\"") {
        return named("the line is quoted, as COPY does it in CSV by default", COPY);
    }
    if first && !line.starts_with(b"{") {
        return Advice { what: None, todo: COPY };
    }
    Advice { what: None, todo: WHOLE }
}

/// Whether it would be a line of an export with half of its backslashes.
fn is_doubled(line: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(line) else { return false };
    text.contains("\\\\") && read::line(line).is_err() && read::line(text.replace("\\\\", "\\").as_bytes()).is_ok()
}

/// Messages of this program and of the system, by a part of each, with what to do.
const KNOWN: &[(&str, &str)] = &[
    ("an export begins with its header", "Give the parts of an export in their order, the first with the header."),
    ("a header where", "The export before is cut off: give it whole, with all of its parts in their order."),
    (
        "an export of log",
        "Verify the exports of each log by themselves, and ask its owner about a log that you did not expect.",
    ),
    (
        "the export leaves out",
        "Ask for an export without filters but tenant_id, or leave out --whole and know what was left out.",
    ),
    ("cut off", WHOLE),
    ("there is no export", COPY),
    ("of another version", "Use an immutable-verify as new as the database's extension."),
    ("a line of more than", "No event makes such a line: ask who made the file how."),
    (
        "JSON array of",
        "Save heads with --save-heads, or with SELECT jsonb_agg(h) FROM immutable.heads() h in psql -At.",
    ),
    ("No such file", "Look at the name and the directory."),
    ("Permission denied", "Ask for the right to read the file, or to write beside it."),
    ("Is a directory", "Name a file."),
];

/// Whether a message has its own advice, whatever is in the line.
pub fn is_known(message: &str) -> bool {
    KNOWN.iter().any(|(part, _)| message.contains(part))
}

/// Of another failure.
pub fn on(message: &str) -> &'static str {
    KNOWN.iter().find(|(part, _)| message.contains(part)).map_or(WHOLE, |(_, todo)| todo)
}
