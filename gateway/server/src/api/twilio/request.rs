//! A form from Twilio, verified in a fixed order (reference/reliability.md §2.5).

use std::collections::BTreeSet;

use axum::body::Bytes;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};

use super::signature::{Signed, verify};
use crate::app::App;
use crate::config::{Tenant, host_of, is_loopback_host, is_sid};
use crate::form;
use crate::secret::Private;

/// Why a request is refused: for the log and the counter, never for the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotTwilio {
    /// A query, which no address of ours has.
    #[error("the address has a query")]
    Query,
    /// Not a form.
    #[error("the body is not a form")]
    NotAForm,
    /// No signature, or a wrong one.
    #[error("the signature does not verify")]
    Signature,
    /// There is no auth token, and others than this machine could reach us.
    #[error("no Twilio auth token is configured")]
    NoToken,
    /// A browser's request to a gateway that cannot verify signatures.
    #[error("it comes from a web page or by another name")]
    Foreign,
    /// A parameter is there twice.
    #[error("a parameter is repeated")]
    Repeated,
    /// `CallSid` or `AccountSid` is missing, misshapen or another's.
    #[error("CallSid or AccountSid is wrong")]
    Sid,
}

/// A form that Twilio sent.
#[derive(Clone, Debug)]
pub struct TwilioForm {
    /// `CA…`
    pub call_sid: String,
    /// `AC…`
    pub account_sid: String,
    params: Private<Vec<(String, String)>>,
}

impl TwilioForm {
    /// Verifies a request of one of `tenants`.
    ///
    /// # Errors
    /// [`NotTwilio`]
    pub fn verify(app: &App, tenants: &[&Tenant], parts: &Parts, body: &Bytes) -> Result<Self, NotTwilio> {
        if parts.uri.query().is_some() {
            return Err(NotTwilio::Query);
        }
        if !is_form(&parts.headers) {
            return Err(NotTwilio::NotAForm);
        }
        let params = form::decode(body);
        let url = app.public_url.http(parts.uri.path());
        authenticate(app, tenants, &Signed::form(&url, &params), &parts.headers)?;
        Self::read(tenants, params)
    }

    fn read(tenants: &[&Tenant], params: Vec<(String, String)>) -> Result<Self, NotTwilio> {
        let mut names = BTreeSet::new();
        if !params.iter().all(|(name, _)| names.insert(name.as_str())) {
            return Err(NotTwilio::Repeated);
        }
        let find =
            |wanted: &str| params.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone());
        let sid = |name: &str, prefix| find(name).filter(|sid| is_sid(sid, prefix)).ok_or(NotTwilio::Sid);
        let (call_sid, account_sid) = (sid("CallSid", "CA")?, sid("AccountSid", "AC")?);
        let is_theirs =
            |tenant: &&Tenant| tenant.twilio.account_sid.as_ref().is_none_or(|own| *own == account_sid);
        if !tenants.iter().any(is_theirs) {
            return Err(NotTwilio::Sid);
        }
        Ok(Self { call_sid, account_sid, params: Private::new(params) })
    }

    /// A parameter. Numbers and names are personal.
    #[must_use]
    pub fn get(&self, wanted: &str) -> Option<&str> {
        self.params.reveal().iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str())
    }

    /// The other party's number, if it is one: `anonymous` and its like are nobody.
    #[must_use]
    pub fn party(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|party| party.starts_with('+') || party.contains(':'))
    }
}

/// Verifies the signature; without any auth token, only this machine is served.
///
/// # Errors
/// [`NotTwilio`]
pub fn authenticate(
    app: &App,
    tenants: &[&Tenant],
    signed: &Signed<'_>,
    headers: &HeaderMap,
) -> Result<(), NotTwilio> {
    let tokens: Vec<&str> =
        tenants.iter().flat_map(|tenant| &tenant.twilio.auth_tokens).map(|token| token.expose()).collect();
    if tokens.is_empty() {
        return from_this_machine(app, headers);
    }
    let signature = one(headers, "x-twilio-signature");
    if verify(tokens, signed, signature) { Ok(()) } else { Err(NotTwilio::Signature) }
}

/// A page in a browser on this machine can reach loopback too, but not without an Origin, and by a rebound name only with
/// that name as Host.
fn from_this_machine(app: &App, headers: &HeaderMap) -> Result<(), NotTwilio> {
    if !app.is_local {
        return Err(NotTwilio::NoToken);
    }
    let by_loopback = one(headers, "host").is_some_and(|host| is_loopback_host(host_of(host)));
    if headers.contains_key(header::ORIGIN) || !by_loopback { Err(NotTwilio::Foreign) } else { Ok(()) }
}

/// A header that is there exactly once.
pub(super) fn one<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    let kind = one(headers, "content-type").and_then(|kind| kind.split(';').next());
    kind.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded"))
}
