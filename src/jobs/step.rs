//! A step of maintenance: what is done in one transaction.

/// What a step did in its transaction.
pub struct Done {
    /// The JSON that run_maintenance() answers for it; None if there was nothing to do.
    pub did: Option<String>,
    /// Whether there is more to do, in another transaction.
    pub has_more: bool,
}

impl Done {
    /// There was nothing to do.
    pub const NOTHING: Done = Done { did: None, has_more: false };
}

/// What two transactions of a step did: their numbers are added, and of anything else the later counts.
pub fn both(before: Option<String>, after: Option<String>) -> Option<String> {
    let (Some(one), Some(other)) = (&before, &after) else { return after.or(before) };
    let sum = match (one.parse::<i64>(), other.parse::<i64>()) {
        (Ok(one), Ok(other)) => Some(one.saturating_add(other).to_string()),
        _ => numbers(one).zip(numbers(other)).map(|(mut sums, others)| {
            for (name, number) in others {
                match sums.iter_mut().find(|(known, _)| *known == name) {
                    Some((_, sum)) => *sum = sum.saturating_add(number),
                    None => sums.push((name, number)),
                }
            }
            let members: Vec<String> = sums.iter().map(|(name, sum)| format!("{name}:{sum}")).collect();
            format!("{{{}}}", members.join(","))
        }),
    };
    sum.or(after)
}

/// The members of an object that has numbers alone.
fn numbers(json: &str) -> Option<Vec<(&str, i64)>> {
    let members = json.strip_prefix('{')?.strip_suffix('}')?.split(',');
    members
        .map(|member| member.split_once(':').and_then(|(name, n)| Some((name.trim(), n.trim().parse().ok()?))))
        .collect()
}
