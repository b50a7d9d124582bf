//! The options of the command line, and its help.

use clap::Parser;
use immutable_format::Id;
use std::path::PathBuf;

/// Verifies exports of the immutable audit log offline.
///
/// Recomputes the hash of every event and the commitment of every value that is not erased, and checks the links, the
/// numbering and the order of each lane, the records of erasures, and that nothing is cut off. FILEs are read as one
/// stream, so the parts of a split export verify in their order; each may be plain, gzip or zstd.
///
/// Exit status: 0 no break was found (without --heads a file proves only that it is consistent in itself), 1 breaks were found, 2 wrong usage or a file that cannot be read to its end.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
pub struct Options {
    /// Files written from immutable.export_events(); - is the standard input
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Heads saved earlier, as jsonb_agg(h) of immutable.heads() h gives them: shows what was cut off or rewritten since
    #[arg(long, value_name = "FILE")]
    pub heads: Option<PathBuf>,
    /// Write the heads of the lanes that were read, for --heads of a later run
    #[arg(long, value_name = "FILE")]
    pub save_heads: Option<PathBuf>,
    /// The log that the exports have to be of, as SELECT log_id FROM immutable.log gives it: whoever made up a file from
    /// nothing, or from another log, would have to know it
    #[arg(long, value_name = "UUID", value_parser = log_id)]
    pub log_id: Option<Id>,
    /// Refuse an export that leaves out events of a lane: its header says so, and whoever changes a file can make it say
    /// so to hide a removed event
    #[arg(long)]
    pub whole: bool,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub json: bool,
    /// Most breaks to list; their number is always exact
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub max_breaks: u64,
    /// No progress bar, and of a valid export no summary either
    #[arg(short, long)]
    pub quiet: bool,
}

fn log_id(text: &str) -> Result<Id, String> {
    immutable_format::document::parse_uuid(text).ok_or_else(|| "not a UUID in lower case with hyphens".to_string())
}
