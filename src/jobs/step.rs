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

#[cfg(test)]
mod tests {
    use super::both;

    fn add(one: &str, other: &str) -> Option<String> {
        both(Some(one.to_string()), Some(other.to_string()))
    }

    #[test]
    fn numbers_are_added() {
        assert_eq!(add("2", "3").as_deref(), Some("5"));
        assert_eq!(add("{\"a\":2,\"b\":1}", "{\"a\":3,\"c\":4}").as_deref(), Some("{\"a\":5,\"b\":1,\"c\":4}"));
    }

    #[test]
    fn of_anything_else_the_later_counts() {
        assert_eq!(add("{\"a\":\"x\"}", "{\"a\":1}").as_deref(), Some("{\"a\":1}"));
        assert_eq!(both(None, Some("1".to_string())).as_deref(), Some("1"));
        assert_eq!(both(Some("1".to_string()), None).as_deref(), Some("1"));
        assert_eq!(both(None, None), None);
    }
}
