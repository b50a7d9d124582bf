//! The targets of an event, as the rows of event_targets.

use crate::pg::jsonb::{Jsonb, Kind, Member};

/// One target as event_targets keeps it, each member in the column of that name.
#[derive(Default)]
pub struct Flat<'m> {
    pub target_type: String,
    pub target_id: Option<String>,
    pub target_name: Option<String>,
    pub target_metadata: Option<Jsonb<'m>>,
}

/// The targets of a stored event; what is not one is skipped.
pub fn flatten(targets: Jsonb<'_>) -> Vec<Flat<'_>> {
    let mut flat = Vec::new();
    if targets.kind() != Kind::Array {
        return flat;
    }
    targets.each_element(|element| {
        let Member::Nested(object) = element else { return };
        let mut target = Flat::default();
        if object.kind() == Kind::Object {
            object.members(|key, value| match (key, value) {
                ("type", Member::Text(text)) => target.target_type = text,
                ("id", Member::Text(text)) => target.target_id = Some(text),
                ("name", Member::Text(text)) => target.target_name = Some(text),
                ("metadata", Member::Nested(metadata)) => target.target_metadata = Some(metadata),
                _ => {}
            });
        }
        flat.push(target);
    });
    flat
}
