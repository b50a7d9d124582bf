//! What the rules remember of one actor, or of one tenant as a whole, as the bytes that a row of
//! immutable.alert_state keeps. Bytes that are damaged count as no memory.

use immutable_format::Id;
use std::collections::BTreeMap;

/// What one rule remembers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// When the rule began to look as it does: a rule that was changed remembers nothing.
    pub since: i64,
    /// The times of events, in order, by what is counted: an action, or nothing.
    pub times: BTreeMap<String, Vec<i64>>,
    /// The events or periods for which there were alerts last.
    pub alerted: Vec<i64>,
    /// The countries that are known.
    pub countries: Vec<String>,
}

/// How many alerts and countries are remembered. There are fewer countries.
const MOST_ALERTED: usize = 16;
pub const MOST_COUNTRIES: usize = 300;

/// For how many actions of one actor a rule remembers times.
const MOST_ACTIONS: usize = 1000;

impl Memory {
    /// Whether there was an alert for which this is true.
    pub fn has_alerted(&self, is_same: impl Fn(i64) -> bool) -> bool {
        self.alerted.iter().any(|at| is_same(*at))
    }

    /// Notes an alert.
    pub fn note_alert(&mut self, at: i64) {
        if self.alerted.len() == MOST_ALERTED {
            self.alerted.remove(0);
        }
        self.alerted.push(at);
    }

    /// Keeps the actions that came last.
    pub fn bound_actions(&mut self) {
        let excess = self.times.len().saturating_sub(MOST_ACTIONS);
        if excess > 0 {
            let mut last: Vec<(i64, String)> =
                self.times.iter().map(|(action, times)| (times.last().copied().unwrap_or(0), action.clone())).collect();
            last.sort_unstable();
            for (_, action) in &last[..excess] {
                self.times.remove(action);
            }
        }
    }
}

/// What all rules remember, by the rule's id.
pub type Memories = BTreeMap<Id, Memory>;

/// The form of the bytes, which come after it.
const VERSION: u8 = 1;

/// As bytes.
pub fn encode(memories: &Memories) -> Vec<u8> {
    let mut out = vec![VERSION];
    for (rule, memory) in memories {
        out.extend_from_slice(rule);
        put(memory.since, &mut out);
        put(memory.times.len() as i64, &mut out);
        for (action, times) in &memory.times {
            put_text(action, &mut out);
            put_numbers(times, &mut out);
        }
        put_numbers(&memory.alerted, &mut out);
        put(memory.countries.len() as i64, &mut out);
        for country in &memory.countries {
            put_text(country, &mut out);
        }
    }
    out
}

/// From bytes; none if they are damaged.
pub fn decode(bytes: &[u8]) -> Option<Memories> {
    let mut rest = bytes.strip_prefix(&[VERSION])?;
    let mut memories = Memories::new();
    while !rest.is_empty() {
        let rule: Id = take_bytes(16, &mut rest)?.try_into().ok()?;
        let mut memory = Memory { since: take(&mut rest)?, ..Memory::default() };
        for _ in 0..take(&mut rest)? {
            let action = take_text(&mut rest)?;
            let times = take_numbers(&mut rest)?;
            memory.times.insert(action, times.is_sorted().then_some(times)?);
        }
        memory.alerted = take_numbers(&mut rest)?;
        for _ in 0..take(&mut rest)? {
            memory.countries.push(take_text(&mut rest)?);
        }
        memories.insert(rule, memory);
    }
    Some(memories)
}

/// Writes a number, in fewer bytes if it is near 0.
fn put(number: i64, out: &mut Vec<u8>) {
    let mut left = ((number << 1) ^ (number >> 63)) as u64;
    while left >= 0x80 {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}

fn take(rest: &mut &[u8]) -> Option<i64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, behind) = rest.split_first()?;
        *rest = behind;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some((number >> 1) as i64 ^ -((number & 1) as i64));
        }
    }
    None
}

fn take_bytes<'a>(count: usize, rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (taken, behind) = rest.split_at_checked(count)?;
    *rest = behind;
    Some(taken)
}

fn put_text(text: &str, out: &mut Vec<u8>) {
    put(text.len() as i64, out);
    out.extend_from_slice(text.as_bytes());
}

fn take_text(rest: &mut &[u8]) -> Option<String> {
    let length = usize::try_from(take(rest)?).ok()?;
    String::from_utf8(take_bytes(length, rest)?.to_vec()).ok()
}

/// Numbers, as the distance of each from the one before it.
fn put_numbers(numbers: &[i64], out: &mut Vec<u8>) {
    put(numbers.len() as i64, out);
    let mut before = 0_i64;
    for number in numbers {
        put(number.wrapping_sub(before), out);
        before = *number;
    }
}

fn take_numbers(rest: &mut &[u8]) -> Option<Vec<i64>> {
    let (mut numbers, mut before) = (Vec::new(), 0_i64);
    for _ in 0..take(rest)? {
        before = before.wrapping_add(take(rest)?);
        numbers.push(before);
    }
    Some(numbers)
}
