//! Who stands behind an event that comes from another node. Citus connects there as the role whose rights apply, so that
//! neither the login is known nor who called a SECURITY DEFINER function. A default of column recorded_by brings their
//! names: Citus evaluates it on the client's node. A seal shows that no client has written it.

use crate::access::grants_table::grants;
use crate::access::keys;
use crate::log::columns::{self as c, Layout};
use crate::log::{distributed, shared_table};
use crate::pg::call::{sql_function, Call};
use crate::pg::datum::{text, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::role;
use crate::pg::transaction::now_in_seconds;
use crate::pg::tuple::Values;
use immutable_format::token;
use pgrx::pg_sys::{self, Oid};
use std::cell::RefCell;
use std::ffi::CString;

/// What a seal begins with.
const PREFIX: &str = "roles:";

/// For how many seconds a seal is good, to both sides, because clocks differ. Who sees the statements of a node could
/// use one again, but only as the role that it names.
const GOOD: i64 = 300;

thread_local! {
    /// The seal that another node has passed with the running call.
    static PASSED: RefCell<Option<String>> = const { RefCell::new(None) };
}

sql_function!(immutable_client_roles, pg_finfo_immutable_client_roles, client_roles);

/// `immutable.client_roles()`
fn client_roles(call: Call) -> Datum {
    match seal() {
        Some(seal) => call.text(&seal),
        None => call.null(),
    }
}

/// The roles of this session, sealed. None where nobody asks for them: on a log that is not distributed or binds no role,
/// and in a session of Citus', which does not know them.
pub fn seal() -> Option<String> {
    if !distributed::is_log() || shared_table::is_session_of_citus() || grants(pg_sys::AccessShareLock).is_empty() {
        return None;
    }
    let roles = [role::current(), role::outer(), role::session()];
    let names = roles.map(|role| hex::encode(role::known_name(role).unwrap_or_default().as_bytes()));
    let sealed = format!("{PREFIX}{}:{}", now_in_seconds(), names.join(":"));
    let tag = token::seal(&keys::signing_if_made()?, &sealed)?;
    Some(format!("{sealed}:{tag}"))
}

/// Takes the seal out of a row. Another value stays, for the chain's trigger to refuse.
pub fn take(row: &mut Values, layout: &Layout) -> Option<String> {
    let seal = row.get(layout, c::RECORDED_BY).map(|given| text(given)).filter(|given| given.starts_with(PREFIX));
    let seal = seal.map(str::to_string);
    if seal.is_some() {
        row.unset(layout, c::RECORDED_BY);
    }
    seal
}

/// Runs `body` for a call that came from another node with this seal.
pub fn with_passed<T>(seal: Option<&str>, body: impl FnOnce() -> T) -> T {
    struct Restored(Option<String>);
    impl Drop for Restored {
        fn drop(&mut self) {
            PASSED.set(self.0.take());
        }
    }
    let seal = seal.filter(|seal| !seal.is_empty()).map(str::to_string);
    let _restored = Restored(PASSED.replace(seal));
    body()
}

/// The seal that came with the running call.
pub fn passed() -> Option<String> {
    PASSED.with_borrow(Clone::clone)
}

/// The roles of the session that a seal came from, besides the current one, which Citus has connected as. Raises
/// 42501 if there is no seal, or one that is not good, and 55000 if this node does not have a role.
pub fn roles_behind(seal: Option<&str>) -> Vec<Oid> {
    let names = match seal {
        Some(seal) => {
            open(seal).unwrap_or_else(|| refuse("The seal in column recorded_by is another role's or too old."))
        }
        None => refuse("The INSERT gave column recorded_by, or came from a session that was not a client's own."),
    };
    let mut roles = Vec::new();
    for name in names {
        let role = role::by_name(&name).unwrap_or_else(|| {
            let shown = name.to_string_lossy();
            Fault::new(
                Code::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
                format!("role \"{shown}\" is not known on the node of the tenant"),
            )
            .hint("Create the role on every node: with CREATE ROLE on the coordinator, Citus does.")
            .raise()
        });
        if !roles.contains(&role) {
            roles.push(role);
        }
    }
    roles
}

/// The names in a seal of the current role.
fn open(seal: &str) -> Option<[CString; 2]> {
    let (sealed, tag) = seal.rsplit_once(':')?;
    keys::find(|key| token::is_seal(key, sealed, tag).then_some(()))?;
    let mut parts = sealed.strip_prefix(PREFIX)?.split(':');
    let at: i64 = parts.next()?.parse().ok()?;
    let mut name = || CString::new(hex::decode(parts.next()?).ok()?).ok();
    let (current, outer, session) = (name()?, name()?, name()?);
    let is_good = now_in_seconds().abs_diff(at) <= GOOD as u64;
    (is_good && role::known_name(role::current())? == current).then_some([outer, session])
}

fn refuse(detail: &str) -> ! {
    Fault::new(Code::ERRCODE_INSUFFICIENT_PRIVILEGE, "the node of the tenant cannot see which roles record the event")
        .field("recorded_by")
        .detail(detail)
        .hint("Leave recorded_by out of the INSERT, instead of giving NULL: roles are bound to tenants in this log.")
        .raise()
}
