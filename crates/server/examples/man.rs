//! Prints the manual page of `immutable-server`, which is kept in `man/`:
//! `cargo run -p immutable-server --example man > crates/server/man/immutable-server.1`

use clap::CommandFactory;
use clap_mangen::roff::{bold, italic, roman, Roff};
use clap_mangen::Man;
use std::io::{self, Write};

#[path = "../src/configuration.rs"]
#[allow(dead_code, reason = "the program alone reads files")]
mod configuration;
#[path = "../src/options.rs"]
#[allow(dead_code, reason = "the fields are read by the program alone")]
mod options;

fn main() -> io::Result<()> {
    let mut page = Vec::new();
    write_page(&mut page)?;
    io::stdout().write_all(&page)
}

/// Writes the page: the sections that follow from the command line, and those that it does not know.
pub(crate) fn write_page(out: &mut dyn Write) -> io::Result<()> {
    let command = options::Options::command();
    // The long text begins with the short one, which stands under NAME already.
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    let description = command.get_long_about().map(ToString::to_string).unwrap_or_default();
    let description = description.trim_start_matches(&about).trim_start().to_string();
    let man = Man::new(command.long_about(description)).title("IMMUTABLE-SERVER").manual("immutable").date("");
    man.render_title(out)?;
    man.render_name_section(out)?;
    let mut synopsis = Roff::new();
    synopsis.control("SH", ["SYNOPSIS"]);
    synopsis.text([bold("immutable-server"), roman(" ["), italic("OPTION"), roman("]...")]);
    synopsis.to_writer(out)?;
    man.render_description_section(out)?;
    man.render_options_section(out)?;
    write_rest(out)
}

fn write_rest(out: &mut dyn Write) -> io::Result<()> {
    let mut roff = Roff::new();
    roff.control("SH", ["SIGNALS"]);
    roff.text([
        bold("SIGTERM"),
        roman(" and "),
        bold("SIGINT"),
        roman(": the program takes no further requests, answers those that have begun, and ends."),
    ]);
    roff.control("SH", ["EXIT STATUS"]);
    for (status, meaning) in [
        ("0", "It was told to stop, and has answered every request."),
        ("2", "The command line, the environment or the configuration file is wrong, or it cannot listen. The message says what to do."),
    ] {
        roff.control("TP", []).text([bold(status)]).text([roman(meaning)]);
    }
    roff.control("SH", ["FILES"]);
    roff.control("TP", []).text([italic("/etc/immutable/server.toml")]);
    roff.text([roman("The configuration of the service of Debian's package. Its names are those of the options.")]);
    roff.control("SH", ["EXAMPLES"]);
    roff.control("PP", [])
        .text([roman("Serve the log of the database app on loopback, behind a proxy on the same machine:")]);
    roff.control("PP", []).control("RS", ["4"]).control("nf", []);
    roff.text([roman(
        "immutable-server --database 'host=/var/run/postgresql user=immutable_web dbname=app' --trusted-proxy 127.0.0.1/32",
    )]);
    roff.control("fi", []).control("RE", []);
    roff.control("SH", ["SEE ALSO"]);
    roff.text([roman("docs/server.md of immutable: the guide to the server.")]);
    roff.to_writer(out)
}
