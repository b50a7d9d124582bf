//! Roles: the current role, the role that gave the command, and their rights.

#![allow(unsafe_code)]

use crate::pg::memory::Memory;
use crate::pg::server;
use pgrx::pg_sys::{self, Oid};
use std::borrow::Cow;
use std::ffi::{CStr, CString};

/// PostgreSQL's caches of roles and memberships, for callbacks.
pub const CACHES: [i32; 2] =
    [pg_sys::SysCacheIdentifier::AUTHOID as i32, pg_sys::SysCacheIdentifier::AUTHMEMMEMROLE as i32];

/// The role whose rights apply now. In a SECURITY DEFINER function, this is the owner of the
/// function.
pub fn current() -> Oid {
    // SAFETY: reads the state of the one thread there is.
    unsafe { pg_sys::GetUserId() }
}

/// The role that gave the command. In a SECURITY DEFINER function, this is the role outside of it.
pub fn outer() -> Oid {
    // SAFETY: as above.
    unsafe { pg_sys::GetOuterUserId() }
}

/// The role of the session: the login, unless SET SESSION AUTHORIZATION changed it.
pub fn session() -> Oid {
    // SAFETY: as above.
    unsafe { pg_sys::GetSessionUserId() }
}

/// The name of a role, without quotes. Raises PostgreSQL's error if there is no such role.
pub fn name(role: Oid) -> String {
    // SAFETY: a C string, or an error.
    unsafe { CStr::from_ptr(pg_sys::GetUserNameFromId(role, false)) }.to_string_lossy().into_owned()
}

/// The same, in this memory.
pub fn name_in<'m>(role: Oid, memory: Memory<'m>) -> Cow<'m, str> {
    // SAFETY: a C string made in this memory, or an error.
    unsafe { CStr::from_ptr(memory.within(|| pg_sys::GetUserNameFromId(role, false))) }.to_string_lossy()
}

/// Whether the running code has its rights from a SECURITY DEFINER function of this role. No
/// setting of a session can cause this, and it is not enough to be this role or a superuser.
pub fn is_lent_by(owner: Oid) -> bool {
    // SAFETY: reads the state of the one thread there is.
    unsafe { pg_sys::InLocalUserIdChange() && pg_sys::GetUserId() == owner }
}

/// The name of a role, in its bytes; None if there is no such role.
pub fn known_name(role: Oid) -> Option<CString> {
    // SAFETY: a C string, or null.
    unsafe {
        let name = pg_sys::GetUserNameFromId(role, true);
        (!name.is_null()).then(|| CStr::from_ptr(name).to_owned())
    }
}

/// The name of the role that logged in.
pub fn authenticated() -> String {
    // SAFETY: reads the state of the one thread there is.
    name(unsafe { pg_sys::GetAuthenticatedUserId() })
}

/// A role by its name, if there is one.
pub fn by_name(name: &CStr) -> Option<Oid> {
    // SAFETY: looks a name up.
    let role = unsafe { pg_sys::get_role_oid(name.as_ptr(), true) };
    (role != pg_sys::InvalidOid).then_some(role)
}

/// The names in a list of SQL identifiers with commas between them; none if the list is malformed.
pub fn names_in(list: &[u8]) -> Vec<CString> {
    let Ok(list) = CString::new(list) else { return Vec::new() };
    // SAFETY: PostgreSQL splits a copy of its own, in which the names of the list are.
    unsafe {
        let copy = pg_sys::pstrdup(list.as_ptr());
        let mut names = std::ptr::null_mut();
        let is_list = pg_sys::SplitIdentifierString(copy, b',' as std::ffi::c_char, &mut names);
        let count = if is_list && !names.is_null() { (*names).length } else { 0 };
        let found = (0..count).map(|n| CStr::from_ptr(pg_sys::list_nth(names, n).cast()).to_owned()).collect();
        pg_sys::list_free(names);
        pg_sys::pfree(copy.cast());
        found
    }
}

/// A name as an SQL identifier.
pub fn quoted(name: &str) -> String {
    let name = CString::new(name).unwrap_or_default();
    // SAFETY: both are C strings.
    unsafe { CStr::from_ptr(pg_sys::quote_identifier(name.as_ptr())) }.to_string_lossy().into_owned()
}

/// The name of this database, as an SQL identifier.
pub fn database() -> String {
    // SAFETY: the backend is in a database, whose name is a C string.
    let name = unsafe { CStr::from_ptr(pg_sys::get_database_name(server::database())) };
    quoted(&name.to_string_lossy())
}

/// Whether the current role is a superuser.
pub fn is_superuser() -> bool {
    // SAFETY: asks about the current role.
    unsafe { pg_sys::superuser() }
}

/// Whether a role has the rights of another without SET ROLE.
pub fn has_rights_of(role: Oid, of: Oid) -> bool {
    // SAFETY: takes any oids.
    unsafe { pg_sys::has_privs_of_role(role, of) }
}

/// Whether a role is a superuser.
pub fn is_superuser_role(role: Oid) -> bool {
    // SAFETY: takes any oid.
    unsafe { pg_sys::superuser_arg(role) }
}

/// Whether a role has BYPASSRLS.
pub fn bypasses_row_security(role: Oid) -> bool {
    // SAFETY: takes any oid.
    unsafe { pg_sys::has_bypassrls_privilege(role) }
}

/// Whether a role is a member of another, directly or indirectly. A superuser does not count as a
/// member of every role.
pub fn is_member_of(role: Oid, of: Oid) -> bool {
    // SAFETY: takes any oids.
    unsafe { pg_sys::is_member_of_role_nosuper(role, of) }
}

/// The roles that a role is a direct member of.
pub fn groups(role: Oid) -> Vec<Oid> {
    let (none, cache) = (pg_sys::Datum::from(0usize), pg_sys::SysCacheIdentifier::AUTHMEMMEMROLE as i32);
    // SAFETY: a list of rows of pg_auth_members, which is let go of after it was read.
    unsafe {
        // The column's place differs between versions of PostgreSQL.
        let catalog = pg_sys::get_namespace_oid(c"pg_catalog".as_ptr(), false);
        let table = pg_sys::get_relname_relid(c"pg_auth_members".as_ptr(), catalog);
        let roleid = pg_sys::get_attnum(table, c"roleid".as_ptr());
        let list = pg_sys::SearchSysCacheList(cache, 1, pg_sys::Datum::from(role), none, none);
        let members = std::slice::from_raw_parts((*list).members.as_ptr(), (*list).n_members as usize);
        let group = |member: &*mut pg_sys::CatCTup| {
            let mut null = false;
            let group = pg_sys::SysCacheGetAttr(cache, &mut (**member).tuple, roleid, &mut null);
            Oid::from(group.value() as u32)
        };
        let groups = members.iter().map(group).collect();
        pg_sys::ReleaseCatCacheList(list);
        groups
    }
}
