//! page_evidence(): what a reader of one page of events needs to verify it. An event that is damaged says
//! so in its place and keeps nobody from the others, and so does a damaged tree.

use crate::access::lent::with_rights;
use crate::access::opened::{conditions, hold};
use crate::access::proof::{self, Opened, Scope};
use crate::evidence::entry::{self, Entry};
use crate::evidence::kept_note::{Cosigned, KeptNote};
use crate::evidence::proof::{prove_in, VIEW};
use crate::evidence::signing_key::verifier_keys;
use crate::evidence::tables::refuse_distributed;
use crate::log::columns::Layout;
use crate::log::row::stored_text;
use crate::log::tree::{Damaged, StoredTiles};
use crate::pg::call::{count_of_uuids, sql_function, Call};
use crate::pg::datum::Datum;
use crate::pg::error::Fault;
use crate::pg::spi::{self, Arg};
use crate::settings;
use immutable_format::export::write;
use immutable_format::id::uuid_text;
use immutable_format::json::write_string;
use immutable_format::tlog::base64;
use immutable_format::tlog::checkpoint::Checkpoint;
use immutable_format::tlog::note::VerifierKey;
use immutable_format::tlog::tile::TiledNodes;
use immutable_format::Id;
use pgrx::pg_sys;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Most events of one call: a page has no more.
const MOST: usize = 100;

/// Bytes of the events' lines: a jsonb value holds 256 MB.
const MOST_BYTES: usize = 200 << 20;

/// An event with its line, or why there is none.
type Read = Result<(Entry, String), String>;

sql_function!(immutable_page_evidence, pg_finfo_immutable_page_evidence, page_evidence);

/// `immutable.page_evidence(ids, tenant_id)`
fn page_evidence(call: Call<'_>) -> Datum<'_> {
    refuse_distributed();
    let opened = proof::require(Scope::Read);
    let ids = call.required(0, "ids", "Give the ids of the events of a page, or an empty array.");
    if count_of_uuids(ids) > MOST {
        Fault::invalid("ids", format!("ids must have at most {MOST} elements"))
            .hint("Ask for one page at a time.")
            .raise()
    }
    let events = with_rights(|| read(call, ids, &opened));
    let covering = if shows_proofs(&opened) { covering() } else { Covering::default() };
    call.memory().jsonb(&covering.json(&events))
}

/// Whether the caller sees where the events are in the tree: not with a viewer's rights alone, if the
/// setting is off.
fn shows_proofs(opened: &Opened) -> bool {
    if settings::VIEWER_PROOFS.get() {
        return true;
    }
    let statement = "SELECT pg_catalog.has_function_privilege(\
        'immutable.inclusion_proof(uuid, text, bigint)'::pg_catalog.regprocedure, 'EXECUTE')";
    let mut may_prove = false;
    spi::read_planned_once(statement, &[], |row| may_prove = row.at(0).is_some_and(Datum::bool));
    may_prove && opened.has(Scope::Verify)
}

/// The events among `ids` that the caller sees. Most pages are of the hot table alone. Where it has not all, or where
/// no tenant is given, so that several events may have an id, all tables are asked with the same snapshot.
fn read<'c>(call: Call<'c>, ids: Datum<'c>, opened: &Opened) -> BTreeMap<Id, Read> {
    let mut condition = String::new();
    let mut arguments = vec![Arg::Given(pg_sys::UUIDARRAYOID, ids)];
    if let Some(tenant_id) = call.arg(1) {
        hold(opened, tenant_id);
        condition.push_str(" AND e.tenant_id = $2");
        arguments.push(Arg::Given(pg_sys::TEXTOID, tenant_id));
    }
    let has_one_tenant = call.arg(1).is_some() || opened.tenant_id.is_some();
    let several = if has_one_tenant { "several events have this id" } else { "events of several tenants have this id" };
    condition.push_str(&conditions(opened, &mut arguments));
    let mut page = Page::default();
    if has_one_tenant {
        page.read(
            &format!("SELECT e.* FROM ONLY immutable.events e WHERE e.id = ANY ($1){condition}"),
            &arguments,
            several,
        );
    }
    if !has_one_tenant || page.events.len() < count_of_uuids(ids) {
        page.read(&format!("SELECT e.* FROM immutable.events e WHERE e.id = ANY ($1){condition}"), &arguments, several);
    }
    page.events
}

/// The events of a page that are read by now.
#[derive(Default)]
struct Page {
    events: BTreeMap<Id, Read>,
    bytes: usize,
}

impl Page {
    /// Takes the events that a statement finds, in place of those that were read before. `several` says what it means
    /// that there are two with one id.
    fn read(&mut self, statement: &str, arguments: &[Arg], several: &str) {
        let mut layout = None;
        *self = Page::default();
        spi::stream_planned_once(statement, arguments, |tuple| {
            let layout = layout.get_or_insert_with(|| Layout::of_events(tuple.descriptor()));
            let read = entry::read(&tuple.values(), layout, &mut |stored, document, hash| {
                write::event(document, Some(hash), &stored.content, &stored.secret)
            });
            let (id, read) = match read {
                Ok((entry, line)) => (entry.id, Ok((entry, line))),
                Err(mismatch) => (mismatch.id, Err(format!("{}. {}", mismatch.text(), mismatch.detail()))),
            };
            let read = read.and_then(|(entry, line)| {
                self.bytes += line.len();
                let fits = self.bytes <= MOST_BYTES;
                fits.then_some((entry, line)).ok_or_else(|| "the events are too large for one page".to_string())
            });
            if self.events.insert(id, read).is_some() {
                self.events.insert(id, Err(several.to_string()));
            }
        });
    }
}

/// The checkpoint that proofs lead to, and the database's own lists of keys.
#[derive(Default)]
struct Covering {
    /// The checkpoint, and its note with the lines of witnesses.
    kept: Option<(Checkpoint, String)>,
    /// Why a checkpoint that is there is not given.
    damaged: Option<String>,
    verifier_keys: Vec<String>,
    witnesses: Vec<String>,
}

/// The newest cosigned checkpoint, else the newest signed one.
fn covering() -> Covering {
    let mut covering = Covering::default();
    let head = match VIEW.head() {
        None => return covering,
        Some(Err(Damaged(why))) => return Covering { damaged: Some(why), ..covering },
        Some(Ok(head)) => head,
    };
    let kept = match Cosigned::newest(VIEW, &head.origin) {
        Some(cosigned) => Some(cosigned.kept(VIEW, &head.origin)),
        None => KeptNote::try_newest(VIEW, &head.origin),
    };
    let noted = kept.map(|kept| kept.and_then(|kept| Ok((kept.cosigned(VIEW)?, kept.checkpoint))));
    match noted {
        None => {}
        Some(Ok((note, checkpoint))) => covering.kept = Some((checkpoint, note)),
        Some(Err(Damaged(why))) => covering.damaged = Some(why),
    }
    covering.verifier_keys = verifier_keys(VIEW, &head.origin).iter().map(VerifierKey::text).collect();
    VIEW.read("SELECT w.vkey FROM immutable.witnesses w ORDER BY w.vkey", &[], |row| {
        covering.witnesses.extend(row.at(0).and_then(stored_text).map(str::to_string));
    });
    covering
}

impl Covering {
    fn json(&self, events: &BTreeMap<Id, Read>) -> String {
        let mut nodes = self.kept.as_ref().map(|(checkpoint, _)| VIEW.nodes(checkpoint.size));
        let mut out = "{\"events\":{".to_string();
        for (n, (id, read)) in events.iter().enumerate() {
            let comma = if n > 0 { "," } else { "" };
            let _ = write!(out, "{comma}\"{}\":", uuid_text(id));
            match self.event(read, nodes.as_mut()) {
                Ok(shown) => out.push_str(&shown),
                Err(why) => member("{\"unreadable\":", &why, "}", &mut out),
            }
        }
        out.push_str("},\"checkpoint\":");
        match &self.kept {
            Some((_, note)) => write_string(note, &mut out),
            None => out.push_str("null"),
        }
        if let Some(why) = &self.damaged {
            member(",\"unreadable\":", why, "", &mut out);
        }
        for (name, keys) in [("verifier_keys", &self.verifier_keys), ("witnesses", &self.witnesses)] {
            let keys: Vec<String> = keys.iter().map(|key| quoted(key)).collect();
            let _ = write!(out, ",\"{name}\":[{}]", keys.join(","));
        }
        out.push('}');
        out
    }

    /// The evidence of one event, as JSON; or why there is none.
    fn event(&self, read: &Read, nodes: Option<&mut TiledNodes<StoredTiles>>) -> Result<String, String> {
        let (entry, line) = read.as_ref().map_err(String::clone)?;
        let mut out = String::with_capacity(line.len() + 2048);
        member("{\"line\":", line, ",", &mut out);
        let covered = self.kept.as_ref().zip(nodes).map(|((checkpoint, _), nodes)| {
            let index = entry.index(VIEW)?.filter(|index| *index < checkpoint.size);
            index.map(|index| Ok((index, prove_in(nodes, entry, index, checkpoint)?))).transpose()
        });
        match covered.transpose().map_err(|Damaged(why)| why)?.flatten() {
            None => out.push_str("\"index\":null,\"proof\":null}"),
            Some((index, hashes)) => {
                let hashes: Vec<String> = hashes.iter().map(|hash| quoted(&base64(hash))).collect();
                let _ = write!(out, "\"index\":{index},\"proof\":[{}]}}", hashes.join(","));
            }
        }
        Ok(out)
    }
}

fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    write_string(text, &mut out);
    out
}

fn member(before: &str, text: &str, after: &str, out: &mut String) {
    out.push_str(before);
    write_string(text, out);
    out.push_str(after);
}
