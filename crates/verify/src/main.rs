//! `immutable-verify` checks what leaves the audit log. It needs no database, and trusts none.
//!
//! [`options`] is the command line. [`input`] reads lines, however a file is compressed; the crate
//! `immutable-format` checks them; [`report`] prints what was found. [`failure`] is why something cannot
//! be read, and [`advice`] what to do about it. [`tree`] compares an export with the tree of a checkpoint,
//! [`receipt`] verifies receipts, and [`trust`] knows whose signatures count. [`witness`] is a
//! service of its own: it cosigns the checkpoints of logs.

mod advice;
mod failure;
mod input;
mod options;
mod receipt;
mod report;
mod tree;
mod trust;
mod witness;

use crate::failure::Failure;
use crate::input::{Input, Progress};
use crate::options::{Command, ExportOptions, Options};
use crate::report::{Report, UNREADABLE};
use crate::tree::Comparison;
use crate::witness::key::make_key;
use crate::witness::run::run as run_witness;
use clap::Parser;
use immutable_format::export::verify::{heads, Head, Verifier};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

fn main() -> ExitCode {
    let Options { command, export } = Options::parse();
    let failed = |failure: Failure| {
        eprintln!("immutable-verify: {failure}");
        UNREADABLE
    };
    let status = match command {
        None => verify(&export),
        Some(Command::Receipt(options)) => receipt::run(&options).unwrap_or_else(failed),
        Some(Command::Witness(options)) => run_witness(&options).map_or_else(failed, |()| 0),
        Some(Command::WitnessKey(options)) => make_key(&options).map_or_else(failed, |()| 0),
    };
    ExitCode::from(status)
}

/// Verifies exports. Returns the exit status.
fn verify(options: &ExportOptions) -> u8 {
    let (mut report, failure) = match Report::new(options) {
        Ok(mut report) => {
            let failure = run(options, &mut report).err();
            (report, failure)
        }
        Err(failure) => (Report::plain(options), Some(failure)),
    };
    report.finish(failure).unwrap_or(UNREADABLE) // nobody reads the output
}

fn run(options: &ExportOptions, report: &mut Report) -> Result<(), Failure> {
    let saved = match &options.heads {
        Some(path) => read_heads(path)?,
        None => Vec::new(),
    };
    let mut progress = Progress::new(options.files.as_slice(), options.quiet || options.json);
    report.tree = Comparison::read(options, &progress)?;
    report.begin_tree();
    let mut verifier = Verifier::new(options.log_id, saved);
    let outcome = read_files(options, &mut verifier, &progress, report);
    report.heads_not_covered = verifier.heads_not_covered();
    let doubts = verifier.take_doubts();
    let (summary, whole) = verifier.finish();
    report.summary = summary;
    let last = options.files.last().map_or(Path::new("-"), PathBuf::as_path);
    let outcome = outcome.and_then(|()| whole.map_err(|malformed| Failure::file(last, malformed.0)));
    let outcome = outcome.and_then(|()| report.end_doubts(&doubts, &options.files, &progress));
    let outcome = outcome.and_then(|()| report.end_tree(&options.files, &progress));
    progress.finish();
    outcome
}

fn read_files(
    options: &ExportOptions,
    verifier: &mut Verifier,
    progress: &Progress,
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
                let what = "the export leaves out events, because it has filters; --whole refuses that";
                return Err(Failure::line(path, number, what.to_string()));
            }
            if let Some(why) = report.unfit(verifier.summary()) {
                return Err(Failure::line(path, number, why));
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
