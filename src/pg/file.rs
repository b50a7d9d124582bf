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

/// Reads the lines of a file that only the server's user may read, without empty ones and comments.
/// `setting` names the file. Raises 55000 if the file cannot be read, if others may read it, if it is
/// in the data directory, too large or no text. Messages do not contain what it holds.
pub fn secret_lines(name: &str, setting: &str) -> Vec<Zeroizing<String>> {
    let refuse = |why: String, hint: &str| -> ! {
        let message = format!("the file of {setting} cannot be used: {why}");
        Fault::new(Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE, message).field(setting).hint(hint).raise()
    };
    if !Path::new(name).is_absolute() {
        refuse("its name is not absolute".to_string(), "Give the whole path.")
    }
    if is_in_data_directory(Path::new(name)) {
        refuse("it is in the data directory".to_string(), "Move it: copies of the server must not have the keys.")
    }
    // A FIFO of this name would stop the server's process when it is opened.
    let is_private = std::fs::metadata(name).map(|data| (data.is_file(), data.mode() & 0o077 == 0, data.len() <= MOST));
    match is_private {
        Ok((true, true, true)) => {}
        Ok((true, false, _)) => refuse("others may read it".to_string(), "Run chmod 600 on it."),
        Ok((true, true, false)) => refuse("it has more than 64 kB".to_string(), "It has one line for each key."),
        Ok((false, _, _)) => refuse("it is no plain file".to_string(), "Give the name of a file."),
        Err(error) => refuse(error.to_string(), "Check the name and the rights of the file."),
    }
    let opened = std::fs::File::open(name);
    let file = opened.unwrap_or_else(|error| refuse(error.to_string(), "Check the name and the rights of the file."));
    let mut text = Zeroizing::new(String::new());
    if file.take(MOST).read_to_string(&mut text).is_err() {
        refuse("it is no text".to_string(), "It has one line for each key.")
    }
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| Zeroizing::new(line.to_string())).collect()
}
