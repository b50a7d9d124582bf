//! The command line. The manual page is generated from it: see `examples/man.rs`.

use clap::{Args, Parser, Subcommand};
use immutable_format::tlog::note::VerifierKey;
use immutable_format::Id;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Verifies exports and receipts of the immutable audit log without a database
///
/// The program computes the hash of every event again, and the commitment of every value that is
/// not erased. It checks the links, the numbers and the order of each lane, the records of
/// erasures, and that the files are complete. It reads all FILEs as one stream, so the parts of a
/// split export must be given in their order. Each file can be plain, gzip or zstd.
///
/// The verdict is VALID only if something from outside confirms events: saved heads (--heads), or
/// a checkpoint that witnesses of a policy have cosigned (--tree, --checkpoint and --policy).
/// Without that, a file without breaks is "consistent, not anchored": anybody can make such a
/// file. The last line says how many events are confirmed if it is not all of them.
///
/// With a command in the first place the program does something else: receipt, witness,
/// witness-key. A file of such a name is given as ./receipt.
#[derive(Parser)]
#[command(
    version,
    verbatim_doc_comment,
    after_help = EXIT_STATUS,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    disable_help_subcommand = true,
    override_usage = "immutable-verify [OPTIONS] <FILE>...\n       immutable-verify <COMMAND>"
)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
    #[command(flatten)]
    pub(crate) export: ExportOptions,
}

#[derive(Args)]
pub(crate) struct ExportOptions {
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
    /// Compare with the tree in this file, which SELECT immutable.export_tree() writes: every event
    /// that the checkpoint covers must be in the tree, and no other. The export must be one of the
    /// whole log. If they differ, the files are read a second time to find the events
    #[arg(long, value_name = "FILE", requires = "checkpoint", verbatim_doc_comment)]
    pub(crate) tree: Option<PathBuf>,
    /// The signed checkpoint that the tree must have the size and the root of, with its
    /// cosignatures
    #[arg(long, value_name = "FILE", requires = "tree", verbatim_doc_comment)]
    pub(crate) checkpoint: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) trust: TrustOptions,
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
    /// List at most this number of breaks. The count of breaks is exact, but for events that are
    /// not in the tree of a checkpoint: where very many are not, only a part is looked up
    #[arg(long, value_name = "N", default_value_t = 1000, verbatim_doc_comment)]
    pub(crate) max_breaks: u64,
    /// Show no progress bar, and no summary if no break is found
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// Whose signatures of a checkpoint are known.
#[derive(Args)]
pub(crate) struct TrustOptions {
    /// The trust policy (C2SP tlog-policy): the logs, the witnesses, and which of them must have
    /// cosigned a checkpoint. Take it from somewhere else than from the database
    #[arg(long, value_name = "FILE", verbatim_doc_comment)]
    pub(crate) policy: Option<PathBuf>,
    /// A key of the log, which SELECT immutable.verifier_key() returns. It can be given several
    /// times. The log's own signature says which log it is and protects nothing, so without a
    /// policy the verdict stays "consistent, not anchored"
    #[arg(long = "log", value_name = "VKEY", value_parser = log_key, verbatim_doc_comment)]
    pub(crate) logs: Vec<VerifierKey>,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    Receipt(ReceiptOptions),
    Witness(WitnessOptions),
    WitnessKey(WitnessKeyOptions),
}

/// Verifies receipts, and shows the event of each
///
/// A receipt, which immutable.receipt() returns, has one event, the values of it that were chosen
/// to be disclosed, and the proof that the event is in the tree of a checkpoint. The program
/// computes the hash of the event and the commitment of each disclosed value, and checks the proof
/// and the signatures of the checkpoint. It needs neither the log nor a network.
///
/// The verdict is VALID if the checkpoint has the cosignatures that the policy asks for. Of several
/// files the worst verdict is the exit status.
#[derive(Args)]
#[command(verbatim_doc_comment, after_help = EXIT_STATUS)]
pub(crate) struct ReceiptOptions {
    /// Receipts; - is the standard input
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) trust: TrustOptions,
    /// Print one JSON object instead of text
    #[arg(long)]
    pub(crate) json: bool,
}

/// Runs a witness, which cosigns checkpoints of logs over HTTP
///
/// The program is a witness of C2SP tlog-witness. A log, or whoever looks after it, sends each
/// checkpoint with a proof that it extends the one that the witness cosigned last, to
/// POST /add-checkpoint; the witness answers with its cosignature. An auditor gets the last
/// checkpoint from GET /HASH/checkpoint, where HASH is the SHA-256 of the log's origin in lower-case
/// hex digits. So a log can neither take back nor rewrite what was cosigned without being found out.
///
/// Run it where the administrators of the database have no access; that is all its worth. It speaks
/// plain HTTP: put a server that speaks TLS in front of it where others are to reach it.
///
/// The state holds the last checkpoint of each log. It is on disk before the witness answers. NO
/// PROGRAM CAN SEE THAT ITS OWN STATE WAS PUT BACK: after a restore from a backup make a new witness
/// key, a new state, and give the new key to those who trust the old one. Otherwise the witness
/// could cosign a log that took back what it had cosigned before.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct WitnessOptions {
    /// The address and the port to listen on, such as 127.0.0.1:7380
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: SocketAddr,
    /// The file with the state. A lock beside it, FILE.lock, lets only one witness use it
    #[arg(long, value_name = "FILE")]
    pub(crate) state: PathBuf,
    /// Make the state. It is refused if the file is there already; without this option the witness
    /// does not start without its state, because a lost state is not the same as no state
    #[arg(long, verbatim_doc_comment)]
    pub(crate) init: bool,
    /// A key of a log whose checkpoints are cosigned. It can be given several times, for several logs
    /// and for several keys of one log
    #[arg(long = "log", value_name = "VKEY", value_parser = log_key, required = true, verbatim_doc_comment)]
    pub(crate) logs: Vec<VerifierKey>,
    /// The file with the witness's private key, which witness-key writes. Nobody but its owner may
    /// read it
    #[arg(long, value_name = "FILE", verbatim_doc_comment)]
    pub(crate) key: PathBuf,
}

/// Makes the key of a witness
///
/// The private key is written to a file that must not be there yet, and that only its owner may
/// read. The verifier key, which policies name and which immutable.add_witness() takes, is printed.
#[derive(Args)]
#[command(verbatim_doc_comment)]
pub(crate) struct WitnessKeyOptions {
    /// The name of the witness: a URL without its scheme, such as witness.example.org/audit. It needs
    /// not be reachable
    #[arg(value_name = "NAME", verbatim_doc_comment)]
    pub(crate) name: String,
    /// The file for the private key
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
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

fn log_key(text: &str) -> Result<VerifierKey, String> {
    use immutable_format::tlog::note::KeyType;
    let key = VerifierKey::parse(text).map_err(|error| error.0)?;
    match key.kind() {
        KeyType::Ed25519 => Ok(key),
        KeyType::Cosignature => Err("this is the key of a witness".to_string()),
    }
}
