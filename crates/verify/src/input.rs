//! Lines of a file, which may be compressed. Memory is bounded by the longest line that the format
//! allows, however large the file is when it is decompressed.

use flate2::bufread::MultiGzDecoder;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Error, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

const CHUNK: usize = 1 << 18;

/// The progress bar. Nothing is drawn if the standard error is not a terminal.
pub struct Progress {
    bar: ProgressBar,
    read: Arc<AtomicU64>,
}

impl Progress {
    pub fn new(files: &[PathBuf], hidden: bool) -> Progress {
        // The size of the standard input, of a pipe and of a device is not known.
        let size =
            |path: &PathBuf| std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file).map(|file| file.len());
        let total: Option<u64> = files.iter().map(size).sum();
        let bar = match total {
            _ if hidden => ProgressBar::hidden(),
            Some(total) => ProgressBar::new(total),
            None => ProgressBar::new_spinner(),
        };
        bar.set_draw_target(if hidden { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr_with_hz(5) });
        let template = match total {
            Some(_) => "{bar:40} {bytes} of {total_bytes}, {bytes_per_sec}, {eta} left",
            None => "{spinner} {bytes}, {bytes_per_sec}, {elapsed}",
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Progress { bar, read: Arc::default() }
    }

    pub fn finish(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// Counts the bytes that are read of a file, compressed as it is.
struct Counted<R> {
    inner: R,
    read: Arc<AtomicU64>,
    bar: ProgressBar,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        let all = self.read.fetch_add(read as u64, Ordering::Relaxed) + read as u64;
        self.bar.set_position(all);
        Ok(read)
    }
}

/// A file, line by line.
pub struct Input {
    inner: Box<dyn Read>,
    buffer: Vec<u8>,
    /// The begin and the end of the bytes that were not returned yet.
    start: usize,
    end: usize,
    ended: bool,
    /// Lines returned so far.
    pub number: u64,
}

impl Input {
    pub fn open(path: &Path, progress: &Progress) -> io::Result<Input> {
        let inner: Box<dyn Read> = match path.to_str() {
            Some("-") => Box::new(io::stdin()),
            _ => Box::new(File::open(path)?),
        };
        let counted = Counted { inner, read: progress.read.clone(), bar: progress.bar.clone() };
        let mut packed = BufReader::with_capacity(CHUNK, counted);
        // The first bytes say how the file is compressed; its name need not be true.
        let head = packed.fill_buf()?;
        let inner: Box<dyn Read> = match head {
            [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(packed)),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(zstd::Decoder::with_buffer(packed)?),
            _ => Box::new(packed),
        };
        Ok(Input { inner, buffer: vec![0; CHUNK], start: 0, end: 0, ended: false, number: 0 })
    }

    /// Returns the next line, of at most `most` bytes, without its line feed, which the last line
    /// may lack.
    pub fn next(&mut self, most: usize) -> io::Result<Option<&[u8]>> {
        let mut searched = self.start;
        loop {
            if let Some(found) = memchr::memchr(b'\n', &self.buffer[searched..self.end]) {
                let line = self.start..searched + found;
                self.start = searched + found + 1;
                self.number += 1;
                return Ok(Some(&self.buffer[line]));
            }
            if self.ended {
                let line = self.start..self.end;
                self.start = self.end;
                self.number += u64::from(!line.is_empty());
                return Ok((!line.is_empty()).then(|| &self.buffer[line]));
            }
            searched = self.fill(most)?;
        }
    }

    /// Reads more into the buffer. Returns where the new bytes begin.
    fn fill(&mut self, most: usize) -> io::Result<usize> {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
        }
        if self.end > most {
            return Err(Error::new(ErrorKind::InvalidData, format!("a line of more than {most} bytes")));
        }
        if self.end == self.buffer.len() {
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        let before = self.end;
        loop {
            match self.inner.read(&mut self.buffer[before..]) {
                Ok(read) => {
                    self.end += read;
                    self.ended = read == 0;
                    return Ok(before);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    return Err(Error::new(ErrorKind::UnexpectedEof, "the compressed file is cut off"));
                }
                Err(error) => return Err(error),
            }
        }
    }
}
