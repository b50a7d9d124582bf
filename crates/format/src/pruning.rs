//! The record of a pruning: an event `immutable.pruned` in the chain of the tenant whose events were removed. Each of
//! its targets says where a lane begins since then. The next event of that lane carries the hash of the last one that
//! was removed, so that an edit cannot be passed off as a pruning.

use crate::hash::{parse_hex, Hash};

/// The action of the record.
pub const ACTION: &str = "immutable.pruned";

/// The type of its targets.
pub const LANE: &str = "immutable.lane";

/// The longest text of a target. A longer one is not looked at.
const LONGEST: usize = 256;

/// Where a lane begins: the last event that was removed from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Begin {
    /// The lane.
    pub lane: i16,
    /// The number of the last event that was removed. Every event of the lane up to it is gone.
    pub seq: i64,
    /// The hash of that event, which the next one carries as the hash of the event before it.
    pub event_hash: Hash,
}

impl Begin {
    /// The target of the record that says so, as canonical JSON.
    #[must_use]
    pub fn target(&self) -> String {
        let Begin { lane, seq, event_hash } = self;
        let hash = hex::encode(event_hash);
        format!("{{\"id\":\"{lane}\",\"metadata\":{{\"event_hash\":\"{hash}\",\"seq\":{seq}}},\"type\":\"{LANE}\"}}")
    }

    /// Reads the canonical JSON of a target. Returns `None` for any other text than [`target`](Self::target) makes.
    #[must_use]
    pub fn of_target(target: &str) -> Option<Begin> {
        if target.len() > LONGEST {
            return None;
        }
        let rest = target.strip_prefix("{\"id\":\"")?;
        let (lane, rest) = rest.split_once("\",\"metadata\":{\"event_hash\":\"")?;
        let (hash, rest) = rest.split_once("\",\"seq\":")?;
        let (seq, _) = rest.split_once('}')?;
        let begin = Begin { lane: lane.parse().ok()?, seq: seq.parse().ok()?, event_hash: parse_hex(hash)? };
        // There is one text for each: what was read has to make the same again.
        (begin.lane >= 0 && begin.seq >= 1 && begin.target() == target).then_some(begin)
    }
}

/// Reads the targets of a record, each as canonical JSON. Returns `None` unless there is at least one, each says where a
/// lane begins, and no lane is there twice.
pub fn begins<'t>(targets: impl IntoIterator<Item = &'t str>) -> Option<Vec<Begin>> {
    let begins: Vec<Begin> = targets.into_iter().map(Begin::of_target).collect::<Option<_>>()?;
    let mut lanes: Vec<i16> = begins.iter().map(|begin| begin.lane).collect();
    lanes.sort_unstable();
    lanes.dedup();
    (!begins.is_empty() && lanes.len() == begins.len()).then_some(begins)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(lane: i16, seq: i64) -> Begin {
        Begin { lane, seq, event_hash: [0xa5; 32] }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for begin in [begin(0, 1), begin(63, 10_000), begin(i16::MAX, i64::MAX)] {
            assert_eq!(Begin::of_target(&begin.target()), Some(begin));
        }
        let all = [begin(3, 7), begin(0, 5)];
        let targets = all.map(|begin| begin.target());
        assert_eq!(begins(targets.iter().map(String::as_str)), Some(all.to_vec()));
    }

    #[test]
    fn nothing_else_is_a_record() {
        let whole = begin(0, 5).target();
        let hash = "a5".repeat(32);
        for (from, to) in [
            ("\"0\"", "\"-1\""),
            ("\"0\"", "\"+0\""),
            ("\"0\"", "\"00\""),
            ("\"0\"", "\"32768\""),
            ("\"0\"", "0"),
            ("\"0\"", "\"\\u0030\""),
            (":5}", ":0}"),
            (":5}", ":-5}"),
            (":5}", ":5.0}"),
            (":5}", ":05}"),
            (":5}", ":\"5\"}"),
            (":5}", ":9223372036854775808}"),
            (":5}", ":5,\"x\":1}"),
            (",\"seq\":5", ""),
            ("immutable.lane", "immutable.event"),
            ("\"type\":\"immutable.lane\"", "\"name\":\"x\",\"type\":\"immutable.lane\""),
            (hash.as_str(), &"A5".repeat(32)),
            (hash.as_str(), &hash[1..]),
            (hash.as_str(), ""),
            ("}", "} "),
        ] {
            let other = whole.replacen(from, to, 1);
            assert_ne!(other, whole, "{from}");
            assert_eq!(Begin::of_target(&other), None, "{other}");
            assert_eq!(begins([whole.as_str(), &other]), None, "{other}");
        }
        assert_eq!(begins([]), None);
        assert_eq!(begins([whole.as_str(), &begin(0, 6).target()]), None, "a lane twice");
        assert_eq!(Begin::of_target(&whole.replace(":5}", &format!(":{}}}", "5".repeat(1_000_000)))), None);
    }
}
