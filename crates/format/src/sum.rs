//! The link rule without order: whether the links of a lane add up, from its rows in any order and
//! in any number of parts.
//!
//! A row says two things: that `event_hash` stands at `seq`, and that `previous_event_hash` stands
//! at `seq - 1`. In a sound lane every statement of the second kind meets one of the first, except
//! that of the first row, and every statement of the first kind is met, except that of the last
//! row. [`LaneSum`] adds up keyed hashes of the first kind and subtracts those of the second,
//! modulo 2^256. The key is random and made for one run, so nobody can choose rows that cancel out.
//! [`Walk`](crate::link::Walk) says what is wrong with a lane that does not add up.

use crate::hash::{sha256, sha256_of_each, sha256_of_two, Hash, Scratch, TOGETHER};
use crate::id::Id;

/// The key of one run: random, made anew for every run, and shared by its processes.
pub type SumKey = [u8; 16];

/// An integer modulo 2^256.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum([u64; 4]);

impl Sum {
    fn of(hash: &Hash) -> Sum {
        let mut words = [0; 4];
        for (word, bytes) in words.iter_mut().zip(hash.as_chunks::<8>().0) {
            *word = u64::from_le_bytes(*bytes);
        }
        Sum(words)
    }

    /// Returns `self` plus `other`, modulo 2^256.
    #[must_use]
    pub fn plus(self, other: Sum) -> Sum {
        let (mut words, mut carry) = ([0; 4], false);
        for ((word, a), b) in words.iter_mut().zip(self.0).zip(other.0) {
            (*word, carry) = add_carrying(a, b, carry);
        }
        Sum(words)
    }

    /// Returns `self` minus `other`, modulo 2^256.
    #[must_use]
    pub fn minus(self, other: Sum) -> Sum {
        // two's complement
        let negated = Sum(other.0.map(|word| !word)).plus(Sum([1, 0, 0, 0]));
        self.plus(negated)
    }

    /// Returns its 32 bytes, the least significant first.
    pub fn to_bytes(self) -> Hash {
        let mut bytes = Hash::default();
        for (bytes, word) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(self.0) {
            *bytes = word.to_le_bytes();
        }
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    pub fn from_bytes(bytes: &Hash) -> Sum {
        Sum::of(bytes)
    }
}

fn add_carrying(a: u64, b: u64, carry: bool) -> (u64, bool) {
    let (sum, first) = a.overflowing_add(b);
    let (sum, second) = sum.overflowing_add(u64::from(carry));
    (sum, first | second)
}

/// Adds up the keyed hashes of rows of `event_targets`, or of the targets that these rows follow
/// from. The sum over all events minus the sum over all rows is zero if the rows are right. The
/// targets are hashed together.
pub struct TargetTerms<'r> {
    key: &'r SumKey,
    messages: &'r mut Vec<u8>,
    ends: &'r mut Vec<usize>,
    sum: Sum,
}

impl<'r> TargetTerms<'r> {
    /// Begins a sum without targets. `scratch` is memory for what is hashed.
    pub fn new(key: &'r SumKey, scratch: &'r mut Scratch) -> Self {
        let (messages, ends) = scratch.messages();
        TargetTerms { key, messages, ends, sum: Sum::default() }
    }

    /// Adds a target. `created_at` is in microseconds since 1970, `canonical` is the canonical text
    /// of the target.
    pub fn add(&mut self, tenant_id: &str, event_id: &Id, position: u16, created_at: i64, canonical: &str) {
        let messages = &mut *self.messages;
        messages.extend_from_slice(self.key);
        messages.extend_from_slice(b"target");
        messages.extend_from_slice(event_id);
        messages.extend_from_slice(&position.to_le_bytes());
        messages.extend_from_slice(&created_at.to_le_bytes());
        messages.extend_from_slice(&(tenant_id.len() as u64).to_le_bytes());
        messages.extend_from_slice(tenant_id.as_bytes());
        messages.extend_from_slice(canonical.as_bytes());
        self.ends.push(messages.len());
        if messages.len() > TOGETHER {
            self.hash();
        }
    }

    fn hash(&mut self) {
        sha256_of_each(self.messages, self.ends, |_, hash| self.sum = self.sum.plus(Sum::of(&hash)));
        self.messages.clear();
        self.ends.clear();
    }

    /// Returns the sum of the targets that were added.
    pub fn sum(mut self) -> Sum {
        self.hash();
        self.sum
    }
}

/// Returns the term of a leaf of the tree over all events. The sum over the leaves of a lane is that
/// of its rows if the tree has a leaf for each row, and no other.
pub fn leaf_term(key: &SumKey, leaf: &Hash) -> Sum {
    Sum::of(&sha256_of_two(key, leaf))
}

/// The part of a row that the sum of its lane needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// The position in the lane.
    pub seq: i64,
    /// The row's hash; zeros if the row has none of 32 bytes.
    pub event_hash: Hash,
    /// The hash of the event before it; zeros if the row has none.
    pub previous_event_hash: Hash,
    /// The log's identity in the first event of a lane; zeros in the others.
    pub log_id: Id,
    /// The sum of its targets ([`TargetTerms`]).
    pub targets: Sum,
    /// The flags [`VALID`](Self::VALID) to [`LATE`](Self::LATE).
    pub flags: u8,
    /// The term of its leaf in the tree ([`leaf_term`]), if it has the flag
    /// [`COVERED`](Self::COVERED).
    pub leaf: Sum,
}

impl Seen {
    /// Flag: the document hashes to `event_hash`.
    pub const VALID: u8 = 1;
    /// Flag: the row can be a link at all. Both hashes are there and 32 bytes long (the first row
    /// of a lane has only its own), and the row is in the events table itself.
    pub const LINKS: u8 = 2;
    /// Flag: something of the row is erased.
    pub const ERASED: u8 = 4;
    /// Flag: the row claims to be the record of an erasure.
    pub const RECORD: u8 = 8;
    /// Flag: the targets of the row could not be added up.
    pub const ODD_TARGETS: u8 = 16;
    /// Flag: the row was passed over, because the time for the run was up. Only its seq is known.
    pub const PASSED_OVER: u8 = 32;
    /// Flag: the tree over all events should have a leaf for the row.
    pub const COVERED: u8 = 64;
    /// Flag: a checkpoint does not cover the row, although it claims to be older than that.
    pub const LATE: u8 = 128;
    /// The length of a row that is not covered.
    const UNCOVERED: usize = 8 + 32 + 32 + 16 + 32 + 1;
    /// The largest length of what [`write`](Self::write) returns.
    pub const BYTES: usize = Self::UNCOVERED + 32;

    /// A row that was passed over.
    pub fn passed_over(seq: i64) -> Seen {
        Seen {
            seq,
            event_hash: Hash::default(),
            previous_event_hash: Hash::default(),
            log_id: Id::default(),
            targets: Sum::default(),
            flags: Self::PASSED_OVER,
            leaf: Sum::default(),
        }
    }

    /// Returns its bytes, for the way from the process that read the row to the sum of its lane. A
    /// row that is not covered has no leaf to pass on.
    pub fn write<'b>(&self, buffer: &'b mut [u8; Self::BYTES]) -> &'b [u8] {
        let mut out = ByteWriter::<{ Self::BYTES }>::new();
        out.put(&self.seq.to_le_bytes());
        out.put(&self.event_hash);
        out.put(&self.previous_event_hash);
        out.put(&self.log_id);
        out.put(&self.targets.to_bytes());
        out.put(&[self.flags]);
        if self.has(Self::COVERED) {
            out.put(&self.leaf.to_bytes());
        }
        let length = out.1;
        *buffer = out.0;
        buffer.split_at(length).0
    }

    /// Reads what [`write`](Self::write) wrote. Returns `None` for any other length.
    pub fn from_bytes(bytes: &[u8]) -> Option<Seen> {
        let mut from = ByteReader(bytes);
        let mut seen = Seen {
            seq: i64::from_le_bytes(from.take()?),
            event_hash: from.take()?,
            previous_event_hash: from.take()?,
            log_id: from.take()?,
            targets: Sum::from_bytes(&from.take()?),
            flags: u8::from_le_bytes(from.take()?),
            leaf: Sum::default(),
        };
        if seen.has(Self::COVERED) {
            seen.leaf = Sum::from_bytes(&from.take()?);
        }
        from.0.is_empty().then_some(seen)
    }

    fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

struct ByteWriter<const N: usize>([u8; N], usize);

impl<const N: usize> ByteWriter<N> {
    fn new() -> Self {
        ByteWriter([0; N], 0)
    }

    fn put(&mut self, bytes: &[u8]) {
        // All lengths are constants whose sum is N.
        if let Some(place) = self.0.get_mut(self.1..self.1 + bytes.len()) {
            place.copy_from_slice(bytes);
        }
        self.1 += bytes.len();
    }
}

struct ByteReader<'a>(&'a [u8]);

impl ByteReader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }
}

/// A seq of a lane, and the hash that stands there or has to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeqHash {
    /// The position in the lane.
    pub seq: i64,
    /// The hash of the event at `seq`.
    pub hash: Hash,
}

impl SeqHash {
    fn term(&self, key: &SumKey) -> Sum {
        Sum::of(&sha256(&[key, &self.seq.to_le_bytes(), &self.hash]))
    }
}

/// What a lane adds up to. Its size is constant, whatever the number of the rows and the order they
/// come in: at most 496 bytes, which the allocator of PostgreSQL makes 512 with the 16 that an
/// aggregate's state has besides. There is one for every lane of every tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneSum {
    key: SumKey,
    /// Rows.
    pub events: u64,
    /// Rows of which something is erased.
    pub erased: u64,
    /// First and last seq of the rows whose content is not what their hash says; the wrong way
    /// round without any.
    invalid: (i64, i64),
    /// Whether every row can be a link.
    links: bool,
    /// Whether a row claims to be the record of an erasure.
    pub records: bool,
    /// Whether the targets of a row could not be added up.
    pub odd_targets: bool,
    /// Whether rows were passed over, so that the rest cannot add up.
    pub passed_over: bool,
    /// Rows that are [`LATE`](Seen::LATE).
    pub late: u64,
    /// The sum of the leaves of the rows that are [`COVERED`](Seen::COVERED).
    pub leaves: Sum,
    /// The event that the first row has to follow.
    pub before: SeqHash,
    /// The last row.
    pub last: SeqHash,
    /// The log's identity in the first event of the lane; zeros if that event is not among the
    /// rows.
    pub log_id: Id,
    /// The sum of the targets of all rows.
    pub targets: Sum,
    /// Rows mostly come in order: the term of the last one is added when the next is not its
    /// follower, and so most terms, which would cancel out, are never computed.
    open: SeqHash,
    sum: Sum,
}

impl LaneSum {
    /// The length of what [`to_bytes`](Self::to_bytes) returns.
    pub const BYTES: usize = 16 + 2 * 8 + 2 * 8 + 4 + 8 + 3 * 40 + 16 + 3 * 32;

    /// Returns the sum of a lane of one row.
    pub fn new(key: &SumKey, row: &Seen) -> LaneSum {
        let mut lane = LaneSum::part(key, row);
        lane.sum = lane.sum.minus(lane.before.term(key));
        lane
    }

    /// One row, without the terms.
    fn part(key: &SumKey, row: &Seen) -> LaneSum {
        let last = SeqHash { seq: row.seq, hash: row.event_hash };
        LaneSum {
            key: *key,
            events: u64::from(!row.has(Seen::PASSED_OVER)),
            erased: u64::from(row.has(Seen::ERASED)),
            invalid: if row.has(Seen::VALID) || row.has(Seen::PASSED_OVER) {
                (i64::MAX, i64::MIN)
            } else {
                (row.seq, row.seq)
            },
            links: row.has(Seen::LINKS),
            records: row.has(Seen::RECORD),
            odd_targets: row.has(Seen::ODD_TARGETS),
            passed_over: row.has(Seen::PASSED_OVER),
            late: u64::from(row.has(Seen::LATE)),
            leaves: row.leaf,
            // No row that links has the least number there is.
            before: SeqHash { seq: row.seq.saturating_sub(1), hash: row.previous_event_hash },
            last,
            log_id: row.log_id,
            targets: row.targets,
            open: last,
            sum: Sum::default(),
        }
    }

    /// Adds a row.
    pub fn add(&mut self, row: &Seen) {
        if row.has(Seen::PASSED_OVER) {
            self.passed_over = true;
            self.last.seq = self.last.seq.max(row.seq);
            return;
        }
        let part = LaneSum::part(&self.key, row);
        if part.before != self.open {
            self.sum = self.sum.plus(self.open.term(&self.key)).minus(part.before.term(&self.key));
        }
        self.count(&part);
    }

    /// Adds the rows of another part of the lane.
    pub fn merge(&mut self, other: &LaneSum) {
        self.sum = self.sum.plus(self.open.term(&self.key)).plus(other.sum);
        self.count(other);
    }

    fn count(&mut self, other: &LaneSum) {
        self.events += other.events;
        self.erased += other.erased;
        self.invalid = (self.invalid.0.min(other.invalid.0), self.invalid.1.max(other.invalid.1));
        self.links &= other.links;
        self.records |= other.records;
        self.odd_targets |= other.odd_targets;
        self.passed_over |= other.passed_over;
        self.late += other.late;
        self.leaves = self.leaves.plus(other.leaves);
        if other.before.seq < self.before.seq {
            self.before = other.before;
            self.log_id = other.log_id;
        }
        if other.last.seq > self.last.seq {
            self.last = other.last;
        }
        self.targets = self.targets.plus(other.targets);
        self.open = other.open;
    }

    /// Returns whether no row was passed over, and the rows are the links of one chain without a hole, each at one position,
    /// from [`before`](Self::before) to [`last`](Self::last).
    pub fn adds_up(&self) -> bool {
        let sum = self.sum.plus(self.open.term(&self.key));
        self.links && !self.passed_over && sum == self.last.term(&self.key).minus(self.before.term(&self.key))
    }

    /// Returns the first and the last seq of the rows whose content is not what their hash says, if
    /// there are any.
    pub fn invalid(&self) -> Option<(i64, i64)> {
        (self.invalid.0 <= self.invalid.1).then_some(self.invalid)
    }

    /// Returns its bytes, for the way from one process to another.
    pub fn to_bytes(&self) -> [u8; Self::BYTES] {
        let mut out = ByteWriter::new();
        out.put(&self.key);
        out.put(&self.events.to_le_bytes());
        out.put(&self.erased.to_le_bytes());
        out.put(&self.invalid.0.to_le_bytes());
        out.put(&self.invalid.1.to_le_bytes());
        out.put(&[self.links, self.records, self.odd_targets, self.passed_over].map(u8::from));
        out.put(&self.late.to_le_bytes());
        for link in [&self.before, &self.last, &self.open] {
            out.put(&link.seq.to_le_bytes());
            out.put(&link.hash);
        }
        out.put(&self.log_id);
        for sum in [self.targets, self.leaves, self.sum] {
            out.put(&sum.to_bytes());
        }
        out.0
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote. Returns `None` for any other length.
    pub fn from_bytes(bytes: &[u8]) -> Option<LaneSum> {
        let mut from = ByteReader(bytes);
        let key = from.take()?;
        let (events, erased) = (u64::from_le_bytes(from.take()?), u64::from_le_bytes(from.take()?));
        let invalid = (i64::from_le_bytes(from.take()?), i64::from_le_bytes(from.take()?));
        let [links, records, odd_targets, passed_over] = from.take::<4>()?.map(|flag| flag != 0);
        let late = u64::from_le_bytes(from.take()?);
        let mut link = || Some(SeqHash { seq: i64::from_le_bytes(from.take()?), hash: from.take()? });
        let (before, last, open) = (link()?, link()?, link()?);
        let log_id = from.take()?;
        let mut sum = || Some(Sum::from_bytes(&from.take()?));
        let (targets, leaves, sum) = (sum()?, sum()?, sum()?);
        let lane = LaneSum {
            key,
            events,
            erased,
            invalid,
            links,
            records,
            odd_targets,
            passed_over,
            late,
            leaves,
            before,
            last,
            log_id,
            targets,
            open,
            sum,
        };
        from.0.is_empty().then_some(lane)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::{BreakType, Row, Walk};
    use proptest::prelude::*;

    const KEY: SumKey = *b"sixteen and more";
    const LOG: Id = [7; 16];

    #[derive(Debug, Clone, PartialEq)]
    struct Event {
        seq: i64,
        hash: Hash,
        previous: Option<Hash>,
    }

    fn hash(number: i64) -> Hash {
        sha256(&[&number.to_le_bytes()])
    }

    fn lane(length: i64) -> Vec<Event> {
        let previous = |seq| (seq > 1).then(|| hash(seq - 1));
        (1..=length).map(|seq| Event { seq, hash: hash(seq), previous: previous(seq) }).collect()
    }

    fn target_term(created_at: i64) -> Sum {
        let mut scratch = Scratch::default();
        let mut terms = TargetTerms::new(&KEY, &mut scratch);
        terms.add("t", &LOG, 0, created_at, "{}");
        terms.sum()
    }

    fn seen(event: &Event) -> Seen {
        let links = event.previous.is_none() == (event.seq == 1);
        Seen {
            seq: event.seq,
            event_hash: event.hash,
            previous_event_hash: event.previous.unwrap_or_default(),
            log_id: if event.seq == 1 { LOG } else { Id::default() },
            targets: target_term(event.seq),
            flags: Seen::VALID | Seen::COVERED | if links { Seen::LINKS } else { 0 },
            leaf: leaf_term(&KEY, &event.hash),
        }
    }

    fn sum(events: &[Event]) -> Option<LaneSum> {
        let (first, rest) = events.split_first()?;
        let mut lane = LaneSum::new(&KEY, &seen(first));
        for event in rest {
            lane.add(&seen(event));
        }
        Some(lane)
    }

    /// The sum of the parts, each of which goes from one process to another.
    fn sum_of_parts(events: &[Event], cuts: &[usize]) -> LaneSum {
        let mut parts: Vec<Vec<Event>> = vec![Vec::new(); 4];
        for (n, event) in events.iter().enumerate() {
            parts[cuts[n % cuts.len()] % 4].push(event.clone());
        }
        let mut parts = parts.iter().filter_map(|part| sum(part));
        let mut whole = parts.next().unwrap();
        for part in parts {
            whole.merge(&LaneSum::from_bytes(&part.to_bytes()).unwrap());
        }
        whole
    }

    /// Whether a walk through the rows in order finds nothing, beginning at the first of them if
    /// `range`.
    fn walk_finds_nothing(events: &[Event], range: bool) -> bool {
        let mut events = events.to_vec();
        events.sort_by_key(|event| event.seq);
        let mut breaks = Vec::new();
        let mut walk = Walk::new(Some(LOG));
        if range {
            let before = &events[0];
            walk.begin_lane("t", 0, (before.seq > 1).then(|| (before.seq - 1, hash(before.seq - 1).to_vec())), None);
        }
        for event in &events {
            let row = Row {
                tenant_id: "t",
                lane: 0,
                seq: event.seq,
                id: LOG,
                log_id: (event.seq == 1).then_some(LOG),
                previous_event_hash: event.previous.as_ref().map(<[u8; 32]>::as_slice),
                event_hash: Some(&event.hash),
                recomputed: Ok(event.hash),
                stray: None,
            };
            walk.push(&row, |found| breaks.push(found));
        }
        assert!(breaks.iter().all(|found| found.kind != BreakType::HashMismatch));
        breaks.is_empty()
    }

    /// As the verification decides: the sum, and what the lane begins with.
    fn sum_is_sound(lane: &LaneSum, range: bool) -> bool {
        let begins = match lane.before.seq {
            0 => lane.before.hash == Hash::default() && lane.log_id == LOG,
            before => range && lane.before.hash == hash(before),
        };
        lane.adds_up() && begins
    }

    #[derive(Debug, Clone)]
    enum Tampering {
        Remove(usize),
        Double(usize),
        Hash(usize, i64),
        Previous(usize, Option<i64>),
        Seq(usize, i64),
        SwapHashes(usize, usize),
    }

    fn tampering() -> impl Strategy<Value = Tampering> {
        let at = 0usize..40;
        prop_oneof![
            at.clone().prop_map(Tampering::Remove),
            at.clone().prop_map(Tampering::Double),
            (at.clone(), 0i64..40).prop_map(|(at, to)| Tampering::Hash(at, to)),
            (at.clone(), proptest::option::of(0i64..40)).prop_map(|(at, to)| Tampering::Previous(at, to)),
            (at.clone(), prop_oneof![-2i64..45, Just(i64::MAX), Just(i64::MIN)])
                .prop_map(|(at, to)| Tampering::Seq(at, to)),
            (at.clone(), at).prop_map(|(a, b)| Tampering::SwapHashes(a, b)),
        ]
    }

    fn tamper(events: &mut Vec<Event>, how: &Tampering) {
        let length = events.len();
        match *how {
            Tampering::Remove(at) if length > 1 => drop(events.remove(at % length)),
            Tampering::Remove(_) => {}
            Tampering::Double(at) => events.push(events[at % length].clone()),
            Tampering::Hash(at, to) => events[at % length].hash = hash(to),
            Tampering::Previous(at, to) => events[at % length].previous = to.map(hash),
            Tampering::Seq(at, to) => events[at % length].seq = to,
            Tampering::SwapHashes(a, b) => {
                let other = events[b % length].hash;
                events[b % length].hash = std::mem::replace(&mut events[a % length].hash, other);
            }
        }
    }

    proptest! {
        /// The sum and the walk agree on every lane, however its rows come in and whatever was done
        /// to them.
        #[test]
        fn adds_up_exactly_where_the_walk_finds_nothing(
            length in 1i64..40,
            how in proptest::collection::vec(tampering(), 0..4),
            from in 0usize..40,
            range: bool,
            order in Just((0..200usize).collect::<Vec<_>>()).prop_shuffle(),
            shuffled: bool,
            cuts in proptest::collection::vec(0usize..4, 1..30),
        ) {
            let mut events = lane(length);
            for how in &how {
                tamper(&mut events, how);
            }
            if range {
                events.drain(..from % events.len());
            }
            let walked = walk_finds_nothing(&events, range);
            if shuffled {
                let mut keyed: Vec<_> = events.iter().cloned().zip(order).collect();
                keyed.sort_by_key(|(_, place)| *place);
                events = keyed.into_iter().map(|(event, _)| event).collect();
            }
            let whole = sum_of_parts(&events, &cuts);
            prop_assert_eq!(sum_is_sound(&whole, range), walked);
            prop_assert_eq!(whole.events, events.len() as u64);
            if walked {
                let ends = (events.iter().map(|e| e.seq).min(), events.iter().map(|e| e.seq).max());
                prop_assert_eq!((Some(whole.before.seq + 1), Some(whole.last.seq)), ends);
                let last = events.iter().max_by_key(|event| event.seq).unwrap();
                prop_assert_eq!(whole.last.hash, last.hash);
            }
            let targets = events.iter().fold(Sum::default(), |sum, event| sum.plus(seen(event).targets));
            prop_assert_eq!(whole.targets, targets);
            let leaves = events.iter().fold(Sum::default(), |sum, event| sum.plus(leaf_term(&KEY, &event.hash)));
            prop_assert_eq!(whole.leaves, leaves);
        }

        #[test]
        fn sums_are_a_group(a: [u8; 32], b: [u8; 32], c: [u8; 32]) {
            let [a, b, c] = [a, b, c].map(|bytes| Sum::from_bytes(&bytes));
            prop_assert_eq!(a.plus(b), b.plus(a));
            prop_assert_eq!(a.plus(b).plus(c), a.plus(b.plus(c)));
            prop_assert_eq!(a.plus(b).minus(b), a);
            prop_assert_eq!(a.minus(a), Sum::default());
            prop_assert_eq!(Sum::from_bytes(&a.to_bytes()), a);
        }
    }

    #[test]
    fn carries_over_all_words() {
        let most = Sum::from_bytes(&[0xff; 32]);
        let one = Sum([1, 0, 0, 0]);
        assert_eq!(most.plus(one), Sum::default());
        assert_eq!(Sum::default().minus(one), most);
    }

    /// However many targets are hashed together, the sum is that of each alone.
    #[test]
    fn targets_add_up_one_by_one() {
        let canonical = |n: u16| "x".repeat(usize::from(n) * 7);
        let mut scratch = Scratch::default();
        let mut all = TargetTerms::new(&KEY, &mut scratch);
        (0..200).for_each(|n| all.add("t", &LOG, n, 7, &canonical(n)));
        let all = all.sum();
        let one_by_one = (0..200).fold(Sum::default(), |sum, n| {
            let mut one = TargetTerms::new(&KEY, &mut scratch);
            one.add("t", &LOG, n, 7, &canonical(n));
            sum.plus(one.sum())
        });
        assert_eq!(all, one_by_one);
    }

    #[test]
    fn what_is_counted() {
        let events = lane(5);
        let mut whole = LaneSum::new(&KEY, &Seen { flags: Seen::LINKS, ..seen(&events[3]) });
        whole.add(&Seen { flags: Seen::LINKS | Seen::VALID | Seen::ERASED, ..seen(&events[1]) });
        assert_eq!((whole.invalid(), whole.erased, whole.records, whole.odd_targets), (Some((4, 4)), 1, false, false));
        whole.add(&Seen { flags: Seen::LINKS | Seen::RECORD | Seen::ODD_TARGETS, ..seen(&events[2]) });
        assert_eq!((whole.invalid(), whole.erased, whole.records, whole.odd_targets), (Some((3, 4)), 1, true, true));
        assert!(whole.adds_up());
        assert_eq!(sum(&events).unwrap().invalid(), None);
        assert!(size_of::<LaneSum>() <= 496);
    }

    #[test]
    fn rows_that_were_passed_over() {
        let events = lane(5);
        let passed: Vec<Seen> = events.iter().map(|event| Seen::passed_over(event.seq)).collect();
        let mut none = LaneSum::new(&KEY, &passed[0]);
        none.add(&passed[4]);
        assert_eq!((none.events, none.passed_over, none.adds_up(), none.last.seq), (0, true, false, 5));
        assert_eq!(none.invalid(), None);
        let mut whole = sum(&events[..3]).unwrap();
        whole.add(&Seen { flags: Seen::LINKS | Seen::LATE, ..seen(&events[3]) });
        whole.merge(&LaneSum::from_bytes(&none.to_bytes()).unwrap());
        assert_eq!((whole.events, whole.passed_over, whole.adds_up(), whole.late), (4, true, false, 1));
        assert_eq!((whole.invalid(), whole.last.seq), (Some((4, 4)), 5));
        assert!(sum(&events[..4]).unwrap().adds_up());
    }

    #[test]
    fn bytes_that_are_none() {
        assert_eq!(LaneSum::from_bytes(&[0; LaneSum::BYTES - 1]), None);
        assert_eq!(Seen::from_bytes(&[0; Seen::BYTES + 1]), None);
        let row = seen(&lane(3)[2]);
        let mut buffer = [0; Seen::BYTES];
        assert_eq!(Seen::from_bytes(row.write(&mut buffer)), Some(row));
        let bare = Seen { flags: Seen::VALID, leaf: Sum::default(), ..row };
        let written = bare.write(&mut buffer);
        assert_eq!((written.len(), Seen::from_bytes(written)), (Seen::BYTES - 32, Some(bare)));
        let passed = Seen::passed_over(7);
        assert_eq!(Seen::from_bytes(passed.write(&mut buffer)), Some(passed));
    }
}
