//! Which of the filters an answer is looked for by.

use crate::read::filter::{Filters, Lead};
use crate::read::probe::{count, Source, LIGHT};

/// The filter to read a page through, and whether that is one of several that are all frequent.
#[derive(Clone, Copy)]
pub struct Through {
    pub lead: Lead,
    pub is_frequent: bool,
}

/// The lead's entries, at most so many; the oldest first, which are those that VACUUM has seen.
pub fn entries(filters: &Filters, lead: Lead, tenant: &str, most: i64) -> String {
    let id = if matches!(lead, Lead::TargetId | Lead::TargetType) { "event_id" } else { "id" };
    let order = format!("ORDER BY e.tenant_id DESC, e.created_at, e.{id}");
    format!("SELECT FROM {} WHERE {}{tenant} {order} LIMIT {most}", Source::of(lead).entries, filters.of_lead(lead))
}

/// What to read a page through: of several filters the one that the fewest events pass, as far as they are counted.
pub fn through(filters: &Filters) -> Through {
    // Any other index would lead past the events of other actors, one check of the policy each.
    if filters.bound {
        return Through { lead: Lead::Actor, is_frequent: false };
    }
    let mut leads = filters.exact_leads();
    leads.dedup();
    if leads.len() < 2 {
        return Through { lead: filters.lead(), is_frequent: false };
    }
    let tenant = filters.tenant.map_or(String::new(), |n| format!(" AND e.tenant_id = ${n}"));
    let weigh = |lead, most: i64| count(&entries(filters, lead, &tenant, most), filters, most);
    if let Some(lead) = leads.iter().copied().find(|lead| weigh(*lead, LIGHT) < LIGHT) {
        return Through { lead, is_frequent: false };
    }
    let mut best = (Lead::Page, i64::MAX);
    for lead in leads {
        let weight = weigh(lead, WEIGHED);
        if weight < best.1 {
            best = (lead, weight);
        }
    }
    Through { lead: best.0, is_frequent: best.1 >= WEIGHED }
}

/// Entries that are counted to find the most selective of several filters.
pub const WEIGHED: i64 = 20_000;
