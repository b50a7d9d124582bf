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
