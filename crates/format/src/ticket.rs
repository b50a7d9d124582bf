//! Export tickets: JSON Web Tokens like viewer tokens ([`token`](crate::token)), signed with the same
//! keys, that open one export for a quarter of an hour.
//!
//! A ticket never stands for a viewer token, nor the other way round: the header's `typ`, and the
//! claims `iss` and `role` are others, and each reader holds to all three.

use crate::id::{parse_uuid, uuid_text};
use crate::json::Value;
use crate::limits;
use crate::token::{member, open_typed, parse, seconds, Authentic, Error, Payload, Sealed};
use crate::Id;

/// The member `typ` of a ticket's header.
pub const TYPE: &str = "immutable-ticket+jwt";
/// The claim `iss` of every ticket.
pub const ISSUER: &str = "immutable/exports";
/// The claim `role` of every ticket, which is the name of no role.
pub const ROLE: &str = "immutable_ticket";
/// For how many seconds a ticket is valid: `exp - iat`.
pub const LIFETIME: i64 = 900;

/// What a ticket says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// The export that it opens.
    pub export: Id,
    /// The tenant of the export; `None` for all tenants.
    pub tenant_id: Option<String>,
    /// The API key that asked for it; `None` if nobody needed one.
    pub key: Option<Id>,
    /// When it was issued, in seconds since 1970.
    pub iat: i64,
}

/// Writes a ticket. Returns `None` if [`read`] would refuse it.
pub fn mint(secret: &[u8], ticket: &Ticket) -> Option<String> {
    let mut payload = Payload::new();
    payload.text("role", ROLE);
    payload.text("iss", ISSUER);
    payload.number("iat", ticket.iat);
    payload.number("exp", ticket.expires_at()?);
    payload.text("export", &uuid_text(&ticket.export));
    if let Some(tenant_id) = &ticket.tenant_id {
        payload.text("tenant_id", tenant_id);
    }
    if let Some(key) = &ticket.key {
        payload.text("key", &uuid_text(key));
    }
    let token = payload.sign(secret, TYPE)?;
    let authentic = open(&token).ok()?.verify(secret)?;
    (read(&authentic).ok().as_ref() == Some(ticket)).then_some(token)
}

/// Takes a ticket apart.
///
/// # Errors
///
/// Those of [`token::open`](crate::token::open), and [`Error::Header`] for any other kind of token.
pub fn open(token: &str) -> Result<Sealed<'_>, Error> {
    open_typed(token, |typ| typ.and_then(Value::as_str) == Some(TYPE))
}

/// Returns what a ticket says whose signature is right.
///
/// # Errors
///
/// [`Error::Form`] if the payload is not a JSON object, [`Error::Claim`] with the first claim that is
/// missing or wrong.
pub fn read(authentic: &Authentic) -> Result<Ticket, Error> {
    let Value::Object(members) = parse(&authentic.0)? else { return Err(Error::Form) };
    let text = |name: &'static str| member(&members, name).and_then(Value::as_str).ok_or(Error::Claim(name));
    let id = |name: &'static str| parse_uuid(text(name)?).ok_or(Error::Claim(name));
    if text("iss")? != ISSUER {
        return Err(Error::Claim("iss"));
    }
    if text("role")? != ROLE {
        return Err(Error::Claim("role"));
    }
    let (iat, exp) = (seconds(&members, "iat")?, seconds(&members, "exp")?);
    if exp.checked_sub(iat) != Some(LIFETIME) {
        return Err(Error::Claim("exp"));
    }
    // A tenant or key that is null must not open more than one that is left out by its issuer.
    let tenant_id = member(&members, "tenant_id").map(|_| text("tenant_id")).transpose()?.map(str::to_string);
    if tenant_id.as_ref().is_some_and(|text| text.len() > limits::text_bytes("tenant_id") || text.contains('\0')) {
        return Err(Error::Claim("tenant_id"));
    }
    let key = member(&members, "key").map(|_| id("key")).transpose()?;
    Ok(Ticket { export: id("export")?, tenant_id, key, iat })
}

impl Ticket {
    /// When it expires, in seconds since 1970.
    pub fn expires_at(&self) -> Option<i64> {
        self.iat.checked_add(LIFETIME)
    }

    /// Compares it with the clock: `now` is in seconds since 1970.
    ///
    /// # Errors
    ///
    /// [`Error::Expired`] or [`Error::NotYetValid`].
    pub fn check_time(&self, now: i64) -> Result<(), Error> {
        if self.expires_at().is_none_or(|exp| now >= exp) {
            return Err(Error::Expired);
        }
        if self.iat > now.saturating_add(crate::token::LEEWAY) {
            return Err(Error::NotYetValid);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::{self, Claims};
    use proptest::prelude::*;

    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
    const NOW: i64 = 1_773_585_138;

    fn ours() -> Ticket {
        Ticket { export: [7; 16], tenant_id: Some("org_1".into()), key: Some([9; 16]), iat: NOW }
    }

    fn came_back(text: &str) -> Result<Ticket, Error> {
        let ticket = read(&open(text)?.verify(SECRET).ok_or(Error::Signature)?)?;
        ticket.check_time(NOW)?;
        Ok(ticket)
    }

    /// A token of type `typ` with these members.
    fn signed(typ: &str, members: &[(&str, &str)]) -> String {
        let mut payload = Payload::new();
        for (name, value) in members {
            match value.parse() {
                Ok(number) => payload.number(name, number),
                Err(_) => payload.text(name, value),
            }
        }
        payload.sign(SECRET, typ).unwrap()
    }

    #[test]
    fn what_is_minted_is_read_while_it_is_valid() {
        for ticket in [
            ours(),
            Ticket { tenant_id: None, key: None, ..ours() },
            Ticket { tenant_id: Some(String::new()), ..ours() },
        ] {
            let text = mint(SECRET, &ticket).unwrap();
            assert_eq!(came_back(&text), Ok(ticket));
            assert!(open(&text).unwrap().verify(b"0123456789abcdef0123456789abcdeg").is_none());
        }
        assert_eq!(ours().check_time(NOW + 899), Ok(()));
        assert_eq!(ours().check_time(NOW + 900), Err(Error::Expired));
        assert_eq!(ours().check_time(NOW - 61), Err(Error::NotYetValid));
        assert_eq!(mint(SECRET, &Ticket { iat: i64::MAX, ..ours() }), None);
        assert_eq!(mint(SECRET, &Ticket { tenant_id: Some("a".repeat(256)), ..ours() }), None);
    }

    #[test]
    fn a_ticket_and_a_viewer_token_never_stand_for_each_other() {
        let ticket = mint(SECRET, &ours()).unwrap();
        assert_eq!(token::open(&ticket).err(), Some(Error::Header));
        let claims = Claims {
            tenant_id: "org_1".into(),
            actor_id: None,
            jti: "j".into(),
            iat: NOW,
            nbf: None,
            exp: NOW + LIFETIME,
        };
        let viewer = token::mint(SECRET, &claims).unwrap();
        assert_eq!(open(&viewer).err(), Some(Error::Header));
        // Even where another program signs with the same key whatever it is asked to.
        let export = uuid_text(&[7; 16]);
        let times = [("iat", "1773585138"), ("exp", "1773586038")];
        let both = |iss: &'static str, role: &'static str| {
            let own = [("iss", iss), ("role", role), ("export", export.as_str()), ("jti", "j"), ("tenant_id", "org_1")];
            signed(TYPE, &[&own[..], &times[..]].concat())
        };
        assert!(came_back(&both(ISSUER, ROLE)).is_ok());
        assert_eq!(came_back(&both(token::ISSUER, ROLE)), Err(Error::Claim("iss")));
        assert_eq!(came_back(&both(ISSUER, token::ROLE)), Err(Error::Claim("role")));
        let ours = mint(SECRET, &ours()).unwrap();
        let authentic = open(&ours).unwrap().verify(SECRET).unwrap();
        assert_eq!(authentic.claims(), Err(Error::Claim("iss")));
        let authentic = token::open(&viewer).unwrap().verify(SECRET).unwrap();
        assert_eq!(read(&authentic), Err(Error::Claim("iss")));
    }

    #[test]
    fn no_other_claims_will_do() {
        let export = uuid_text(&[7; 16]);
        let whole = [
            ("iss", ISSUER),
            ("role", ROLE),
            ("iat", "1773585138"),
            ("exp", "1773586038"),
            ("export", export.as_str()),
            ("key", export.as_str()),
        ];
        assert!(came_back(&signed(TYPE, &whole)).is_ok());
        for (name, value) in [
            ("exp", "1773586039"),
            ("exp", "1773586037"),
            ("iat", "soon"),
            ("export", "7"),
            ("export", "07070707070707070707070707070707"),
            ("key", "none"),
        ] {
            let changed: Vec<(&str, &str)> = whole
                .iter()
                .map(|(known, given)| if *known == name { (name, value) } else { (*known, *given) })
                .collect();
            assert!(matches!(came_back(&signed(TYPE, &changed)), Err(Error::Claim(_))), "{name}: {value}");
        }
        for typ in ["JWT", "immutable-ticket", "IMMUTABLE-TICKET+JWT", ""] {
            assert_eq!(came_back(&signed(typ, &whole)), Err(Error::Header), "{typ}");
        }
    }

    proptest! {
        #[test]
        fn any_ticket_comes_back(export in any::<[u8; 16]>(), key in any::<Option<[u8; 16]>>(), tenant_id in "\\PC{0,60}") {
            let ticket = Ticket { export, key, tenant_id: Some(tenant_id), iat: NOW };
            prop_assert_eq!(came_back(&mint(SECRET, &ticket).unwrap()), Ok(ticket));
        }

        #[test]
        fn no_other_byte_anywhere(at in 0usize..10_000, with in 1u8..128) {
            let text = mint(SECRET, &ours()).unwrap();
            let mut bytes = text.clone().into_bytes();
            let at = at % bytes.len();
            bytes[at] = with;
            let altered = String::from_utf8(bytes).unwrap();
            prop_assert_eq!(came_back(&altered).is_ok(), altered == text);
        }
    }
}
