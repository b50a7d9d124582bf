//! What was found, as text or as JSON. Whatever comes from a file is quoted: it may be meant to play tricks on terminals.

use crate::advice;
use crate::options::Options;
use immutable_format::document::uuid_text;
use immutable_format::export::verify::{Head, Sink, Summary};
use immutable_format::link::Break;
use serde_json::{json, Value};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// Why the files could not be read to their end.
pub struct Failure {
    file: PathBuf,
    line: Option<u64>,
    message: String,
    /// What to do about it.
    todo: &'static str,
}

impl Failure {
    pub fn file(file: &Path, message: String) -> Failure {
        Failure { file: file.to_path_buf(), line: None, todo: advice::on(&message), message }
    }

    pub fn line(file: &Path, line: u64, message: String) -> Failure {
        Failure { line: Some(line), ..Failure::file(file, message) }
    }

    /// Of a line that is none of an export, if its bytes tell more than the message.
    pub fn malformed(file: &Path, number: u64, message: String, line: &[u8]) -> Failure {
        let failure = Failure::line(file, number, message);
        let advice = advice::on_line(line, number == 1);
        match advice.what {
            Some(what) => Failure { message: what, todo: advice.todo, ..failure },
            None if advice::is_known(&failure.message) => failure,
            None => Failure { todo: advice.todo, ..failure },
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.file.display())?;
        match self.line {
            Some(line) => write!(f, ", line {line}: {}", self.message)?,
            None => write!(f, ": {}", self.message)?,
        }
        write!(f, "\n    {}", self.todo)
    }
}

/// A JSON array of heads, written as the lanes end. It gets its name when all was valid, so that heads of something
/// else are never taken for good ones.
struct HeadsFile {
    path: PathBuf,
    unfinished: PathBuf,
    file: BufWriter<File>,
    empty: bool,
}

/// Bytes of texts that a listing held for --json may have: a hostile file can have breaks of any size.
const MOST_LISTED: usize = 64 << 20;

/// What to do about breaks.
const EVIDENCE: &str = "
Keep this file and the database as they are: they are evidence. Export again with ENCODING 'UTF8' first, since a file that
was recoded has breaks too. Then run immutable.verify_breaks() in the database, and compare with a standby, a backup or an
earlier export.
";

pub struct Report {
    json: bool,
    quiet: bool,
    max_breaks: u64,
    breaks: u64,
    listed: Vec<Value>,
    listed_bytes: usize,
    heads: Option<HeadsFile>,
    pub heads_error: Option<Failure>,
    pub heads_not_covered: u64,
    pub summary: Summary,
}

impl Report {
    pub fn new(options: &Options) -> Result<Report, Failure> {
        let mut report = Report::plain(options);
        if let Some(path) = &options.save_heads {
            let mut unfinished = path.clone().into_os_string();
            unfinished.push(".unfinished");
            let unfinished = PathBuf::from(unfinished);
            let file = File::create(&unfinished).map_err(|error| Failure::file(&unfinished, error.to_string()))?;
            let file = BufWriter::new(file);
            report.heads = Some(HeadsFile { path: path.clone(), unfinished, file, empty: true });
        }
        Ok(report)
    }

    /// Without a file for heads.
    pub fn plain(options: &Options) -> Report {
        Report {
            json: options.json,
            quiet: options.quiet,
            max_breaks: options.max_breaks,
            breaks: 0,
            listed: Vec::new(),
            listed_bytes: 0,
            heads: None,
            heads_error: None,
            heads_not_covered: 0,
            summary: Summary::default(),
        }
    }

    /// Prints what is left to say; gives the exit status.
    pub fn finish(&mut self, failure: Option<Failure>) -> io::Result<u8> {
        let failure = self.end_heads(failure);
        let status = match (&failure, self.breaks) {
            (Some(_), _) => 2,
            (None, 0) => 0,
            (None, _) => 1,
        };
        let mut out = io::stdout().lock();
        if self.json {
            writeln!(out, "{}", self.as_json(failure.as_ref()))?;
        } else {
            if self.breaks > self.listed() {
                writeln!(out, "... and {} more", self.breaks - self.listed())?;
            }
            if self.breaks > 0 {
                writeln!(out, "{EVIDENCE}")?;
            }
            if !(self.quiet && status == 0) && self.summary.exports > 0 {
                self.write_summary(&mut out)?;
            }
            if let Some(failure) = &failure {
                out.flush()?;
                writeln!(io::stderr(), "immutable-verify: {failure}")?;
            } else if !self.quiet || status != 0 {
                writeln!(out, "{}", self.verdict(status))?;
            }
        }
        out.flush()?;
        Ok(status)
    }

    /// The last line. What a valid file does not prove is said beside it.
    fn verdict(&self, status: u8) -> &'static str {
        match (status, self.summary.heads_checked, self.summary.gaps) {
            (0, 0, 0) => "VALID (unanchored)",
            (0, 0, _) => "VALID (unanchored, with gaps)",
            (0, _, 0) => "VALID",
            (0, _, _) => "VALID (with gaps)",
            _ => "NOT VALID",
        }
    }

    fn listed(&self) -> u64 {
        self.breaks.min(self.max_breaks)
    }

    fn end_heads(&mut self, failure: Option<Failure>) -> Option<Failure> {
        let Some(heads) = self.heads.as_mut() else { return failure };
        if failure.is_some() || self.breaks > 0 {
            let _ = std::fs::remove_file(&heads.unfinished); // the status tells already that it is of no use
            return failure;
        }
        let written = if heads.empty { heads.file.write_all(b"[]\n") } else { heads.file.write_all(b"\n]\n") };
        let written = written.and_then(|()| heads.file.flush());
        let named = written.and_then(|()| std::fs::rename(&heads.unfinished, &heads.path));
        named.err().map(|error| Failure::file(&heads.path, error.to_string()))
    }

    fn write_summary(&self, out: &mut impl Write) -> io::Result<()> {
        let Summary { exports, events, lanes, links, gaps, erased, erasures_checked, heads_checked, whole, log_id } =
            &self.summary;
        writeln!(out, "log      {}", log_id.as_ref().map_or("none".to_string(), uuid_text))?;
        writeln!(out, "exports  {exports}{}", if *whole { ", with all events of their lanes" } else { "" })?;
        writeln!(out, "events   {events} in {lanes} lanes")?;
        if *events == 0 {
            writeln!(out, "         the export has no events: nothing was verified")?;
        }
        writeln!(out, "links    {links} checked")?;
        if *gaps > 0 {
            writeln!(
                out,
                "         {gaps} places where filters may have left out events: one that was removed there would not show"
            )?;
        }
        let records =
            if *erasures_checked { "each compared with its record" } else { "not compared with their records" };
        writeln!(out, "erased   {erased} values{}", if *erased > 0 { format!(", {records}") } else { String::new() })?;
        writeln!(out, "heads    {heads_checked} checked")?;
        if self.heads_not_covered > 0 {
            writeln!(out, "         {} saved heads lie outside of what was exported", self.heads_not_covered)?;
        }
        if *heads_checked == 0 {
            writeln!(
                out,
                "         Without saved heads the file is only consistent in itself, and anybody can make such a file."
            )?;
            writeln!(
                out,
                "         Nothing shows whether events were rewritten, or an end or a whole lane was cut off."
            )?;
        } else {
            writeln!(
                out,
                "         Events after the saved heads, and lanes without one, are only consistent in themselves."
            )?;
        }
        writeln!(out, "breaks   {}", self.breaks)
    }

    fn as_json(&self, failure: Option<&Failure>) -> Value {
        let summary = &self.summary;
        json!({
            "valid": failure.is_none() && self.breaks == 0,
            "log_id": summary.log_id.as_ref().map(uuid_text),
            "exports": summary.exports,
            "whole": summary.whole,
            "events_checked": summary.events,
            "chains_checked": summary.lanes,
            "links_checked": summary.links,
            "gaps": summary.gaps,
            "values_erased": summary.erased,
            "erasures_checked": summary.erasures_checked,
            "heads_checked": summary.heads_checked,
            "heads_not_covered": self.heads_not_covered,
            "anchored": summary.heads_checked > 0,
            "breaks_found": self.breaks,
            "breaks": self.listed,
            "error": failure.map(|failure| json!({
                "file": failure.file.to_string_lossy(), "line": failure.line, "message": failure.message,
                "hint": failure.todo,
            })),
        })
    }
}

fn hex(hash: &Option<Vec<u8>>) -> Option<String> {
    hash.as_ref().map(hex::encode)
}

impl Sink for Report {
    fn broken(&mut self, found: Break) {
        self.breaks += 1;
        if self.breaks > self.max_breaks {
            return;
        }
        if self.json {
            self.listed_bytes += found.tenant_id.as_ref().map_or(0, String::len) + found.detail.len();
            if self.listed_bytes > MOST_LISTED {
                return;
            }
            self.listed.push(json!({
                "type": found.kind.name(), "tenant_id": found.tenant_id, "lane": found.lane, "seq": found.seq,
                "event_id": found.event_id.as_ref().map(uuid_text), "expected_hash": hex(&found.expected),
                "actual_hash": hex(&found.actual), "detail": found.detail,
            }));
            return;
        }
        let mut text = found.kind.name().to_string();
        if let Some(tenant_id) = &found.tenant_id {
            text.push_str(&format!(" tenant {tenant_id:?}"));
        }
        for (name, value) in [
            ("lane", found.lane.map(|lane| lane.to_string())),
            ("seq", found.seq.map(|seq| seq.to_string())),
            ("event", found.event_id.as_ref().map(uuid_text)),
        ] {
            text.push_str(&value.map_or(String::new(), |value| format!(" {name} {value}")));
        }
        let detail = found.detail.escape_debug().to_string().replace("\\'", "'").replace("\\\"", "\"");
        text.push_str(&format!(": {detail}\n"));
        for (name, value) in [("expected", hex(&found.expected)), ("actual  ", hex(&found.actual))] {
            text.push_str(&value.map_or(String::new(), |value| format!("    {name} {value}\n")));
        }
        // Nobody may be listening; the exit status says it all the same.
        let _ = io::stdout().lock().write_all(text.as_bytes());
    }

    fn head(&mut self, head: &Head) {
        let Some(heads) = &mut self.heads else { return };
        let separator = if heads.empty { "[\n" } else { ",\n" };
        heads.empty = false;
        let head = json!({"tenant_id": head.tenant_id, "lane": head.lane, "seq": head.seq,
                          "event_hash": format!("\\x{}", hex::encode(&head.event_hash))});
        if let Err(error) = write!(heads.file, "{separator}{head}") {
            self.heads_error.get_or_insert(Failure::file(&heads.path, error.to_string()));
        }
    }
}
