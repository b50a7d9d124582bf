//! The directories of this machine that deliveries may use.

use std::io::Read;
use std::path::PathBuf;

/// A secret has no reason to be longer.
const MAX_SECRET: u64 = 65_536;

/// The directories of this machine that deliveries may use.
///
/// A destination comes from the database. It names files below these directories and no others, so who
/// writes a destination neither reads nor writes elsewhere on the machine of the program.
#[derive(Debug, Clone, Default)]
pub(crate) struct Directories {
    /// `--secrets-dir`: the secrets and the certificates of authorities, one file each.
    pub(crate) secrets: Option<PathBuf>,
    /// `--files-dir`: destinations of type `file` write below it.
    pub(crate) files: Option<PathBuf>,
}

impl Directories {
    /// The secret of this name, without white space around it. It is read each time, so that a new one is used at once.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub(crate) fn secret(&self, name: &str) -> Result<String, String> {
        let directory = self.secrets.as_ref().ok_or("The program was started without --secrets-dir.")?;
        let cannot = |error: std::io::Error| format!("The secret \"{name}\" cannot be read: {}.", error.kind());
        let file = std::fs::File::open(directory.join(name)).map_err(cannot)?;
        let mut text = String::new();
        file.take(MAX_SECRET).read_to_string(&mut text).map_err(cannot)?;
        let text = text.trim();
        if text.is_empty() {
            return Err(format!("The secret \"{name}\" is empty."));
        }
        Ok(text.to_owned())
    }
}
