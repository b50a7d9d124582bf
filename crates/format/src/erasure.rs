//! Erasing values of an event, and the commitments of an event that has lost some of its values.

use crate::commitment::{for_each_value, leaf_salt, Commitments, ValuePlace};
use crate::event::{Content, Erasure, Violation, ACTOR_ID, METADATA, RESERVED};
use crate::hash::{Hash, Salt};

/// Returns the commitments of an event some of whose values are erased: computed from the value
/// where it is still there, taken from `erasure` where it is gone.
///
/// # Errors
///
/// A [`Violation`] if a value is there whose commitment is erased, if a value has no salt, or if a
/// salt has no value.
pub fn reseal(content: &Content<'_>, erasure: &Erasure) -> Result<Commitments, Violation> {
    for (position, _) in &erasure.targets {
        match content.targets.get(*position) {
            Some(target) if target.is_bare() => {}
            _ => return Err(Violation("an erased target is there")),
        }
    }
    let mut sealed = Commitments { targets: vec![Hash::default(); content.targets.len()], ..Commitments::default() };
    let mut present = 0;
    let mut unsalted = None;
    for_each_value(content, |place, path, value| {
        if let ValuePlace::Target(position) = place {
            if let Ok(erased) = erasure.targets.binary_search_by_key(&position, |(at, _)| *at) {
                sealed.targets[position] = erasure.targets[erased].1;
                return;
            }
        }
        let Some(salt) = erasure.salt(path) else {
            unsalted = Some(Violation("a value has no salt"));
            return;
        };
        present += 1;
        let hash = value.commitment(salt, path);
        match place {
            ValuePlace::Column(column) => sealed.columns[column] = Some(hash),
            ValuePlace::Metadata => sealed.metadata.push(hash),
            ValuePlace::Target(position) => sealed.targets[position] = hash,
        }
    });
    if let Some(violation) = unsalted {
        return Err(violation);
    }
    if present != erasure.salts.len() {
        return Err(Violation("erased has a salt of no value"));
    }
    for (column, erased) in erasure.columns.iter().enumerate() {
        if erased.is_some() {
            if sealed.columns[column].is_some() {
                return Err(Violation("an erased value is there"));
            }
            sealed.columns[column] = *erased;
        }
    }
    sealed.metadata.extend_from_slice(&erasure.metadata);
    sealed.metadata.sort_unstable();
    if sealed.metadata.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(Violation("an erased metadata value is there"));
    }
    Ok(sealed)
}

/// Erases `paths` from an event. Returns the content that is left and the row's new column
/// `erased`, or `None` if one of the paths has no value. `erased_before` is the row's column so
/// far, `event_salt` its salt: exactly one of them is given.
pub fn erase<'a>(
    content: &Content<'a>,
    event_salt: Option<&Salt>,
    erased_before: Option<&Erasure>,
    paths: &[&str],
) -> Option<(Content<'a>, Erasure)> {
    let mut erasure = erased_before.cloned().unwrap_or_default();
    let old_salts = std::mem::take(&mut erasure.salts);
    let mut left = content.clone();
    let mut gone = 0;
    let mut complete = true;
    for_each_value(content, |place, path, value| {
        let known = old_salts.iter().find(|(known, _)| known == path).map(|(_, salt)| *salt);
        let Some(salt) = event_salt.map(|salt| leaf_salt(salt, path)).or(known) else {
            // a target that was erased before keeps its place but has no salt
            complete &= matches!(place, ValuePlace::Target(_)) && !paths.contains(&path);
            return;
        };
        if !paths.contains(&path) {
            erasure.salts.push((path.to_string(), salt));
            return;
        }
        gone += 1;
        let hash = value.commitment(&salt, path);
        match place {
            ValuePlace::Column(column) => {
                erasure.columns[column] = Some(hash);
                left.columns[column] = None;
            }
            ValuePlace::Metadata => {
                erasure.metadata.push(hash);
                left.metadata.retain(|member| path.strip_prefix(METADATA) != Some(member.key.as_ref()));
            }
            ValuePlace::Target(position) => {
                erasure.targets.push((position, hash));
                left.targets[position] = content.targets[position].bare();
            }
        }
    });
    erasure.metadata.sort_unstable();
    erasure.targets.sort_unstable();
    (complete && gone == paths.len() && gone > 0).then_some((left, erasure))
}

/// Checks what may be erased: a stored row keeps `actor_id` unless it was erased, and of the events
/// that the log itself records only `metadata.reason` can be erased.
///
/// # Errors
///
/// A [`Violation`] if the row breaks one of these rules.
pub fn check_erasure(content: &Content<'_>, erasure: Option<&Erasure>, action: &str) -> Result<(), Violation> {
    let actor_erased = erasure.is_some_and(|erasure| erasure.columns[ACTOR_ID].is_some());
    if content.columns[ACTOR_ID].is_none() && !actor_erased {
        return Err(Violation("actor_id is missing"));
    }
    if let Some(erasure) = erasure {
        let own = action.starts_with(RESERVED);
        let reason = content.metadata.members().iter().any(|member| member.key == "reason");
        if own && (reason || erasure.metadata.len() != 1 || erasure.len() != 1) {
            return Err(Violation("more than the reason is erased from an event of the log's own"));
        }
    }
    Ok(())
}
