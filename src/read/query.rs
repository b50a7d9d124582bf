//! What get_events() and find_events() have in common: the arguments of a call, and how they are
//! read.

use crate::access::proof::Opened;
use crate::pg::call::Call;
use crate::pg::datum::{text, Datum};
use crate::pg::error::Fault;
use crate::read::filter::{argument, Filters, FILTERS};
use crate::read::lead::ReadPlan;
use crate::read::page::Page;
use crate::read::probe::{bind, is_limited, Order};
use immutable_format::cursor::{self, PageCursor, Way};

/// The argument that is the cursor; the first ones are the filters.
pub const CURSOR: usize = FILTERS.len();

const LIMIT: usize = CURSOR + 1;

const ORDER: usize = LIMIT + 1;

/// The argument that says whether the total is counted; get_events() alone has it.
pub const COUNT: usize = ORDER + 1;

/// How many events a call asks for: from 1 to `most`, 25 if it does not say; 22023 otherwise.
pub fn page_size(call: Call, most: i32) -> usize {
    let limit = call.arg(LIMIT).map_or(25, Datum::i32);
    if !(1..=most).contains(&limit) {
        Fault::invalid("limit", format!("limit must be from 1 to {most}, not {limit}"))
            .hint("Read further pages with the cursor of the previous page.")
            .raise()
    }
    limit as usize
}

/// The order that a call asks for; 22023 for a word that is none.
fn order(call: Call) -> Order {
    match call.arg(ORDER).map(text) {
        None | Some("desc") => Order::NewestFirst,
        Some("asc") => Order::OldestFirst,
        Some(_) => Fault::invalid("order", "order must be asc or desc")
            .hint("desc is newest first, asc is oldest first.")
            .raise(),
    }
}

/// What a call asks for: events by which filters, from which cursor on, in which direction from it, in which order.
pub struct Asked<'c> {
    /// The values of the filters, as they are in [`FILTERS`].
    pub values: [Option<Datum<'c>>; FILTERS.len()],
    pub filters: Filters<'c>,
    pub cursor: Option<PageCursor>,
    pub way: Way,
    pub order: Order,
}

impl<'c> Asked<'c> {
    /// Reads the arguments of a call; 22023 for those that mean nothing.
    pub fn of(call: Call<'c>) -> Asked<'c> {
        let values = std::array::from_fn(|index| argument(call, index));
        let mut filters = Filters::of_values(call.memory(), |index| values[index]);
        filters.until_now();
        let order = order(call);
        if order == Order::OldestFirst {
            filters.fingerprint.push_str("asc");
        }
        let given = call.arg(CURSOR).map(|cursor| cursor::decode(text(cursor), &filters.fingerprint));
        let (cursor, way) = match given {
            None => (None, Way::Next),
            Some(Ok((cursor, way))) => (Some(cursor), way),
            Some(Err(error)) => refuse(error),
        };
        Asked { values, filters, cursor, way, order }
    }

    /// The order in which rows are read: away from the cursor.
    pub fn order_read(&self) -> Order {
        match self.way {
            Way::Next => self.order,
            Way::Previous => self.order.reversed(),
        }
    }
}

/// What a call asks for, and how it is read here, by this caller.
pub struct Query<'c> {
    pub asked: Asked<'c>,
    /// Whether row security shows the caller less than everything.
    pub is_limited: bool,
    /// Whether the arguments limit what is read, and not row security: the owner reads for somebody.
    pub is_for_other: bool,
    pub plan: ReadPlan,
}

impl<'c> Query<'c> {
    /// Narrows what is asked for to what the caller is bound to, and looks for the best index. Raises 42501 for a
    /// tenant that the proof does not open.
    pub fn of(mut asked: Asked<'c>, opened: &Opened) -> Query<'c> {
        let is_limited = is_limited();
        bind(&mut asked.filters, is_limited, opened);
        Query::bound(asked, is_limited, false)
    }

    /// The query of a caller who is bound already; with `for_other`, of one who asks for somebody who sees less.
    pub fn bound(asked: Asked<'c>, is_limited: bool, for_other: bool) -> Query<'c> {
        let plan = ReadPlan::of(&asked.filters);
        Query { asked, is_limited: is_limited || for_other, is_for_other: for_other && !is_limited, plan }
    }

    /// The `rows` rows from the cursor on, in the order in which they are read.
    pub fn page(&self, rows: usize) -> Page<'c> {
        let Asked { filters, cursor, .. } = &self.asked;
        Page::new(filters.clone(), self.plan, self.is_limited, cursor.as_ref(), self.asked.order_read(), rows)
    }

    /// The same in the order that is asked for.
    pub fn page_in_order(&self, rows: usize) -> Page<'c> {
        let page = self.page(rows);
        match self.asked.way {
            Way::Next => page,
            Way::Previous => page.reversed(),
        }
    }
}

fn refuse(error: cursor::Error) -> ! {
    let message = match error {
        cursor::Error::NotOurs => "cursor is not one that get_events() returned",
        cursor::Error::OtherFilters => "cursor belongs to a query with other filters or another order",
    };
    Fault::invalid("cursor", message)
        .hint("Pass pagination.next_cursor unchanged, with the filters and the order of the page that it came with.")
        .raise()
}
