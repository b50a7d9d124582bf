//! The result, as text or as JSON. Text from a file is quoted, because it can contain control
//! characters for the terminal.

use crate::failure::Failure;
use crate::input::Progress;
use crate::options::ExportOptions;
use crate::tree::{self, for_each_event, is_file, Comparison};
use immutable_format::export::pruned::Doubts;
use immutable_format::export::read::Event;
use immutable_format::export::verify::{Head, Sink, Summary};
use immutable_format::id::uuid_text;
use immutable_format::link::Break;
use serde_json::{json, Value};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::iter::repeat;
use std::path::PathBuf;

/// The exit status where the command line is wrong, or where something cannot be read.
pub const UNREADABLE: u8 = 2;

/// What the program says of files that it has read to their end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Something from outside confirms what was read, or a part of it.
    Valid,
    /// Everything fits together, and nothing from outside confirms it.
    NotAnchored,
    /// Breaks were found.
    NotValid,
}

impl Verdict {
    /// Its words, in text and in JSON.
    pub fn words(self) -> &'static str {
        match self {
            Verdict::Valid => "VALID",
            Verdict::NotAnchored => "consistent, not anchored",
            Verdict::NotValid => "NOT VALID",
        }
    }

    /// The exit status.
    pub fn status(self) -> u8 {
        match self {
            Verdict::Valid => 0,
            Verdict::NotValid => 1,
            Verdict::NotAnchored => 3,
        }
    }

    /// The member `valid` of the JSON object: null where nobody can know it.
    pub fn valid(self) -> Option<bool> {
        match self {
            Verdict::Valid => Some(true),
            Verdict::NotValid => Some(false),
            Verdict::NotAnchored => None,
        }
    }
}

/// A JSON array of heads, written as the lanes end. The file gets its name only if everything was
/// valid, so that heads of anything else are never taken for good ones.
struct HeadsFile {
    path: PathBuf,
    unfinished: PathBuf,
    file: BufWriter<File>,
    empty: bool,
}

/// Bytes of text that --json collects at most: a hostile file can have breaks of any size.
const MOST_LISTED: usize = 64 << 20;

/// The advice on breaks.
const EVIDENCE: &str = "
Keep this file and the database as they are: they are evidence. First export again with ENCODING 'UTF8', because a file
whose encoding was changed has breaks too. Then run immutable.verify_breaks() in the database, and compare with a standby,
a backup or an earlier export.
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
    pub tree: Option<Comparison>,
    pub summary: Summary,
}

impl Report {
    pub fn new(options: &ExportOptions) -> Result<Report, Failure> {
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

    /// A report that writes no file of heads.
    pub fn plain(options: &ExportOptions) -> Report {
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
            tree: None,
            summary: Summary::default(),
        }
    }

    /// Reports what is wrong with the tree and its checkpoint, before any event is read.
    pub fn begin_tree(&mut self) {
        for found in self.tree.as_mut().map(Comparison::wrong).unwrap_or_default() {
            self.broken(found);
        }
    }

    /// Why the export that is being read cannot be compared with the tree; `None` if it can, or if
    /// there is no tree.
    pub fn unfit(&self, summary: &Summary) -> Option<String> {
        self.tree.as_ref().and_then(|tree| tree.unfit(summary))
    }

    /// Reports in what the events are not those of the tree, after all were read.
    pub fn end_tree(&mut self, files: &[PathBuf], progress: &Progress) -> Result<(), Failure> {
        let Some(mut tree) = self.tree.take() else { return Ok(()) };
        for found in tree.lanes_left() {
            self.broken(found);
        }
        let outcome = match tree.is_equal() {
            true => Ok(()),
            // The leaves of pruned events belong to no event of the export, so that all have to be looked up.
            false if self.summary.pruned > 0 => tree.look_up_all(files, progress, &mut |found| self.broken(found)),
            false => self.look_up(&tree, files, progress),
        };
        self.tree = Some(tree);
        outcome
    }

    fn look_up(&mut self, tree: &Comparison, files: &[PathBuf], progress: &Progress) -> Result<(), Failure> {
        let before = self.breaks;
        let left_out = tree.look_up(files, progress, &mut |found| self.broken(found))?;
        // Events that are gone have been reported already.
        let why = match left_out {
            Some(why) => why,
            None if before == self.breaks && before == 0 => "leaves of it belong to no event".to_string(),
            None => return Ok(()),
        };
        self.broken(tree::mismatch(format!("the events are not those of the tree of the checkpoint; {why}")));
        Ok(())
    }

    /// Decides by reading the files again whether values are back that were erased, or their events were pruned.
    pub fn end_doubts(&mut self, doubts: &Doubts, files: &[PathBuf], progress: &Progress) -> Result<(), Failure> {
        if doubts.is_empty() {
            return Ok(());
        }
        if let Some(file) = files.iter().find(|file| !is_file(file)) {
            let why = "events were pruned, so the export has to be read twice, which a pipe does not allow";
            return Err(Failure::file(file, why.to_string()));
        }
        for_each_event(files, progress, |event| doubts.event(event, &mut |found| self.broken(found)))
    }

    /// Prints the rest of the report. Returns the exit status.
    pub fn finish(&mut self, failure: Option<Failure>) -> io::Result<u8> {
        let failure = self.end_heads(failure);
        let verdict = if failure.is_none() { Some(self.verdict()) } else { None };
        let status = verdict.map_or(UNREADABLE, Verdict::status);
        let mut out = io::stdout().lock();
        if self.json {
            writeln!(out, "{}", self.as_json(verdict, failure.as_ref()))?;
        } else {
            if self.breaks > self.listed() {
                writeln!(out, "... and {} more", self.breaks - self.listed())?;
            }
            if self.breaks > 0 {
                writeln!(out, "{EVIDENCE}")?;
            }
            let well = verdict.is_some_and(|verdict| verdict != Verdict::NotValid);
            if !(self.quiet && well) && self.summary.exports > 0 {
                self.write_summary(&mut out)?;
            }
            if let Some(failure) = &failure {
                out.flush()?;
                writeln!(io::stderr(), "immutable-verify: {failure}")?;
            }
            if let Some(verdict) = verdict.filter(|_| !(self.quiet && well)) {
                writeln!(out, "{}{}", verdict.words(), self.reach(verdict))?;
            }
        }
        out.flush()?;
        Ok(status)
    }

    fn verdict(&self) -> Verdict {
        match (self.breaks, self.summary.events_confirmed) {
            (0, 0) => Verdict::NotAnchored,
            (0, _) => Verdict::Valid,
            _ => Verdict::NotValid,
        }
    }

    /// How far the verdict reaches, where that is not all that the files hold.
    fn reach(&self, verdict: Verdict) -> String {
        let Summary { events, events_confirmed, gaps, .. } = &self.summary;
        match (verdict, *events_confirmed < *events, *gaps > 0) {
            (Verdict::Valid, true, _) => format!(" for {events_confirmed} of {events} events"),
            (Verdict::Valid, false, true) => ", with gaps".to_string(),
            _ => String::new(),
        }
    }

    fn listed(&self) -> u64 {
        self.breaks.min(self.max_breaks)
    }

    fn end_heads(&mut self, failure: Option<Failure>) -> Option<Failure> {
        let Some(heads) = self.heads.as_mut() else { return failure };
        if failure.is_some() || self.breaks > 0 {
            let _ = std::fs::remove_file(&heads.unfinished); // the exit status says already that it is of no use
            return failure;
        }
        let written = if heads.empty { heads.file.write_all(b"[]\n") } else { heads.file.write_all(b"\n]\n") };
        let written = written.and_then(|()| heads.file.flush());
        let named = written.and_then(|()| std::fs::rename(&heads.unfinished, &heads.path));
        named.err().map(|error| Failure::file(&heads.path, error.to_string()))
    }

    fn write_summary(&self, out: &mut impl Write) -> io::Result<()> {
        let Summary { exports, events, lanes, links, gaps, erased, erasures_checked, heads_checked, .. } =
            &self.summary;
        let (whole, log_id) = (&self.summary.whole, &self.summary.log_id);
        writeln!(out, "log      {}", log_id.as_ref().map_or("none".to_string(), uuid_text))?;
        writeln!(out, "exports  {exports}{}", if *whole { ", with all events of their lanes" } else { "" })?;
        writeln!(out, "events   {events} in {lanes} lanes")?;
        if *events == 0 {
            writeln!(out, "         the export has no events: nothing was verified")?;
        }
        if self.summary.pruned > 0 {
            let pruned = self.summary.pruned;
            writeln!(out, "pruned   {pruned} events are gone with a pruning, as records in the log say")?;
        }
        writeln!(out, "links    {links} checked")?;
        if *gaps > 0 {
            writeln!(
                out,
                "         {gaps} places where filters may have left out events: a removed event would not show there"
            )?;
        }
        let records =
            if *erasures_checked { "each compared with its record" } else { "not compared with their records" };
        writeln!(out, "erased   {erased} values{}", if *erased > 0 { format!(", {records}") } else { String::new() })?;
        if self.summary.later_records > 0 {
            let later = self.summary.later_records;
            writeln!(
                out,
                "         {later} records of erasures are newer than the events, and linked to none of them"
            )?;
        }
        writeln!(out, "heads    {heads_checked} checked")?;
        for (line, name) in self.tree.iter().flat_map(Comparison::lines).zip(["tree"].into_iter().chain(repeat(""))) {
            writeln!(out, "{name:8} {line}")?;
        }
        if self.heads_not_covered > 0 {
            writeln!(out, "         {} saved heads lie outside of what was exported", self.heads_not_covered)?;
        }
        self.write_confirmed(out)?;
        writeln!(out, "breaks   {}", self.breaks)
    }

    /// How many events something from outside confirms, and what the others are worth.
    fn write_confirmed(&self, out: &mut impl Write) -> io::Result<()> {
        let Summary { events, events_confirmed, .. } = &self.summary;
        if self.breaks > 0 {
            return Ok(());
        }
        writeln!(out, "outside  {events_confirmed} of {events} events confirmed")?;
        if *events_confirmed == 0 {
            writeln!(
                out,
                "         Without saved heads or a cosigned checkpoint the file is only consistent in itself, and anybody can make such a file."
            )?;
            return writeln!(
                out,
                "         Nothing shows whether events were rewritten, or whether the end of a lane or a whole lane was cut off."
            );
        }
        if events_confirmed < events {
            writeln!(
                out,
                "         Events after the saved heads and the checkpoint, before a gap, and in lanes without either are only consistent in themselves."
            )?;
        }
        Ok(())
    }

    fn as_json(&self, verdict: Option<Verdict>, failure: Option<&Failure>) -> Value {
        let summary = &self.summary;
        let anchored = verdict == Some(Verdict::Valid);
        let mut report = json!({
            "verdict": verdict.map(Verdict::words),
            "valid": verdict.map_or(Some(false), Verdict::valid),
            "complete": anchored && summary.whole && summary.events_confirmed == summary.events,
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
            "events_confirmed": if anchored { summary.events_confirmed } else { 0 },
            "anchored": anchored,
            "checkpoint": self.tree.as_ref().map(Comparison::as_json),
            "breaks_found": self.breaks,
            "breaks": self.listed,
            "error": failure.map(Failure::as_json),
        });
        if summary.pruned > 0 {
            report["events_pruned"] = json!(summary.pruned);
        }
        if summary.later_records > 0 {
            report["later_records"] = json!(summary.later_records);
        }
        report
    }
}

fn hex(hash: Option<&[u8]>) -> Option<String> {
    hash.map(hex::encode)
}

/// A break in one line, and its hashes in a line each.
fn text_of(found: &Break) -> String {
    let tenant = found.tenant_id.as_ref().map(|tenant_id| format!("{tenant_id:?}"));
    let mut text = found.kind.name().to_string();
    for (name, value) in [
        (" tenant ", tenant),
        (" lane ", found.lane.map(|lane| lane.to_string())),
        (" seq ", found.seq.map(|seq| seq.to_string())),
        (" event ", found.event_id.as_ref().map(uuid_text)),
        (": ", Some(found.detail.escape_debug().to_string().replace("\\'", "'").replace("\\\"", "\""))),
        ("\n    expected ", hex(found.expected.as_deref())),
        ("\n    actual   ", hex(found.actual.as_deref())),
    ] {
        if let Some(value) = value {
            text.push_str(name);
            text.push_str(&value);
        }
    }
    text.push('\n');
    text
}

impl Sink for Report {
    fn event(&mut self, event: &Event<'_>) -> bool {
        self.tree.as_mut().is_some_and(|tree| tree.event(event))
    }

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
                "event_id": found.event_id.as_ref().map(uuid_text), "expected_hash": hex(found.expected.as_deref()),
                "actual_hash": hex(found.actual.as_deref()), "detail": found.detail,
            }));
            return;
        }
        let text = text_of(&found);
        // If the output cannot be written, the exit status still says it.
        let _ = io::stdout().lock().write_all(text.as_bytes());
    }

    fn head(&mut self, head: &Head) {
        if let Some(tree) = &mut self.tree {
            tree.head(head);
        }
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
