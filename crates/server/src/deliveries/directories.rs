//! The directories of this machine that deliveries may use.

use std::path::PathBuf;

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
