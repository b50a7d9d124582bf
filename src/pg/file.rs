//! Files that the server reads outside of its data directory.

use crate::pg::error::{Code, Fault};
use crate::pg::server;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use zeroize::Zeroizing;

/// The most bytes of a file of secrets.
const MOST: u64 = 64 * 1024;

/// Whether the file, with its links followed, is in the server's data directory, which backups and
/// standbys copy.
fn is_in_data_directory(name: &Path) -> bool {
    match (name.canonicalize(), server::data_directory().canonicalize()) {
        (Ok(file), Ok(data)) => file.starts_with(data),
        _ => false,
    }
}

/// What distinguishes a file from what it was before: its device, its number, its size, and when it was last changed.
#[derive(PartialEq, Eq)]
pub struct Version([i64; 5]);

/// The version of a file; None if there is none.
pub fn version(name: &str) -> Option<Version> {
    let data = std::fs::metadata(name).ok()?;
    Some(Version([data.dev() as i64, data.ino() as i64, data.size() as i64, data.ctime(), data.ctime_nsec()]))
}

/// Why a file cannot be used, and what to do about it.
pub struct Unusable {
    why: String,
    hint: &'static str,
}

/// Reads the lines of a file that only the server's user may read, without empty ones and comments.
/// `setting` names the file. Raises 55000 if the file cannot be read, if others may read it, if it is
/// in the data directory, too large or no text. Messages do not contain what it holds.
pub fn secret_lines(name: &str, setting: &str) -> Vec<Zeroizing<String>> {
    secret_lines_of(name).unwrap_or_else(|Unusable { why, hint }| {
        let message = format!("the file of {setting} cannot be used: {why}");
        Fault::new(Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, message).field(setting).hint(hint).raise()
    })
}

/// The same without an error.
pub fn secret_lines_of(name: &str) -> Result<Vec<Zeroizing<String>>, Unusable> {
    let unusable = |why: &str, hint| Err(Unusable { why: why.to_string(), hint });
    let failed =
        |error: std::io::Error| Unusable { why: error.to_string(), hint: "Check the name and the rights of the file." };
    if !Path::new(name).is_absolute() {
        return unusable("its name is not absolute", "Give the whole path.");
    }
    if is_in_data_directory(Path::new(name)) {
        return unusable("it is in the data directory", "Move it: copies of the server must not have the keys.");
    }
    // A FIFO of this name would stop the server's process when it is opened.
    let is_private = std::fs::metadata(name).map(|data| (data.is_file(), data.mode() & 0o077 == 0, data.len() <= MOST));
    match is_private.map_err(failed)? {
        (true, true, true) => {}
        (true, false, _) => return unusable("others may read it", "Run chmod 600 on it."),
        (true, true, false) => return unusable("it has more than 64 kB", "It has one line for each key."),
        (false, _, _) => return unusable("it is no plain file", "Give the name of a file."),
    }
    let file = std::fs::File::open(name).map_err(failed)?;
    let mut text = Zeroizing::new(String::new());
    if file.take(MOST).read_to_string(&mut text).is_err() {
        return unusable("it is no text", "It has one line for each key.");
    }
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(|line| Zeroizing::new(line.to_string())).collect())
}
