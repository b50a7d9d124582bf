//! immutable-verify: checks exports of the audit log, without a database and without believing one.
//!
//! [`input`] gives lines, whatever they are packed in; the format's own crate checks each; [`report`] says what was found
//! and [`advice`] what to do about a file that is none.

mod advice;
mod input;
mod report;

use clap::Parser;
use immutable_format::export::verify::{heads, Head, Verifier};
use immutable_format::Id;
use input::{Input, Progress};
use report::{Failure, Report};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Verifies exports of the immutable audit log offline.
///
/// Recomputes the hash of every event and the commitment of every value that is not erased, and checks the links, the
/// numbering and the order of each lane, the records of erasures, and that nothing is cut off. FILEs are read as one
/// stream, so the parts of a split export verify in their order; each may be plain, gzip or zstd.
///
/// Exit status: 0 no break was found (without --heads a file proves only that it is consistent in itself), 1 breaks were found, 2 wrong usage or a file that cannot be read to its end.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Options {
    /// Files written from immutable.export_events(); - is the standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Heads saved earlier, as jsonb_agg(h) of immutable.heads() h gives them: shows what was cut off or rewritten since
    #[arg(long, value_name = "FILE")]
    heads: Option<PathBuf>,
    /// Write the heads of the lanes that were read, for --heads of a later run
    #[arg(long, value_name = "FILE")]
    save_heads: Option<PathBuf>,
    /// The log that the exports have to be of, as SELECT log_id FROM immutable.log gives it: whoever made up a file from
    /// nothing, or from another log, would have to know it
    #[arg(long, value_name = "UUID", value_parser = log_id)]
    log_id: Option<Id>,
    /// Refuse an export that leaves out events of a lane: its header says so, and whoever changes a file can make it say
    /// so to hide a removed event
    #[arg(long)]
    whole: bool,
    /// Print one JSON object instead of text
    #[arg(long)]
    json: bool,
    /// Most breaks to list; their number is always exact
    #[arg(long, value_name = "N", default_value_t = 1000)]
    max_breaks: u64,
    /// No progress bar, and of a valid export no summary either
    #[arg(short, long)]
    quiet: bool,
}

fn log_id(text: &str) -> Result<Id, String> {
    immutable_format::document::parse_uuid(text).ok_or_else(|| "not a UUID in lower case with hyphens".to_string())
}

fn main() -> ExitCode {
    let options = Options::parse();
    let (mut report, failure) = match Report::new(&options) {
        Ok(mut report) => {
            let failure = run(&options, &mut report).err();
            (report, failure)
        }
        Err(failure) => (Report::plain(&options), Some(failure)),
    };
    match report.finish(failure) {
        Ok(status) => ExitCode::from(status),
        Err(_) => ExitCode::from(2), // nobody reads what we write
    }
}

fn run(options: &Options, report: &mut Report) -> Result<(), Failure> {
    let saved = match &options.heads {
        Some(path) => read_heads(path)?,
        None => Vec::new(),
    };
    let mut verifier = Verifier::new(options.log_id, saved);
    let mut progress = Progress::new(options.files.as_slice(), options.quiet || options.json);
    let outcome = read_files(options, &mut verifier, &mut progress, report);
    progress.finish();
    report.heads_not_covered = verifier.heads_not_covered();
    let (summary, whole) = verifier.finish();
    report.summary = summary;
    outcome?;
    let last = options.files.last().map(PathBuf::as_path).unwrap_or(Path::new("-"));
    whole.map_err(|malformed| Failure::file(last, malformed.0))
}

fn read_files(
    options: &Options,
    verifier: &mut Verifier,
    progress: &mut Progress,
    report: &mut Report,
) -> Result<(), Failure> {
    for path in &options.files {
        let mut input = Input::open(path, progress).map_err(|error| Failure::file(path, error.to_string()))?;
        loop {
            let number = input.number + 1;
            let line = match input.next(verifier.line_bytes()) {
                Ok(Some(line)) => line,
                Ok(None) => break,
                Err(error) => return Err(Failure::line(path, number, error.to_string())),
            };
            verifier.line(line, report).map_err(|malformed| Failure::malformed(path, number, malformed.0, line))?;
            if options.whole && !verifier.summary().whole {
                let what = "the export leaves out events, by its filters; --whole refuses that";
                return Err(Failure::line(path, number, what.to_string()));
            }
            if let Some(error) = report.heads_error.take() {
                return Err(error);
            }
        }
    }
    Ok(())
}

fn read_heads(path: &Path) -> Result<Vec<Head>, Failure> {
    let failure = |error: String| Failure::file(path, error);
    let mut text = String::new();
    let file = File::open(path).map_err(|error| failure(error.to_string()))?;
    BufReader::new(file).read_to_string(&mut text).map_err(|error| failure(error.to_string()))?;
    // The aggregate of no rows is NULL, which psql prints as nothing.
    if text.trim().is_empty() || text.trim() == "null" {
        return Ok(Vec::new());
    }
    heads(&text).ok_or_else(|| failure("not a JSON array of {tenant_id, lane, seq, event_hash}".to_string()))
}
