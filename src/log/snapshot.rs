//! Snapshots as text, by which a reader of the log knows later what it has not seen.

/// What a snapshot did not see: transactions that had not begun, and those that ran.
pub struct Snapshot {
    /// The first transaction ID that was not in use.
    pub xmax: String,
    /// Those that ran.
    pub xip: Vec<String>,
}

impl Snapshot {
    /// Reads what pg_snapshot's output function writes: `xmin:xmax:xip,xip`.
    pub fn parse(text: &str) -> Option<Snapshot> {
        let is_id = |text: &&str| text.parse::<u64>().is_ok_and(|id| id.to_string() == *text);
        let mut parts = text.splitn(3, ':');
        let (_, xmax, xip) = (parts.next().filter(is_id)?, parts.next().filter(is_id)?, parts.next()?);
        let xip: Vec<&str> = xip.split(',').filter(|id| !id.is_empty()).collect();
        let is_whole = xip.iter().all(is_id);
        is_whole.then(|| Snapshot { xmax: xmax.to_string(), xip: xip.into_iter().map(str::to_string).collect() })
    }
}

/// The snapshot in this text as if the transaction had not been seen. It saw a transaction that made
/// it, but only if another one that began later had ended.
pub fn without(text: &str, transaction: u64) -> Option<String> {
    let Snapshot { xmax, xip } = Snapshot::parse(text)?;
    let xmin: u64 = text.split(':').next()?.parse().ok()?;
    let xmax: u64 = xmax.parse().ok()?;
    let mut xip: Vec<u64> = xip.iter().filter_map(|id| id.parse().ok()).collect();
    if transaction < xmax && !xip.contains(&transaction) {
        xip.push(transaction);
        xip.sort_unstable();
    }
    let xmin = xip.first().map_or(xmin, |first| xmin.min(*first));
    let xip: Vec<String> = xip.iter().map(u64::to_string).collect();
    Some(format!("{xmin}:{xmax}:{}", xip.join(",")))
}

#[cfg(test)]
mod tests {
    use super::without;

    #[test]
    fn a_transaction_is_added_to_those_that_ran() {
        for (snapshot, transaction, expected) in [
            ("10:20:12,15", 14, "10:20:12,14,15"),
            ("12:20:12,15", 12, "12:20:12,15"),
            ("12:20:15", 11, "11:20:11,15"),
            ("20:20:", 20, "20:20:"),
            ("20:20:", 25, "20:20:"),
            ("20:21:", 20, "20:21:20"),
        ] {
            assert_eq!(without(snapshot, transaction).as_deref(), Some(expected), "{snapshot}");
        }
        assert!(without("x", 1).is_none() && without("1:2", 1).is_none());
    }
}
