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
const POLICY: &str = "Correct the policy. The format is that of c2sp.org/tlog-policy.";
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
    ("the tree is that of log", "Give the export and the tree of one log."),
    ("export_tree(", "Export the tree again, at the size of the checkpoint: the message has the command."),
    ("cannot be compared with the tree", "Export the whole log, without any filter. For a few events ask for receipts."),
    ("only one export can be", "Give the parts of one export, or run once for each export."),
    ("not a line of a tree export", "Write the tree with psql -Atq -c 'SELECT immutable.export_tree(SIZE)' -o FILE."),
    ("more lanes than the tree", "No log makes such a tree export. Ask who made the file, and how."),
    ("tree export", WHOLE),
    (
        "not a signed checkpoint",
        "A checkpoint is three lines, an empty line, and lines of signatures. A witness or SELECT note FROM immutable.checkpoints has it. \
         psql adds a line feed to its end, which has to go.",
    ),
    (
        "not a receipt",
        "Copy the file again as it is, or ask for another receipt: psql -Atq -c \"SELECT rtrim(immutable.receipt(…), E'\\n')\" -o FILE. \
         Without rtrim the file ends with a line feed too many.",
    ),
    ("a key that the policy has", POLICY),
    ("a name that", POLICY),
    ("a name can be", POLICY),
    ("of the policy", POLICY),
    ("not a line of a policy", POLICY),
    ("the policy has no line", POLICY),
    ("a group needs", POLICY),
    ("the key of a log must", POLICY),
    ("the key of a witness must", POLICY),
    ("a control character", POLICY),
    ("a second line with the quorum", POLICY),
    ("not a key of the form", "Copy the verifier key again. It has three parts with + between them."),
    ("the key id", "Copy the verifier key again. It has three parts with + between them."),
    ("others than the owner", "Let only the user that runs the witness read the key: chmod 600 FILE."),
    ("not the private key", "Make the key of a witness with immutable-verify witness-key NAME --key FILE."),
    ("not a name of a key", "Name the witness by a URL without its scheme, such as witness.example.org/audit."),
    ("File exists", "A key is never replaced. Give the name of a file that is not there yet."),
    (
        "there is no state",
        "If this witness has never run, give --init. If its state was lost, make a new key and a new state with it.",
    ),
    ("the state is there already", "Leave --init out. For a new witness give another file, and a new key."),
    (
        "the state is damaged",
        "Do not put an older state back. Make a new key and a new state with it, and give the new key to those who trust this one.",
    ),
    ("the state is that of the witness", "Give the key that the state was made with, or another state with --init."),
    ("the state cannot be written", "See to the disk and to the rights of the directory: a new file is made beside the state."),
    ("the state on disk is not known", "See to the disk. Then start the witness again: it reads its state from the file."),
    ("another witness is running", "Stop the other one, or give this one a state and a key of its own."),
    ("in use", "Stop what listens there, or give another port."),
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
