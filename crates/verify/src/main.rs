//! immutable-verify: checks exports of the audit log, without a database and without believing one.
//!
//! [`options`] holds the options of the command line. [`input`] gives lines, whatever they are packed in; the format's own
//! crate checks each; [`report`] says what was found and [`advice`] what to do about a file that is none.

mod advice;
mod input;
mod options;
mod report;

use crate::input::{Input, Progress};
use crate::options::Options;
use crate::report::{Failure, Report};
use clap::Parser;
use immutable_format::export::verify::{heads, Head, Verifier};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

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
