//! The private key of a witness.

use crate::failure::Failure;
use crate::options::WitnessKeyOptions;
use crate::witness::state::sync_directory;
use immutable_format::tlog::note::{KeyType, SignerKey};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// Bytes that the file of a private key may have.
const KEY_BYTES: u64 = 1024;

/// Reads the private key. Nobody but the owner of its file may be able to read it.
pub fn read_key(path: &Path) -> Result<SignerKey, Failure> {
    let failure = |error: io::Error| Failure::file(path, error.to_string());
    let file = File::open(path).map_err(failure)?;
    let mode = file.metadata().map_err(failure)?.mode();
    if mode & 0o077 != 0 {
        return Err(Failure::file(
            path,
            format!("others than the owner may use the private key (mode {:o})", mode & 0o777),
        ));
    }
    let mut text = String::new();
    file.take(KEY_BYTES).read_to_string(&mut text).map_err(failure)?;
    let key = SignerKey::parse(text.trim_end_matches('\n')).map_err(|error| error.0);
    match key.map(|key| (key.verifier().kind(), key)) {
        Ok((KeyType::Cosignature, key)) => Ok(key),
        Ok(_) => Err(Failure::file(path, "not the private key of a witness: its type is not 0x04".to_string())),
        Err(why) => Err(Failure::file(path, format!("not the private key of a witness: {why}"))),
    }
}

/// Makes a private key, writes it, and prints its verifier key.
pub fn make_key(options: &WitnessKeyOptions) -> Result<(), Failure> {
    let path = &options.key;
    let failure = |error: io::Error| Failure::file(path, error.to_string());
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).map_err(|error| Failure::file(path, format!("no random numbers: {error}")))?;
    let key = SignerKey::new(&options.name, KeyType::Cosignature, &seed);
    seed.fill(0);
    let key =
        key.map_err(|error| Failure::file(Path::new(&options.name), format!("not a name of a key: {}", error.0)))?;
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(failure)?;
    writeln!(file, "{}", key.secret_text()).and_then(|()| file.sync_all()).map_err(failure)?;
    sync_directory(path).map_err(failure)?;
    writeln!(io::stdout(), "{}", key.verifier().text())
        .map_err(|error| Failure::file(Path::new("-"), error.to_string()))
}
