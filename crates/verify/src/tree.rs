//! Compares an export with the tree of a checkpoint: every event that the tree covers must be a leaf
//! of it, and every leaf such an event.
//!
//! The events are added up in parts while the export is verified. Where a part differs, both files
//! are read again, and the leaves of the parts that differ are looked up one by one.

use crate::failure::Failure;
use crate::input::{Input, Progress};
use crate::options::ExportOptions;
use crate::trust;
use immutable_format::export::read::{line, restored, Event, Line};
use immutable_format::export::verify::{Head, Summary};
use immutable_format::id::uuid_text;
use immutable_format::link::{Break, BreakType};
use immutable_format::sum::SumKey;
use immutable_format::tlog::checkpoint::SignedCheckpoint;
use immutable_format::tlog::policy::{Judgement, Policy};
use immutable_format::tlog::tree::leaf_hash;
use immutable_format::tlog::tree_export::{Covered, Header, LeafSums, Tree, TreeReader, LINE_BYTES};
use immutable_format::{limits, Hash};
use serde_json::Value;
use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

/// Leaves that a second reading looks up at most: some 40 MB.
const LOOKED_UP: u64 = 1 << 20;

/// The comparison of an export with a tree.
pub struct Comparison {
    path: PathBuf,
    key: SumKey,
    tree: Tree,
    checkpoint: SignedCheckpoint,
    judgement: Option<Judgement>,
    doubt: Option<&'static str>,
    /// The sums of the events that the tree covers.
    sums: LeafSums,
    /// The lane that was looked up last, and up to where the tree covers it.
    lane: Option<(String, i16, i64)>,
    /// The lanes of the tree that the export does not have, or not to where the tree covers them: the
    /// first event that is gone, and the last that the tree has.
    left: HashMap<String, HashMap<i16, (i64, i64)>>,
    /// What was wrong before any event was read.
    wrong: Vec<String>,
}

/// A break of the tree as a whole.
pub fn mismatch(detail: String) -> Break {
    Break {
        kind: BreakType::CheckpointMismatch,
        tenant_id: None,
        lane: None,
        seq: None,
        event_id: None,
        expected: None,
        actual: None,
        detail,
    }
}

impl Comparison {
    /// Reads the tree, the checkpoint and the policy, if a tree was given.
    pub fn read(options: &ExportOptions, progress: &Progress) -> Result<Option<Comparison>, Failure> {
        let (Some(path), Some(note)) = (&options.tree, &options.checkpoint) else { return Ok(None) };
        let policy = trust::policy(&options.trust)?;
        let checkpoint = trust::checkpoint(note)?;
        let mut key = SumKey::default();
        getrandom::fill(&mut key).map_err(|error| Failure::file(path, format!("no random numbers: {error}")))?;
        let tree = read_tree(path, &checkpoint, &key, progress, |_, _| {})?;
        Ok(Some(Comparison::new(path, key, tree, checkpoint, policy.as_ref())))
    }

    fn new(path: &Path, key: SumKey, tree: Tree, checkpoint: SignedCheckpoint, policy: Option<&Policy>) -> Comparison {
        let mut wrong = Vec::new();
        let judgement = match policy.map(|policy| policy.judge(&checkpoint)) {
            Some(Err(refusal)) => {
                wrong.push(refusal.to_string());
                None
            }
            Some(Ok(judgement)) => Some(judgement),
            None => None,
        };
        let text = &checkpoint.checkpoint;
        if tree.header.origin != text.origin {
            let (own, other) = (&tree.header.origin, &text.origin);
            wrong.push(format!("the tree is that of the log {own}, and the checkpoint one of the log {other}"));
        } else if tree.root != text.root {
            wrong.push("the leaves of the tree do not have the root of the checkpoint".to_string());
        }
        if tree.events != u128::from(tree.header.size) {
            let (lanes, leaves) = (tree.events, tree.header.size);
            wrong.push(format!("the lanes of the tree have {lanes} events, and the tree has {leaves} leaves"));
        }
        let doubt = trust::doubt(policy, judgement.as_ref());
        let whole = |lanes: &HashMap<i16, i64>| lanes.iter().map(|(lane, covered)| (*lane, (1, *covered))).collect();
        let left = tree.covered.iter().map(|(tenant_id, lanes)| (tenant_id.clone(), whole(lanes))).collect();
        let sums = LeafSums::new(&key);
        let path = path.to_path_buf();
        Comparison { path, key, tree, checkpoint, judgement, doubt, sums, lane: None, left, wrong }
    }

    /// Why an export cannot be compared with the tree; `None` if it can. `summary` is what is known of
    /// it so far.
    pub fn unfit(&self, summary: &Summary) -> Option<String> {
        let expected = self.tree.header.log_id;
        match summary.log_id {
            Some(own) if own != expected => {
                let (own, expected) = (uuid_text(&own), uuid_text(&expected));
                Some(format!("an export of log {own}, where the tree is that of log {expected}"))
            }
            _ if summary.filtered => {
                Some("an export with filters cannot be compared with the tree of the whole log".to_string())
            }
            _ if summary.exports > 1 => Some("only one export can be compared with a tree".to_string()),
            _ => None,
        }
    }

    /// Up to where the tree covers a lane; 0 if it does not.
    fn covered(&mut self, tenant_id: &str, lane: i16) -> i64 {
        match &self.lane {
            Some((last, number, covered)) if *number == lane && last == tenant_id => *covered,
            _ => {
                let covered = covered(&self.tree.covered, tenant_id, lane);
                self.lane = Some((tenant_id.to_string(), lane, covered));
                covered
            }
        }
    }

    /// Adds an event. Returns whether something from outside says that it must be there.
    pub fn event(&mut self, event: &Event<'_>) -> bool {
        if event.position.seq > self.covered(&event.position.tenant_id, event.position.lane) {
            return false;
        }
        if let Ok(hash) = &event.content {
            self.sums.add(&leaf_hash(hash));
        }
        self.doubt.is_none()
    }

    /// Ends a lane of the export.
    pub fn head(&mut self, head: &Head) {
        let Some(lanes) = self.left.get_mut(&head.tenant_id) else { return };
        if let Some((first, covered)) = lanes.get_mut(&head.lane) {
            *first = head.seq.saturating_add(1);
            if *first > *covered {
                lanes.remove(&head.lane);
            }
        }
    }

    /// What is wrong with the tree and the checkpoint themselves.
    pub fn wrong(&mut self) -> Vec<Break> {
        self.wrong.drain(..).map(mismatch).collect()
    }

    /// The breaks of lanes of which the tree covers more than the export has.
    pub fn lanes_left(&mut self) -> Vec<Break> {
        let lanes = self.left.drain().map(|(tenant_id, lanes)| (tenant_id, lanes.into_iter().collect()));
        let left: BTreeMap<String, BTreeMap<i16, (i64, i64)>> = lanes.collect();
        let lanes = left.iter().flat_map(|(tenant_id, lanes)| lanes.iter().map(move |lane| (tenant_id, lane)));
        lanes.map(|(tenant_id, (lane, (first, covered)))| gone(tenant_id, *lane, *first, *covered)).collect()
    }

    /// Whether the events that the tree covers are its leaves.
    pub fn is_equal(&self) -> bool {
        self.tree.sums.differing(&self.sums).is_empty()
    }

    /// Reads the files again and gives `found` a break for each event that is not in the tree.
    /// Returns what could not be looked up.
    pub fn look_up(
        &self,
        files: &[PathBuf],
        progress: &Progress,
        found: &mut impl FnMut(Break),
    ) -> Result<Option<String>, Failure> {
        if !files.iter().chain([&self.path]).all(|path| is_file(path)) {
            let why = "which ones is not known: the standard input and a pipe cannot be read a second time";
            return Ok(Some(why.to_string()));
        }
        let differing = self.tree.sums.differing(&self.sums);
        let (mut parts, mut leaves) = (HashSet::new(), 0);
        for (part, count) in &differing {
            if !parts.is_empty() && leaves + count > LOOKED_UP {
                break;
            }
            parts.insert(*part);
            leaves += count;
        }
        self.look_up_parts(&parts, files, progress, found)?;
        let (all, some) = (differing.len(), parts.len());
        Ok((some < all)
            .then(|| format!("very many: only {some} of {all} parts of the tree that differ were looked up")))
    }

    /// The same where events were pruned. Their leaves belong to no event, so that the sums of no part need be equal:
    /// every event is looked up, as many parts at a time as memory allows. Where no lane has a hole and each reaches to
    /// where the tree covers it, the leaves that are left over are as many as the events that were pruned.
    pub fn look_up_all(
        &self,
        files: &[PathBuf],
        progress: &Progress,
        found: &mut impl FnMut(Break),
    ) -> Result<(), Failure> {
        if let Some(path) = files.iter().chain([&self.path]).find(|path| !is_file(path)) {
            let why = "events were pruned, so the files have to be read more than once, which a pipe does not allow";
            return Err(Failure::file(path, why.to_string()));
        }
        let differing = self.tree.sums.differing(&self.sums);
        let (mut parts, mut leaves) = (HashSet::new(), 0);
        for (part, count) in &differing {
            if !parts.is_empty() && leaves + count > LOOKED_UP {
                self.look_up_parts(&std::mem::take(&mut parts), files, progress, found)?;
                leaves = 0;
            }
            parts.insert(*part);
            leaves += count;
        }
        self.look_up_parts(&parts, files, progress, found)
    }

    fn look_up_parts(
        &self,
        parts: &HashSet<usize>,
        files: &[PathBuf],
        progress: &Progress,
        found: &mut impl FnMut(Break),
    ) -> Result<(), Failure> {
        let mut known: Vec<Hash> = Vec::new();
        read_tree(&self.path, &self.checkpoint, &self.key, progress, |_, leaf| {
            if parts.contains(&self.sums.part_of(leaf)) {
                known.push(*leaf);
            }
        })?;
        known.sort_unstable();
        let mut taken = vec![false; known.len()];
        for_each_event(files, progress, |event| self.compare(event, parts, &known, &mut taken, found))
    }

    /// Reports an event of these parts of which `known`, which is sorted, has no leaf that was not
    /// taken before.
    fn compare(
        &self,
        event: &Event<'_>,
        parts: &HashSet<usize>,
        known: &[Hash],
        taken: &mut [bool],
        found: &mut impl FnMut(Break),
    ) {
        let place = &event.position;
        let Ok(hash) = &event.content else { return };
        let leaf = leaf_hash(hash);
        let is_covered = place.seq <= covered(&self.tree.covered, &place.tenant_id, place.lane);
        if !is_covered || !parts.contains(&self.sums.part_of(&leaf)) {
            return;
        }
        let first = known.partition_point(|known| *known < leaf);
        let mut same = (first..known.len()).take_while(|at| known[*at] == leaf);
        if let Some(at) = same.find(|at| !taken[*at]) {
            taken[at] = true;
            return;
        }
        found(Break {
            kind: BreakType::CheckpointMismatch,
            tenant_id: Some(place.tenant_id.to_string()),
            lane: Some(place.lane),
            seq: Some(place.seq),
            event_id: Some(place.id),
            expected: None,
            actual: event.event_hash.clone(),
            detail: "the event is not in the tree of the checkpoint".to_string(),
        });
    }

    /// The lines of the summary.
    pub fn lines(&self) -> Vec<String> {
        let size = self.tree.header.size;
        let mut lines =
            vec![format!("{size} events at the checkpoint of {}", trust::printable(&self.tree.header.origin))];
        lines.extend(trust::cosigned(self.judgement.as_ref()).into_iter().map(|line| format!("cosigned by {line}")));
        lines.extend(self.doubt.map(str::to_string));
        lines
    }

    /// The checkpoint for the JSON object.
    pub fn as_json(&self) -> Value {
        trust::as_json(&self.checkpoint, self.judgement.as_ref())
    }
}

fn covered(lanes: &Covered, tenant_id: &str, lane: i16) -> i64 {
    lanes.get(tenant_id).and_then(|lanes| lanes.get(&lane)).copied().unwrap_or(0)
}

fn gone(tenant_id: &str, lane: i16, first: i64, last: i64) -> Break {
    let detail = match first == last {
        true => format!("the event with seq {first}, which the checkpoint covers, is gone"),
        false => format!("the events with seq {first} to {last}, which the checkpoint covers, are gone"),
    };
    let (tenant_id, lane, seq) = (Some(tenant_id.to_string()), Some(lane), Some(first));
    Break { kind: BreakType::MissingEvent, tenant_id, lane, seq, ..mismatch(detail) }
}

/// Reads a tree export, which must be of the checkpoint's size if it is of the checkpoint's log. `each`
/// gets every leaf with its index.
fn read_tree(
    path: &Path,
    checkpoint: &SignedCheckpoint,
    key: &SumKey,
    progress: &Progress,
    mut each: impl FnMut(u64, &Hash),
) -> Result<Tree, Failure> {
    let mut input = Input::open(path, progress).map_err(|error| Failure::file(path, error.to_string()))?;
    let mut reader = TreeReader::new(key);
    loop {
        let number = input.number + 1;
        let failure = |why: String| Failure::line(path, number, why);
        match input.next(LINE_BYTES) {
            Ok(Some(line)) => {
                reader.line(line, &mut each).map_err(|error| failure(error.0))?;
                // How much is kept of what follows depends on the size.
                if let Some(what) =
                    reader.header().filter(|_| number == 1).and_then(|header| unequal(header, checkpoint))
                {
                    return Err(Failure::file(path, what));
                }
            }
            Ok(None) => return reader.finish().map_err(|error| Failure::file(path, error.0)),
            Err(error) => return Err(failure(error.to_string())),
        }
    }
}

/// Why a tree cannot be compared with a checkpoint of its log; `None` if it can.
fn unequal(header: &Header, checkpoint: &SignedCheckpoint) -> Option<String> {
    let (own, size) = (header.size, checkpoint.checkpoint.size);
    (header.origin == checkpoint.checkpoint.origin && own != size).then(|| {
        format!("a tree of {own} leaves, where the checkpoint is of {size}: SELECT immutable.export_tree({size})")
    })
}

/// Whether a path is a file, which can be read again.
pub fn is_file(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|file| file.is_file())
}

/// Reads events of an export that was verified before.
pub fn for_each_event(files: &[PathBuf], progress: &Progress, mut each: impl FnMut(&Event<'_>)) -> Result<(), Failure> {
    let mut escaped = false;
    for path in files {
        let mut input = Input::open(path, progress).map_err(|error| Failure::file(path, error.to_string()))?;
        loop {
            let number = input.number + 1;
            let failure = |why: String| Failure::line(path, number, why);
            let most = if escaped { limits::ESCAPED_LINE_BYTES } else { limits::LINE_BYTES };
            let Some(bytes) = input.next(most).map_err(|error| failure(error.to_string()))? else { break };
            let whole = if escaped { restored(bytes) } else { Ok(Cow::Borrowed(bytes)) };
            let whole = whole.map_err(|error| failure(error.0))?;
            match line(&whole).map_err(|error| failure(error.0))? {
                Line::Event(event) => each(&event),
                Line::Header(header) => escaped = header.escaped,
                Line::Later(_) => {}
                Line::End { .. } => escaped = false,
            }
        }
    }
    Ok(())
}
