//! The command line. The manual page is generated from it: see `examples/man.rs`.

use clap::Parser;
use immutable_format::Id;
use std::path::PathBuf;

/// Verifies exports of the immutable audit log without a database
///
/// The program computes the hash of every event again, and the commitment of every value that is
/// not erased. It checks the links, the numbers and the order of each lane, the records of
/// erasures, and that the files are complete. It reads all FILEs as one stream, so the parts of a
/// split export must be given in their order. Each file can be plain, gzip or zstd.
///
/// The verdict is VALID only if something from outside confirms events, such as saved heads
/// (--heads). Without that, a file without breaks is "consistent, not anchored": anybody can make
/// such a file. The last line says how many events are confirmed if it is not all of them.
#[derive(Parser)]
#[command(version, verbatim_doc_comment, after_help = EXIT_STATUS)]
pub(crate) struct Options {
    /// Files that were written from immutable.export_events(); - is the standard input
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Compare with the heads in this file, to find what was cut off or rewritten since they
    /// were saved. The file is one of --save-heads, or what SELECT jsonb_agg(h) FROM
    /// immutable.heads() h returns
    #[arg(long, value_name = "FILE", verbatim_doc_comment)]
    pub(crate) heads: Option<PathBuf>,
    /// Write the heads of all lanes to this file, for --heads of a later run. Nothing is written
    /// if a break is found or if a file cannot be read
    #[arg(long, value_name = "FILE", verbatim_doc_comment)]
    pub(crate) save_heads: Option<PathBuf>,
    /// Refuse an export of any other log. SELECT log_id FROM immutable.log returns the id.
    /// Somebody who makes up a file would have to know it
    #[arg(long, value_name = "UUID", value_parser = log_id, verbatim_doc_comment)]
    pub(crate) log_id: Option<Id>,
    /// Refuse an export if its filters have left out events of a lane. The header of the export
    /// says so, and somebody who removes an event can change the header to hide it
    #[arg(long, verbatim_doc_comment)]
    pub(crate) whole: bool,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub(crate) json: bool,
    /// List at most this number of breaks. The count of breaks is always exact
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub(crate) max_breaks: u64,
    /// Show no progress bar, and no summary if no break is found
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

const EXIT_STATUS: &str = "\
Exit status:
  0  VALID: no break was found, and something from outside confirms what was read
  1  NOT VALID: breaks were found
  2  the command line is wrong, or a file could not be read to its end
  3  consistent, not anchored: no break was found, and nothing from outside confirms anything";

fn log_id(text: &str) -> Result<Id, String> {
    immutable_format::id::parse_uuid(text).ok_or_else(|| "not a UUID in lower case with hyphens".to_string())
}
