//! Which of the filters a page is looked for by.

use crate::log::segments;
use crate::read::filter::{Filters, LeadFilter};
use crate::read::probe::{count, Source, LIGHT};

/// Entries that are counted to find the most selective of several filters.
const WEIGHED: i64 = 20_000;

/// The filter to read a page through, and whether that is one of several that are all frequent.
#[derive(Clone, Copy)]
pub struct ReadPlan {
    pub lead: LeadFilter,
    pub is_frequent: bool,
}

impl ReadPlan {
    /// Of several filters the one that the fewest events pass, as far as they are counted.
    pub fn of(filters: &Filters) -> ReadPlan {
        // Any other index would lead past the events of other actors, one check of the policy each.
        if filters.bound {
            return ReadPlan { lead: LeadFilter::Actor, is_frequent: false };
        }
        let mut leads = filters.exact_leads();
        leads.dedup();
        if leads.len() < 2 {
            return ReadPlan { lead: filters.lead(), is_frequent: false };
        }
        let tenant = filters.tenant.map_or(String::new(), |n| format!(" AND e.tenant_id = ${n}"));
        let weigh = |lead, most: i64| count(&entries(filters, lead, &tenant, most), filters, most);
        if let Some(lead) = leads.iter().copied().find(|lead| weigh(*lead, LIGHT) < LIGHT) {
            return ReadPlan { lead, is_frequent: false };
        }
        let mut best = (LeadFilter::Page, i64::MAX);
        for lead in leads {
            let weight = weigh(lead, WEIGHED);
            if weight < best.1 {
                best = (lead, weight);
            }
        }
        ReadPlan { lead: best.0, is_frequent: best.1 >= WEIGHED }
    }
}

/// The statement that gives the lead's entries, at most so many: the oldest first, which are those
/// that VACUUM has seen. `tenant` is a further condition, with AND in front. Over all tenants of several tables they
/// come in any order: merging would cost more than it finds.
pub fn entries(filters: &Filters, lead: LeadFilter, tenant: &str, most: i64) -> String {
    let order = match tenant.is_empty() && segments::may_be() {
        true => "",
        false => "ORDER BY e.tenant_id DESC, e.created_at",
    };
    format!(
        "SELECT FROM {} WHERE {}{tenant} {order} LIMIT {most}",
        Source::of(lead).entries,
        filters.lead_condition(lead)
    )
}
