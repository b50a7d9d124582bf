//! The checkpoints that are kept, with the lines of their witnesses. They are read without trust:
//! what is given out was parsed and its signatures were verified.

use crate::evidence::signing_key::verifier_keys;
use crate::log::row::{hash, stored_text};
use crate::log::tree::{Damaged, View};
use crate::pg::datum::{micros, Datum};
use crate::pg::spi::Arg;
use immutable_format::tlog::checkpoint::{Checkpoint, SignedCheckpoint};
use immutable_format::tlog::cosignature;
use immutable_format::tlog::note::{Note, SignatureLine, VerifierKey};

/// A checkpoint that the log has signed and keeps.
pub struct KeptNote {
    /// What it says.
    pub checkpoint: Checkpoint,
    /// Microseconds since 1970 when it was signed, by the server's clock.
    pub signed_at: i64,
    /// The signed note, with the log's own lines alone.
    pub note: String,
}

/// The newest cosigned checkpoint of an origin.
pub struct Cosigned {
    /// How many events it covers.
    pub size: u64,
    /// Microseconds since 1970 when it was cosigned, by the witness's clock.
    pub at: i64,
}

const COLUMNS: &str = "n.size, n.root, n.signed_at, n.note";

impl KeptNote {
    /// The newest one that is signed.
    pub fn newest(view: View, origin: &str) -> Option<KeptNote> {
        KeptNote::try_newest(view, origin).map(|kept| kept.unwrap_or_else(|damaged| damaged.raise()))
    }

    /// The same, where a damaged one is no error.
    pub fn try_newest(view: View, origin: &str) -> Option<Result<KeptNote, Damaged>> {
        let statement =
            format!("SELECT {COLUMNS} FROM immutable.tree_notes n WHERE n.origin = $1 ORDER BY n.size DESC LIMIT 1");
        KeptNote::try_read(view, origin, &statement, &[Arg::text(origin)])
    }

    /// The one of this size.
    pub fn of_size(view: View, origin: &str, size: u64) -> Option<KeptNote> {
        KeptNote::try_of_size(view, origin, size).map(|kept| kept.unwrap_or_else(|damaged| damaged.raise()))
    }

    fn try_of_size(view: View, origin: &str, size: u64) -> Option<Result<KeptNote, Damaged>> {
        let statement = format!("SELECT {COLUMNS} FROM immutable.tree_notes n WHERE n.origin = $1 AND n.size = $2");
        KeptNote::try_read(view, origin, &statement, &[Arg::text(origin), Arg::Int8(i64::try_from(size).ok()?)])
    }

    /// What is to be kept of a checkpoint that `keys` of the log have signed: their lines alone, and with
    /// them those that the kept note of this size has, if it is sound. The lines of witnesses are stored by
    /// themselves, and a note with two of one witness would not be valid.
    pub fn text_of(signed: &SignedCheckpoint, keys: &[VerifierKey]) -> String {
        let Checkpoint { origin, size, .. } = &signed.checkpoint;
        let kept = KeptNote::try_of_size(View::Now, origin, *size);
        let kept = kept.and_then(Result::ok).and_then(|kept| Note::parse(kept.note.as_bytes()).ok());
        let notes: Vec<&Note> = kept.iter().chain([&signed.note]).collect();
        let line = |key: &VerifierKey| notes.iter().find_map(|note| Some(note.lines_of(key).next()?.text()));
        let lines: String = keys.iter().filter_map(line).collect();
        format!("{}\n{lines}", signed.checkpoint.text())
    }

    fn try_read(view: View, origin: &str, statement: &str, given: &[Arg]) -> Option<Result<KeptNote, Damaged>> {
        let mut found = None;
        view.read(statement, given, |row| {
            let size = row.at(0).map(Datum::i64).and_then(|size| u64::try_from(size).ok());
            let (root, note) = (row.at(1).and_then(hash), row.at(3).and_then(stored_text));
            let (Some(size), Some(root), Some(note)) = (size, root, note) else {
                found = Some(Err(Damaged("a row of immutable.tree_notes is damaged".to_string())));
                return;
            };
            let checkpoint = Checkpoint { origin: origin.to_string(), size, root };
            let signed_at = row.at(2).map(micros).unwrap_or_default();
            found = Some(Ok(KeptNote { checkpoint, signed_at, note: note.to_string() }));
        });
        found.map(|kept: Result<KeptNote, Damaged>| kept.and_then(|kept| kept.check(view).map(|()| kept)))
    }

    /// Checks that the note states what the row says, and that the log signed it.
    fn check(&self, view: View) -> Result<(), Damaged> {
        let damaged = |what: &str| Damaged(format!("the checkpoint of size {} {what}", self.checkpoint.size));
        let signed = SignedCheckpoint::parse(self.note.as_bytes());
        let signed = signed.map_err(|error| damaged(&format!("is malformed: {}", error.0)))?;
        if signed.checkpoint != self.checkpoint || signed.note.text != self.checkpoint.text() {
            return Err(damaged("states another origin, size or root than its row"));
        }
        match signed.is_signed_by_log(&verifier_keys(view, &self.checkpoint.origin)) {
            true => Ok(()),
            false => Err(damaged("is not signed by a key of the log")),
        }
    }

    /// The note with the lines of the witnesses that have cosigned it, each of them verified.
    pub fn cosigned(&self, view: View) -> Result<String, Damaged> {
        let text = self.checkpoint.text();
        let (mut note, mut damaged) = (self.note.clone(), None);
        view.read(
            "SELECT c.vkey, c.line, c.witness FROM immutable.tree_cosignatures c \
             WHERE c.origin = $1 AND c.size = $2 ORDER BY c.cosigned_at, c.vkey",
            &[Arg::text(&*self.checkpoint.origin), Arg::Int8(self.checkpoint.size as i64)],
            |row| {
                let read = |column| row.at(column).and_then(stored_text);
                let key = read(0).and_then(|vkey| VerifierKey::parse(vkey).ok());
                let line = read(1).and_then(|line| SignatureLine::parse(line.trim_end_matches('\n')).ok());
                match (key, line) {
                    (Some(key), Some(line)) if cosignature::verify(&key, &text, &line).is_some() => {
                        note.push_str(&line.text());
                    }
                    _ => damaged = Some(read(2).unwrap_or_default().to_string()),
                }
            },
        );
        match damaged {
            None => Ok(note),
            Some(witness) => Err(Damaged(format!(
                "the cosignature by \"{witness}\" of the checkpoint of size {} is not valid",
                self.checkpoint.size
            ))),
        }
    }
}

impl Cosigned {
    /// The checkpoint itself.
    pub fn kept(&self, view: View, origin: &str) -> Result<KeptNote, Damaged> {
        let missing = || Damaged(format!("the checkpoint of size {} was cosigned, and is missing", self.size));
        KeptNote::try_of_size(view, origin, self.size).unwrap_or_else(|| Err(missing()))
    }

    /// The newest checkpoint of the origin that any witness cosigned.
    pub fn newest(view: View, origin: &str) -> Option<Cosigned> {
        let mut found = None;
        view.read(
            "SELECT c.size, c.cosigned_at FROM immutable.tree_cosignatures c \
             WHERE c.origin = $1 ORDER BY c.size DESC LIMIT 1",
            &[Arg::text(origin)],
            |row| {
                let size = row.at(0).map(Datum::i64).and_then(|size| u64::try_from(size).ok());
                let at = row.at(1).map(micros).unwrap_or_default();
                found = size.map(|size| Cosigned { size, at });
            },
        );
        found
    }
}

/// The size of the newest checkpoint that is kept of an origin, and when it was signed, in microseconds since
/// 1970. The note itself is not looked at, so a damaged one is no error.
pub fn newest(origin: &str) -> Option<(u64, i64)> {
    let mut found = None;
    View::Now.read(
        "SELECT n.size, n.signed_at FROM immutable.tree_notes n WHERE n.origin = $1 ORDER BY n.size DESC LIMIT 1",
        &[Arg::text(origin)],
        |row| found = row.at(0).map(Datum::i64).map(|size| (size.max(0) as u64, row.at(1).map_or(0, micros))),
    );
    found
}

/// The sizes of the checkpoints next to `size` that are kept: the one below, and the one above.
pub fn sizes_near(view: View, origin: &str, size: i64) -> [Option<i64>; 2] {
    [("<", "DESC"), (">", "ASC")].map(|(comparison, order)| {
        let mut found = None;
        let statement = format!(
            "SELECT n.size FROM immutable.tree_notes n \
             WHERE n.origin = $1 AND n.size {comparison} $2 ORDER BY n.size {order} LIMIT 1"
        );
        view.read(&statement, &[Arg::text(origin), Arg::Int8(size)], |row| found = row.at(0).map(Datum::i64));
        found
    })
}
