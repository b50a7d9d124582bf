//! The key of the HMAC that stands for masked values: the first line of the file of immutable.mask_key_file, 64 hex
//! digits. A file that cannot be used is no reason to refuse a change of a row; its events say only that the value
//! changed.

use crate::pg::file;
use crate::settings;
use immutable_format::parse_hex;
use std::cell::RefCell;
use std::rc::Rc;
use zeroize::Zeroizing;

/// The key.
pub type Key = Rc<Zeroizing<[u8; 32]>>;

/// A key, and the file that it was read from, as it was then.
struct Read {
    file: String,
    version: file::Version,
    key: Option<Key>,
}

thread_local! {
    static LAST: RefCell<Option<Read>> = const { RefCell::new(None) };
}

/// The key, if the setting names a file that has one. The file is read again when it has changed.
pub fn key() -> Option<Key> {
    let file = settings::MASK_KEY_FILE.get().filter(|file| !file.is_empty())?.into_string().ok()?;
    let version = file::version(&file)?;
    LAST.with_borrow_mut(|last| {
        if !last.as_ref().is_some_and(|last| last.file == file && last.version == version) {
            let lines = file::secret_lines_of(&file).unwrap_or_default();
            let digits = lines.first().map(|line| Zeroizing::new(line.to_ascii_lowercase()));
            let key = digits.and_then(|digits| parse_hex(&digits)).map(|key| Rc::new(Zeroizing::new(key)));
            *last = Some(Read { file, version, key });
        }
        last.as_ref().and_then(|last| last.key.clone())
    })
}
