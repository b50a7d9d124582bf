//! Bytes of a transaction: in memory up to a bound, and beyond it in a temporary file, for which `temp_file_limit` holds.
//!
//! PostgreSQL's BufFile is not used, because it writes what it still holds when it is closed. That can fail, and at the end
//! of a transaction nothing may. This file holds nothing back, and the transaction closes it however it ends.

#![allow(unsafe_code)]

use crate::pg::error::{internal, Code, Fault};
use pgrx::pg_sys;
use std::ffi::CStr;

/// How many bytes stay in memory.
const IN_MEMORY: usize = 1 << 20;

/// How many bytes are read at once.
const READ: usize = 1 << 18;

/// A temporary file of the transaction.
struct File(pg_sys::File);

impl File {
    /// The top transaction owns the file, so that no end of a savepoint closes it.
    fn create() -> File {
        // SAFETY: sets and restores the owner; after an error PostgreSQL sets it itself.
        unsafe {
            pg_sys::PrepareTempTablespaces();
            let owner = pg_sys::CurrentResourceOwner;
            pg_sys::CurrentResourceOwner = pg_sys::TopTransactionResourceOwner;
            let file = pg_sys::OpenTemporaryFile(false);
            pg_sys::CurrentResourceOwner = owner;
            File(file)
        }
    }

    /// Raises PostgreSQL's error if the disk is full (53100), the file would exceed `temp_file_limit` (53400), or it cannot
    /// be written.
    fn write(&self, at: u64, bytes: &[u8]) {
        let event = pg_sys::WaitEventIO::WAIT_EVENT_BUFFILE_WRITE;
        // SAFETY: as many bytes as said, which PostgreSQL only reads.
        let written =
            unsafe { pg_sys::FileWrite(self.0, bytes.as_ptr().cast_mut().cast(), bytes.len() as _, at as i64, event) };
        // PostgreSQL takes a write that was cut short for a full disk.
        if written as i64 != bytes.len() as i64 {
            self.fail("write", &std::io::Error::last_os_error())
        }
    }

    /// Fills `bytes` from the file.
    fn read(&self, at: u64, bytes: &mut [u8]) {
        let event = pg_sys::WaitEventIO::WAIT_EVENT_BUFFILE_READ;
        // SAFETY: as much room as said.
        let read = unsafe { pg_sys::FileRead(self.0, bytes.as_mut_ptr().cast(), bytes.len() as _, at as i64, event) };
        match read as i64 {
            ..0 => self.fail("read", &std::io::Error::last_os_error()),
            read if read != bytes.len() as i64 => internal("a temporary file is cut off"),
            _ => {}
        }
    }

    fn fail(&self, what: &str, error: &std::io::Error) -> ! {
        // SAFETY: the file is open, and its name is a C string.
        let name = unsafe { CStr::from_ptr(pg_sys::FilePathName(self.0)) }.to_string_lossy().into_owned();
        let code = match error.kind() {
            std::io::ErrorKind::StorageFull => Code::ERRCODE_DISK_FULL,
            _ => Code::ERRCODE_IO_ERROR,
        };
        let why = error.to_string();
        let why = why.split(" (os error").next().unwrap_or_default();
        Fault::new(code, format!("could not {what} file \"{name}\": {why}")).raise()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // After an error, the end of the transaction closes it.
        if !std::thread::panicking() {
            // SAFETY: open since it was created: the transaction that owns it has not ended, or is about to.
            unsafe { pg_sys::FileClose(self.0) };
        }
    }
}

/// Bytes that are appended, truncated and read in order. They do not outlast the transaction.
#[derive(Default)]
pub struct Spool {
    file: Option<File>,
    /// How many bytes of the file count.
    filed: u64,
    /// The bytes that follow those of the file.
    rest: Vec<u8>,
}

impl Spool {
    /// How many bytes there are.
    pub fn len(&self) -> u64 {
        self.filed + self.rest.len() as u64
    }

    /// Appends bytes. After an error it is as it was.
    pub fn append(&mut self, bytes: &[u8]) {
        if !self.rest.is_empty() && self.rest.len() + bytes.len() > IN_MEMORY {
            self.file.get_or_insert_with(File::create).write(self.filed, &self.rest);
            self.filed += self.rest.len() as u64;
            self.rest.clear();
            self.rest.shrink_to(IN_MEMORY);
        }
        self.rest.extend_from_slice(bytes);
    }

    /// Forgets the bytes from `length` on. It calls nothing of PostgreSQL's: what the file holds too much is overwritten.
    pub fn truncate(&mut self, length: u64) {
        match length.checked_sub(self.filed) {
            Some(rest) => self.rest.truncate(rest as usize),
            None => {
                self.filed = length;
                self.rest.clear();
            }
        }
    }

    /// Reads from the beginning.
    pub fn read(&self) -> Reading<'_> {
        Reading { spool: self, next: 0, ahead: Vec::new(), taken: 0 }
    }

    fn fill(&self, at: u64, bytes: &mut [u8]) {
        let from_file = (self.filed.saturating_sub(at)).min(bytes.len() as u64) as usize;
        let (filed, rest) = bytes.split_at_mut(from_file);
        if let Some(file) = self.file.as_ref().filter(|_| !filed.is_empty()) {
            file.read(at, filed);
        }
        if !rest.is_empty() {
            let start = (at + from_file as u64 - self.filed) as usize;
            rest.copy_from_slice(&self.rest[start..start + rest.len()]);
        }
    }
}

/// A place in a spool, up to which it was read.
pub struct Reading<'s> {
    spool: &'s Spool,
    /// Where the bytes end that were read ahead.
    next: u64,
    ahead: Vec<u8>,
    /// How many of them were taken.
    taken: usize,
}

impl Reading<'_> {
    /// The next bytes, so many; None at the end.
    pub fn take(&mut self, length: usize) -> Option<&[u8]> {
        if self.ahead.len() - self.taken < length {
            let left = self.spool.len() - self.next;
            if self.ahead.len() == self.taken && left == 0 {
                return None;
            }
            self.ahead.drain(..self.taken);
            self.taken = 0;
            let kept = self.ahead.len();
            let more = length.max(READ).saturating_sub(kept).min(left as usize);
            self.ahead.resize(kept + more, 0);
            self.spool.fill(self.next, &mut self.ahead[kept..]);
            self.next += more as u64;
            if self.ahead.len() < length {
                internal("what was kept of a transaction is cut off")
            }
        }
        self.taken += length;
        Some(&self.ahead[self.taken - length..self.taken])
    }
}
