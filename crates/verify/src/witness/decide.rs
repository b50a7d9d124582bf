//! What a witness answers to a request, and that nothing is answered before it is stored.

use crate::witness::state::{Saved, State};
use immutable_format::sha256;
use immutable_format::tlog::checkpoint::SignedCheckpoint;
use immutable_format::tlog::cosignature::cosign;
use immutable_format::tlog::note::{SignatureLine, SignerKey, VerifierKey};
use immutable_format::tlog::request::AddCheckpoint;
use immutable_format::tlog::tree::{is_consistent, EMPTY_ROOT};
use immutable_format::Hash;
use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};

/// What a witness answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// 200: its signature line.
    Cosigned(String),
    /// 400.
    Malformed(String),
    /// 403.
    NotSigned(&'static str),
    /// 404.
    UnknownLog,
    /// 409, with the size of the checkpoint that it cosigned last.
    OtherSize(u64),
    /// 422.
    Inconsistent(&'static str),
    /// 500: the state could not be kept.
    NotKept(String),
}

/// A witness with its state.
pub struct Witness {
    key: SignerKey,
    /// The keys of each log, by origin.
    logs: HashMap<String, Vec<VerifierKey>>,
    state: Mutex<State>,
}

impl Witness {
    /// Returns a witness with this key that cosigns for logs with these keys, by origin.
    pub fn new(key: SignerKey, logs: HashMap<String, Vec<VerifierKey>>, state: State) -> Witness {
        Witness { key, logs, state: Mutex::new(state) }
    }

    /// Answers a call of add-checkpoint. What is compared and what is stored is one step: the state is
    /// locked from the comparison until it is on disk. `now` is in seconds since 1970.
    pub fn add_checkpoint(&self, body: &[u8], now: u64) -> Answer {
        let read = AddCheckpoint::parse(body)
            .and_then(|request| Ok((SignedCheckpoint::parse(request.note.as_bytes())?, request)));
        let (signed, request) = match read {
            Ok(read) => read,
            Err(error) => return Answer::Malformed(error.0),
        };
        let lines = match self.log_lines(&signed) {
            Ok(lines) => lines,
            Err(answer) => return answer,
        };
        let new = &signed.checkpoint;
        if request.old > new.size {
            return Answer::Malformed("the old size is above that of the checkpoint".to_string());
        }
        // A cosignature without a time says less than it must.
        let Some(mut state) = self.state.lock().ok().filter(|_| now > 0) else {
            return Answer::NotKept("the clock is not set, or an earlier call has failed".to_string());
        };
        let (held, root) = match state.get(&new.origin) {
            Some(held) => (held.checkpoint.size, held.checkpoint.root),
            None => (0, EMPTY_ROOT),
        };
        if request.old != held {
            return Answer::OtherSize(held);
        }
        if !is_consistent((held, &root), (new.size, &new.root), &request.proof) {
            return inconsistent(&signed, &lines, held, &root);
        }
        let line = cosign(&self.key, &signed.note.text, now);
        let note = [signed.note.text.as_str(), "\n", &lines, &line].concat();
        match SignedCheckpoint::parse(note.as_bytes()).map(|checkpoint| state.put(checkpoint)) {
            Ok(Saved::OnDisk) => Answer::Cosigned(line),
            Ok(Saved::Not(why)) => Answer::NotKept(why),
            Err(error) => Answer::NotKept(error.0),
        }
    }

    /// The lines of a checkpoint that known keys of its log have signed.
    fn log_lines(&self, signed: &SignedCheckpoint) -> Result<String, Answer> {
        let keys = self.logs.get(&signed.checkpoint.origin).ok_or(Answer::UnknownLog)?;
        let mut lines = String::new();
        for key in keys {
            match signed.note.is_signed_by(key) {
                Some(true) => lines.extend(signed.note.lines_of(key).map(SignatureLine::text)),
                Some(false) => {
                    return Err(Answer::NotSigned("a signature of a known key is not valid, or there twice"))
                }
                None => {}
            }
        }
        match lines.is_empty() {
            true => Err(Answer::NotSigned("no known key of the log has signed the checkpoint")),
            false => Ok(lines),
        }
    }

    /// Returns the last checkpoint of the log with this SHA-256 of its origin in lower-case hex digits.
    pub fn last(&self, origin_hash: &str) -> Option<String> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let mut held = state.all();
        let found = held.find(|held| hex::encode(sha256(&[held.checkpoint.origin.as_bytes()])) == origin_hash);
        found.map(|held| held.note.to_text())
    }

    /// Whether the state on disk may be another than the one in memory, so that the witness must stop.
    pub fn is_unsure(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).is_unsure()
    }
}

/// The log has signed what does not follow. That can be a mistake in the proof; the note goes to the
/// program's log, because it can also be what shows that the log has forked. Of its lines only those of
/// the log are written, because anybody can add others to a note that is public.
fn inconsistent(signed: &SignedCheckpoint, lines: &str, held: u64, root: &Hash) -> Answer {
    let new = &signed.checkpoint;
    let why = match new.size {
        0 if new.root != EMPTY_ROOT => "the root is not that of an empty tree",
        size if size == held && new.root != *root => "another root of the size that was cosigned last",
        _ => "the proof does not lead from what was cosigned last to this checkpoint",
    };
    say(&format!("refused: {why}: held size {held}, note {:?}", [&signed.note.text, "\n", lines].concat()));
    Answer::Inconsistent(why)
}

/// Writes a line of the program's log.
pub fn say(line: &str) {
    let _ = writeln!(io::stderr(), "immutable-verify witness: {line}");
}
