//! Files of lines below --files-dir, a new one each day and when one is full.
//!
//! A line is on disk before it counts as delivered. A crash in the middle of a line leaves a part of it,
//! which the next writer takes away before it writes: the item was not delivered, so it comes again.

use super::batches::{send, Batches, Limits};
use super::delivery::{later, Delivery};
use super::members::{is_file_name, Members};
use crate::deliveries::outcome::{Outcome, Sent};
use immutable_format::time;
use std::fs::{File, OpenOptions};
use std::io::{Error, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// As much is written and then brought to disk.
const BYTES: usize = 4_000_000;
const MAX_DEPTH: usize = 8;

/// A series of files.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    directory: PathBuf,
    name: String,
    max_bytes: u64,
}

impl Files {
    pub(crate) fn parse(members: &mut Members) -> Result<Files, String> {
        let directory = members.text("directory")?.unwrap_or_default();
        let parts: Vec<&str> = directory.split('/').filter(|part| !part.is_empty()).collect();
        if directory.starts_with('/') || parts.len() > MAX_DEPTH || !parts.iter().all(|part| is_file_name(part)) {
            return Err(format!(
                "destination.directory is not a path below --files-dir, of at most {MAX_DEPTH} names of letters, digits, dots, \
                 hyphens and underscores that begin with a letter or a digit."
            ));
        }
        Ok(Files {
            directory: parts.iter().collect(),
            name: members.file_name("name")?.unwrap_or_else(|| String::from("immutable")),
            max_bytes: members.number("max_bytes", 100_000_000, &(1000..=1_000_000_000_000))?,
        })
    }

    pub(crate) async fn send(&self, delivery: &Delivery<'_>) -> Sent {
        let Some(root) = delivery.directories.files.clone() else {
            return Sent { delivered: 0, outcome: later("The program was started without --files-dir.") };
        };
        let extension = if delivery.format.is_json() { "ndjson" } else { "log" };
        let lines = Lines { files: self, root, extension, lines: delivery.lines() };
        send(&lines, Limits { items: 1000, bytes: BYTES }, delivery.began).await
    }

    /// Appends lines, and returns when they are on disk.
    fn append(&self, root: &Path, extension: &str, lines: &[u8]) -> Result<(), String> {
        let cannot = |what: &str, error: Error| format!("{what}: {error}.");
        let directory = root.join(&self.directory);
        std::fs::create_dir_all(&directory).map_err(|error| cannot("The directory cannot be made", error))?;
        let directory = directory.canonicalize().map_err(|error| cannot("The directory cannot be read", error))?;
        let root = root.canonicalize().map_err(|error| cannot("The directory --files-dir cannot be read", error))?;
        if !directory.starts_with(&root) {
            return Err(String::from("A symbolic link leads out of --files-dir."));
        }
        let path = self.path(&directory, extension, lines.len() as u64)?;
        let is_new = !path.exists();
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o640)
            .open(&path)
            .map_err(|error| cannot("The file cannot be opened", error))?;
        file.try_lock().map_err(|_| String::from("Another program writes to the file."))?;
        let whole = mend(&mut file).map_err(|error| cannot("The file cannot be mended", error))?;
        if let Err(error) = file.write_all(lines).and_then(|()| file.sync_data()) {
            // Where this fails too, the next writer mends the file.
            let _ = file.set_len(whole).and_then(|()| file.sync_data());
            return Err(cannot("The file cannot be written", error));
        }
        if is_new {
            // The names on the way to the file have to be on disk too.
            for directory in directory.ancestors().take_while(|directory| directory.starts_with(&root)) {
                let synced = File::open(directory).and_then(|directory| directory.sync_all());
                synced.map_err(|error| cannot("The directory cannot be written", error))?;
            }
        }
        Ok(())
    }

    /// Today's file that has room: NAME-DAY.ndjson, NAME-DAY.1.ndjson, and so on.
    fn path(&self, directory: &Path, extension: &str, bytes: u64) -> Result<PathBuf, String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_micros());
        let now = i64::try_from(now).ok().and_then(time::format).ok_or("The clock is wrong.")?;
        let day = now.get(..10).unwrap_or_default();
        let path = |number: u32| match number {
            0 => directory.join(format!("{}-{day}.{extension}", self.name)),
            _ => directory.join(format!("{}-{day}.{number}.{extension}", self.name)),
        };
        // What is behind the last file is not there, so its number is found by doubling and halving.
        let exists = |number: u32| path(number).symlink_metadata().is_ok();
        let mut beyond = 1;
        while exists(beyond) {
            beyond *= 2;
        }
        let (mut last, mut missing) = (beyond / 2, beyond);
        while missing - last > 1 {
            let middle = last + (missing - last) / 2;
            if exists(middle) {
                last = middle;
            } else {
                missing = middle;
            }
        }
        let size = path(last).symlink_metadata().map_or(0, |metadata| metadata.len());
        let chosen = if size > 0 && size + bytes > self.max_bytes { last + 1 } else { last };
        match path(chosen).symlink_metadata() {
            Ok(metadata) if !metadata.is_file() => Err(String::from("What has the name of the file is no file.")),
            _ => Ok(path(chosen)),
        }
    }
}

/// Takes away what stands behind the last end of a line, and returns the length that is left.
fn mend(file: &mut File) -> Result<u64, Error> {
    let length = file.metadata()?.len();
    let mut end = length;
    while end > 0 {
        let start = end.saturating_sub(65_536);
        let mut block = vec![0; usize::try_from(end - start).unwrap_or_default()];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut block)?;
        if let Some(at) = block.iter().rposition(|byte| *byte == b'\n') {
            end = start + at as u64 + 1;
            break;
        }
        end = start;
    }
    if end < length {
        file.set_len(end)?;
    }
    Ok(end)
}

struct Lines<'a> {
    files: &'a Files,
    root: PathBuf,
    extension: &'static str,
    lines: Vec<String>,
}

impl Batches for Lines<'_> {
    fn len(&self) -> usize {
        self.lines.len()
    }

    fn size(&self, item: usize) -> Result<usize, String> {
        Ok(self.lines[item].len() + 1)
    }

    async fn post(&self, items: Range<usize>) -> Option<Outcome> {
        let mut bytes = Vec::new();
        for line in &self.lines[items] {
            bytes.extend_from_slice(line.as_bytes());
            bytes.push(b'\n');
        }
        let (files, root, extension) = (self.files.clone(), self.root.clone(), self.extension);
        let written = tokio::task::spawn_blocking(move || files.append(&root, extension, &bytes)).await;
        written.unwrap_or_else(|error| Err(error.to_string())).err().map(later)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn files(json: &serde_json::Value) -> Result<Files, String> {
        let mut members = Members::of(json, "destination.")?;
        let files = Files::parse(&mut members)?;
        members.finish()?;
        Ok(files)
    }

    fn fresh() -> PathBuf {
        let path = std::env::temp_dir().join(format!("immutable-files-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir(&path).unwrap();
        path
    }

    #[test]
    fn no_path_leads_out() {
        for directory in ["..", "a/../..", "/etc", "a/./b", ".hidden", "a\\b", "a b", "a\0b", "a/b/c/d/e/f/g/h/i"] {
            let refused = files(&json!({"directory": directory})).expect_err(directory);
            assert!(refused.starts_with("destination.directory"), "{refused}");
        }
        for name in ["../x", "a/b", "", "..", ".x"] {
            assert!(files(&json!({"name": name})).unwrap_err().starts_with("destination.name"), "{name}");
        }
        assert!(files(&json!({"directory": "siem/eu-1"})).is_ok());
        let (root, elsewhere) = (fresh(), fresh());
        std::os::unix::fs::symlink(&elsewhere, root.join("link")).unwrap();
        let refused = files(&json!({"directory": "link"})).unwrap().append(&root, "ndjson", b"x\n").unwrap_err();
        assert_eq!(refused, "A symbolic link leads out of --files-dir.");
        assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 0);
        std::fs::remove_dir_all(root).and_then(|()| std::fs::remove_dir_all(elsewhere)).unwrap();
    }

    #[test]
    fn a_full_file_is_followed_by_another() {
        let root = fresh();
        let files = files(&json!({"max_bytes": 1000})).unwrap();
        for number in 0..12 {
            files.append(&root, "ndjson", format!("{number:0599}\n").as_bytes()).unwrap();
        }
        let mut names: Vec<_> = std::fs::read_dir(&root).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names.len(), 12, "{names:?}");
        std::fs::remove_dir_all(root).unwrap();
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn a_torn_line_is_taken_away(lines in prop::collection::vec("[a-z]{0,90}", 1..9), cut in 0usize..900, big in any::<bool>()) {
            let root = fresh();
            let files = files(&json!({})).unwrap();
            let mut written: String = lines.iter().map(|line| format!("{line}\n")).collect();
            if big {
                written.push_str(&"z".repeat(200_000));
                written.push('\n');
            }
            files.append(&root, "ndjson", written.as_bytes()).unwrap();
            let path = std::fs::read_dir(&root).unwrap().next().unwrap().unwrap().path();
            let kept = written.len().saturating_sub(cut);
            OpenOptions::new().write(true).open(&path).unwrap().set_len(kept as u64).unwrap();
            files.append(&root, "ndjson", b"next\n").unwrap();
            let whole = written[..kept].rfind('\n').map_or(0, |at| at + 1);
            prop_assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{}next\n", &written[..whole]));
            std::fs::remove_dir_all(root).unwrap();
        }
    }
}
