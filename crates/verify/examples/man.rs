//! Prints the manual page of `immutable-verify`, which is kept in `man/`:
//! `cargo run -p immutable-verify --example man > crates/verify/man/immutable-verify.1`

use clap::CommandFactory;
use clap_mangen::roff::{bold, italic, roman, Roff};
use clap_mangen::Man;
use std::io::{self, Write};

#[path = "../src/options.rs"]
#[allow(dead_code, reason = "the fields are read by the program alone")]
mod options;

fn main() -> io::Result<()> {
    let mut page = Vec::new();
    write_page(&mut page)?;
    io::stdout().write_all(&page)
}

/// Writes the page: the sections that follow from the command line, and those that it does not
/// know.
pub(crate) fn write_page(out: &mut dyn Write) -> io::Result<()> {
    let command = options::Options::command();
    // The long text begins with the short one, which stands under NAME already.
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let description = command.get_long_about().map(ToString::to_string).unwrap_or_default();
    let description = description.trim_start_matches(&about).trim_start().to_string();
    let man = Man::new(command.long_about(description)).title("IMMUTABLE-VERIFY").manual("immutable").date("");
    man.render_title(out)?;
    man.render_name_section(out)?;
    write_synopsis(out)?;
    man.render_description_section(out)?;
    man.render_options_section(out)?;
    write_commands(out)?;
    write_exit_status(out)?;
    write_examples(out)?;
    write_see_also(out)
}

/// clap_mangen would list the options without their values.
fn write_synopsis(out: &mut dyn Write) -> io::Result<()> {
    let mut roff = Roff::new();
    roff.control("SH", ["SYNOPSIS"]);
    let option = || [roman(" ["), italic("OPTION"), roman("]... ")];
    let files = [italic("FILE"), roman("...")];
    roff.text([&[bold("immutable-verify")], &option()[..], &files].concat());
    for (command, rest) in [
        ("receipt", &[&option()[..], &files].concat()[..]),
        ("witness", &option()),
        ("witness-key", &[roman(" "), italic("NAME"), bold(" --key "), italic("FILE")]),
    ] {
        roff.control("br", []);
        roff.text([&[bold("immutable-verify "), bold(command)], rest].concat());
    }
    roff.to_writer(out)
}

/// A section for each command: what it does, and its options.
fn write_commands(out: &mut dyn Write) -> io::Result<()> {
    for command in options::Options::command().get_subcommands() {
        let mut roff = Roff::new();
        let name = command.get_name();
        roff.control("SH", [format!("IMMUTABLE-VERIFY {}", name.to_uppercase()).as_str()]);
        let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
        for paragraph in about.split("\n\n") {
            roff.control("PP", []).text([roman(paragraph)]);
        }
        roff.to_writer(out)?;
        // The section of the options, without its heading.
        let mut options = Vec::new();
        Man::new(command.clone().disable_help_flag(true)).render_options_section(&mut options)?;
        let options = String::from_utf8_lossy(&options).into_owned();
        out.write_all(options.split_once(".SH OPTIONS\n").map_or("", |(_, options)| options).as_bytes())?;
    }
    Ok(())
}

fn write_exit_status(out: &mut dyn Write) -> io::Result<()> {
    let mut roff = Roff::new();
    roff.control("SH", ["EXIT STATUS"]);
    for (status, meaning) in [
        ("0", "VALID: no break was found, and something from outside confirms what was read. The last line says how much of it."),
        ("1", "NOT VALID: breaks were found. The files and the database are evidence: keep them as they are."),
        ("2", "The command line is wrong, or a file could not be read to its end. The message says what to do. A witness that cannot start, or cannot know its state any more, ends with it too."),
        ("3", "Consistent, not anchored: no break was found, and nothing from outside confirms anything. Anybody can make such a file."),
    ] {
        roff.control("TP", []).text([bold(status)]).text([roman(meaning)]);
    }
    roff.to_writer(out)
}

fn write_examples(out: &mut dyn Write) -> io::Result<()> {
    let mut roff = Roff::new();
    roff.control("SH", ["EXAMPLES"]);
    for (purpose, command) in [
        (
            "Export the log on the server, and compress the export:",
            r#"psql -c "COPY (SELECT immutable.export_events()) TO STDOUT WITH (FORMAT csv, QUOTE e'\x01', DELIMITER e'\x02', ENCODING 'UTF8')" | zstd > audit.ndjson.zst"#,
        ),
        ("Verify the export, and save the heads of its lanes:", "immutable-verify --save-heads heads.json audit.ndjson.zst"),
        (
            "Verify a later export of the whole log against these heads:",
            "immutable-verify --whole --log-id 7f3e1c52-9d0b-4a86-b6f4-2f8f5d1c0e9a --heads heads.json later.ndjson.zst",
        ),
        (
            "Verify an export of the whole log against a checkpoint that witnesses have cosigned:",
            "immutable-verify audit.ndjson.zst --tree tree.ndjson.zst --checkpoint checkpoint --policy policy",
        ),
        ("Verify a receipt, without the log and without a network:", "immutable-verify receipt event.receipt --policy policy"),
        (
            "Make the key of a witness, and run the witness for the first time:",
            "immutable-verify witness-key witness.example.org/audit --key witness.key\nimmutable-verify witness --listen 127.0.0.1:7380 --state witness.state --init --key witness.key --log VKEY",
        ),
        ("Verify an export in three parts:", "immutable-verify audit.1.gz audit.2.gz audit.3.gz"),
        ("Print the result for another program:", "immutable-verify --json audit.ndjson.zst"),
    ] {
        roff.control("PP", []).text([roman(purpose)]);
        roff.control("PP", []).control("RS", ["4"]).control("nf", []).text([roman(command)]);
        roff.control("fi", []).control("RE", []);
    }
    roff.to_writer(out)
}

fn write_see_also(out: &mut dyn Write) -> io::Result<()> {
    let mut roff = Roff::new();
    roff.control("SH", ["SEE ALSO"]);
    roff.text([bold("psql"), roman("(1), "), bold("zstd"), roman("(1), "), bold("gzip"), roman("(1)")]);
    roff.control("PP", []);
    roff.text([roman(
        "docs/verification.md and docs/hash-format.md of immutable: what is verified, and the format of exports.",
    )]);
    roff.to_writer(out)
}
