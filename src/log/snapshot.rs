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
