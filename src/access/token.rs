//! Viewer tokens as they are presented. `immutable_format::token` has their format, and
//! `viewer_tokens` the functions that make and revoke them.

use crate::access::keys;
use crate::access::revocation::is_revoked;
use crate::pg::datum::{text, Datum};
use crate::pg::error::{Code, Fault};
use crate::pg::transaction::now_in_seconds;
use immutable_format::limits::text_bytes;
use immutable_format::token::{self, Claims, Error};
use immutable_format::Id;
use std::cell::RefCell;
use std::rc::Rc;
use subtle::ConstantTimeEq;

const GET_ANOTHER: &str = "Get a new token from immutable.create_viewer_token().";

/// Where a token was presented.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum PresentedIn {
    /// Setting immutable.viewer_token: the token.
    Setting,
    /// Setting immutable.proof: the token.
    Proof,
    /// Setting request.headers: a JSON object that may contain the token.
    Headers,
}

/// A token whose signature was found valid, so that it need not be computed again in the same
/// statement. The time, revocations, and whether the key is still accepted are checked every time.
struct Verified {
    source: PresentedIn,
    presented: Vec<u8>,
    key: Id,
    claims: Rc<Claims>,
}

thread_local! {
    static VERIFIED: RefCell<Option<Verified>> = const { RefCell::new(None) };
}

/// What the presented token shows; None if the headers contain no token. Raises 28000 for a token
/// that is refused.
pub fn verify(source: PresentedIn, presented: &[u8]) -> Option<Rc<Claims>> {
    let known = VERIFIED.with(|verified| {
        let verified = verified.borrow();
        let verified = verified.as_ref()?;
        let same = verified.source == source && bool::from(verified.presented.ct_eq(presented));
        same.then(|| (verified.key, verified.claims.clone()))
    });
    if let Some((key, claims)) = known {
        if keys::is_accepted(key) {
            hold_to_now(&claims);
            return Some(claims);
        }
    }
    let Ok(as_text) = std::str::from_utf8(presented) else { refuse(Error::Form) };
    let bearer;
    let token = match source {
        PresentedIn::Setting | PresentedIn::Proof => as_text,
        PresentedIn::Headers => {
            bearer = token::bearer(as_text).unwrap_or_else(|error| refuse(error))?;
            &bearer
        }
    };
    let (key, claims) = open(token).unwrap_or_else(|error| refuse(error));
    let claims = Rc::new(claims);
    hold_to_now(&claims);
    let known = Verified { source, presented: presented.to_vec(), key, claims: claims.clone() };
    VERIFIED.with(|verified| *verified.borrow_mut() = Some(known));
    Some(claims)
}

/// The key that signed a token, and the token's claims. The time and revocations are not checked.
pub fn open(token: &str) -> Result<(Id, Claims), Error> {
    let sealed = token::open(token)?;
    let (key, authentic) = keys::find(|key| sealed.verify(key)).ok_or(Error::Signature)?;
    Ok((key, authentic.claims()?))
}

fn hold_to_now(claims: &Claims) {
    if let Err(error) = claims.check_time(now_in_seconds()) {
        refuse(error)
    }
    if is_revoked(claims) {
        Fault::new(
            Code::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION,
            "the viewer token is refused: it has been revoked",
        )
        .field("viewer_token")
        .hint(GET_ANOTHER)
        .raise()
    }
}

fn refuse(error: Error) -> ! {
    let hint = match error {
        Error::Expired => GET_ANOTHER,
        Error::NotYetValid => "Wait, or correct the clock of the machine that issues tokens.",
        Error::Headers => {
            "The gateway must set request.headers to the request's headers as a JSON object, or leave it empty."
        }
        Error::Claim(_) => "docs/security-model.md lists the claims that a token must have.",
        _ => {
            "Set immutable.viewer_token to the text that immutable.create_viewer_token() \
             returned, or to an empty text."
        }
    };
    Fault::new(Code::ERRCODE_INVALID_AUTHORIZATION_SPECIFICATION, format!("the viewer token is refused: {error}"))
        .field("viewer_token")
        .hint(hint)
        .raise()
}

/// The tenant or actor that an argument names, unless it is NULL. `field` is `tenant_id` or
/// `actor_id`. Raises 22023 for one that is longer than an event can have.
pub fn parse_identity(field: &str, given: Option<Datum>) -> Option<String> {
    let given = text(given?);
    let most = text_bytes(field);
    if given.len() > most {
        Fault::invalid(field, format!("{field} is too long: {} bytes, at most {most}", given.len()))
            .hint(format!("No event has a longer {field}."))
            .raise()
    }
    Some(given.to_string())
}
