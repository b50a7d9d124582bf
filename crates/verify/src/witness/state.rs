//! What a witness remembers: the last checkpoint of each log, as it cosigned it.
//!
//! The file has two lines: a JSON object, and the SHA-256 of that line. It is replaced as a whole: a
//! new file is written and flushed, takes the name of the old one, and then the directory is flushed.
//! Each checkpoint carries the witness's own cosignature, so that a file that somebody made up is
//! refused.

use crate::failure::Failure;
use immutable_format::sha256;
use immutable_format::tlog::checkpoint::SignedCheckpoint;
use immutable_format::tlog::cosignature::of_note;
use immutable_format::tlog::note::VerifierKey;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

/// The object of the first line.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    immutable_witness: u8,
    /// The witness's own key.
    vkey: String,
    /// The checkpoints, as notes with the lines of the log and of the witness.
    checkpoints: Vec<String>,
}

/// The state, with the lock that keeps others from using it.
pub struct State {
    path: PathBuf,
    vkey: String,
    held: BTreeMap<String, SignedCheckpoint>,
    /// Whether the file may be another than what is held here.
    unsure: bool,
    _lock: File,
}

/// Whether a checkpoint was stored.
pub enum Saved {
    /// It is on disk.
    OnDisk,
    /// It is not, or may not be; the reason.
    Not(String),
}

/// The path with something behind its name.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Flushes the directory that a file is in, so that the file's name is on disk.
pub fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory)?.sync_all()
}

/// Takes the lock beside the state.
fn lock(path: &Path) -> Result<File, Failure> {
    let path = beside(path, ".lock");
    let failure = |error: io::Error| Failure::file(&path, error.to_string());
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(failure)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(Failure::file(&path, "another witness is running with this state".to_string()))
        }
        Err(TryLockError::Error(error)) => Err(failure(error)),
    }
}

impl State {
    /// Reads the state, or makes one if `init`. The witness's key is `key`.
    pub fn open(path: &Path, init: bool, key: &VerifierKey) -> Result<State, Failure> {
        let failure = |why: String| Failure::file(path, why);
        let lock = lock(path)?;
        let held = match (OpenOptions::new().read(true).write(true).open(path), init) {
            (Ok(_), true) => {
                return Err(failure("the state is there already; --init makes a new one only".to_string()))
            }
            (Ok(file), false) => read(file, key).map_err(failure)?,
            (Err(error), true) if error.kind() == io::ErrorKind::NotFound => BTreeMap::new(),
            (Err(error), false) if error.kind() == io::ErrorKind::NotFound => {
                return Err(failure("there is no state, and a witness does not start without it".to_string()))
            }
            (Err(error), _) => return Err(failure(error.to_string())),
        };
        let mut state = State { path: path.to_path_buf(), vkey: key.text(), held, unsure: false, _lock: lock };
        // A state that cannot be written is found now, and not when the first log asks.
        match state.save() {
            Saved::OnDisk => Ok(state),
            Saved::Not(why) => Err(failure(format!("the state cannot be written: {why}"))),
        }
    }

    /// Returns the last checkpoint of a log.
    pub fn get(&self, origin: &str) -> Option<&SignedCheckpoint> {
        self.held.get(origin)
    }

    /// Returns the last checkpoints of all logs.
    pub fn all(&self) -> impl Iterator<Item = &SignedCheckpoint> {
        self.held.values()
    }

    /// Whether the file may be another than what is held here.
    pub fn is_unsure(&self) -> bool {
        self.unsure
    }

    /// Stores the new last checkpoint of a log. Unless it is on disk nothing is changed here.
    pub fn put(&mut self, checkpoint: SignedCheckpoint) -> Saved {
        if self.unsure {
            return Saved::Not("the state on disk is not known any more".to_string());
        }
        let origin = checkpoint.checkpoint.origin.clone();
        let before = self.held.insert(origin.clone(), checkpoint);
        let saved = self.save();
        if let Saved::Not(_) = saved {
            match before {
                Some(before) => self.held.insert(origin, before),
                None => self.held.remove(&origin),
            };
        }
        saved
    }

    fn save(&mut self) -> Saved {
        match self.write_new().and_then(|new| fs::rename(new, &self.path)) {
            Err(error) => Saved::Not(error.to_string()),
            Ok(()) => match sync_directory(&self.path) {
                Ok(()) => Saved::OnDisk,
                Err(error) => {
                    self.unsure = true;
                    Saved::Not(format!("the directory could not be flushed: {error}"))
                }
            },
        }
    }

    /// Writes and flushes the file that is to take the place of the state.
    fn write_new(&self) -> io::Result<PathBuf> {
        let content = Content {
            immutable_witness: 1,
            vkey: self.vkey.clone(),
            checkpoints: self.held.values().map(|held| held.note.to_text()).collect(),
        };
        let line = serde_json::to_string(&content)?;
        let path = beside(&self.path, ".new");
        let mut file = File::create(&path)?;
        writeln!(file, "{line}\n{}", hex::encode(sha256(&[line.as_bytes()])))?;
        file.sync_all()?;
        Ok(path)
    }
}

/// Reads and checks the file. An error says why it is not the state of this witness.
fn read(mut file: File, key: &VerifierKey) -> Result<BTreeMap<String, SignedCheckpoint>, String> {
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(|error| format!("the state is damaged: {error}"))?;
    let damaged = |why: &str| format!("the state is damaged: {why}");
    let lines = text.strip_suffix('\n').and_then(|text| text.split_once('\n'));
    let (line, sum) = lines.ok_or_else(|| damaged("it does not have two lines"))?;
    if hex::encode(sha256(&[line.as_bytes()])) != sum {
        return Err(damaged("its second line is not the SHA-256 of its first"));
    }
    let content: Content = serde_json::from_str(line).map_err(|error| damaged(&error.to_string()))?;
    if content.immutable_witness != 1 {
        return Err(damaged("it is of another version than 1"));
    }
    if content.vkey != key.text() {
        return Err(format!("the state is that of the witness {}, and the key is {}", content.vkey, key.text()));
    }
    let mut held = BTreeMap::new();
    for note in content.checkpoints {
        let checkpoint = SignedCheckpoint::parse(note.as_bytes()).map_err(|error| damaged(&error.0))?;
        if !matches!(of_note(&checkpoint.note, key), Some(Some(_))) {
            return Err(damaged("a checkpoint is not cosigned by this witness"));
        }
        if held.insert(checkpoint.checkpoint.origin.clone(), checkpoint).is_some() {
            return Err(damaged("a log is there twice"));
        }
    }
    Ok(held)
}
