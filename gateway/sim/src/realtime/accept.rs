//! The HTTP side: which upgrades the provider answers with 101.

use super::script::{Refused, Script};

/// The shape of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// GA: nested sessions.
    Nested,
    /// Azure's preview, the old beta: flat sessions.
    Flat,
    /// The dead beta at OpenAI: closes with 4000 at once.
    Buried,
}

/// An upgrade that was answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The shape that this address and these headers ask for.
    pub shape: Shape,
    /// Model or deployment.
    pub model: String,
}

/// Judges an upgrade. `dial` counts the upgrades before this one; headers in any case.
///
/// # Errors
/// The status to answer, with its `Retry-After`.
pub fn accept(
    script: &Script,
    dial: usize,
    path_and_query: &str,
    headers: &[(&str, &str)],
) -> Result<Accepted, Refused> {
    if let Some(refused) = script.refusals.get(dial) {
        return Err(*refused);
    }
    let (path, query) = path_and_query.split_once('?').unwrap_or((path_and_query, ""));
    let api = Api::of(path).ok_or(status(404))?;
    let header = |name: &str| headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| *v);
    let key = api.key(header("authorization"), header("api-key"))?;
    if key.is_empty() || script.key.as_deref().is_some_and(|expected| expected != key) {
        return Err(status(401));
    }
    let shape =
        if header("openai-beta").is_some() && api == Api::Openai { Shape::Buried } else { api.shape() };
    Ok(Accepted { shape, model: api.model(query)? })
}

fn status(status: u16) -> Refused {
    Refused { status, retry_after_s: None }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Api {
    Openai,
    Azure,
    AzurePreview,
}

impl Api {
    fn of(path: &str) -> Option<Self> {
        match path {
            "/v1/realtime" => Some(Self::Openai),
            "/openai/v1/realtime" => Some(Self::Azure),
            "/openai/realtime" => Some(Self::AzurePreview),
            _ => None,
        }
    }

    fn shape(self) -> Shape {
        if self == Self::AzurePreview { Shape::Flat } else { Shape::Nested }
    }

    /// Azure answers an API key sent as bearer with a redirect to `?api-key=`; an Entra token is a JWT.
    fn key<'a>(self, bearer: Option<&'a str>, api_key: Option<&'a str>) -> Result<&'a str, Refused> {
        let bearer = bearer.and_then(|v| v.strip_prefix("Bearer "));
        match (self, bearer, api_key) {
            (Self::Openai, Some(key), _) => Ok(key),
            (Self::Azure | Self::AzurePreview, _, Some(key)) => Ok(key),
            (Self::Azure | Self::AzurePreview, Some(token), None) if token.starts_with("eyJ") => Ok(token),
            (Self::Azure | Self::AzurePreview, Some(_), None) => Err(status(302)),
            _ => Err(status(401)),
        }
    }

    fn model(self, query: &str) -> Result<String, Refused> {
        let value = |name: &str| {
            query.split('&').filter_map(|pair| pair.split_once('=')).find(|(n, _)| *n == name).map(|(_, v)| v)
        };
        let version = value("api-version");
        let named = match self {
            // A version where none belongs fails as if the key were wrong (Microsoft's migration guide, 2026-04).
            Self::Azure if version.is_some() => return Err(status(401)),
            Self::AzurePreview if version.is_none() => return Err(status(404)),
            Self::AzurePreview => value("deployment"),
            Self::Openai | Self::Azure => value("model"),
        };
        named.filter(|name| !name.is_empty()).map(str::to_owned).ok_or(status(400))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_has_its_own_shape_and_credential() {
        let script = Script { key: Some("k".into()), ..Script::default() };
        let entra = Script::default();
        let bearer = [("Authorization", "Bearer k")];
        let api_key = [("api-key", "k")];
        let dial = |script: &Script, path: &str, headers: &[(&str, &str)]| {
            accept(script, 0, path, headers).map(|a| a.shape).map_err(|r| r.status)
        };
        let preview = "/openai/realtime?api-version=2025-04-01-preview&deployment=d";
        assert_eq!(dial(&script, "/v1/realtime?model=m", &bearer), Ok(Shape::Nested));
        assert_eq!(dial(&script, "/v1/realtime?model=m", &api_key), Err(401));
        assert_eq!(dial(&script, "/v1/realtime?model=m", &[("authorization", "Bearer x")]), Err(401));
        assert_eq!(dial(&script, "/v1/realtime", &bearer), Err(400));
        assert_eq!(dial(&script, "/openai/v1/realtime?model=d", &api_key), Ok(Shape::Nested));
        assert_eq!(dial(&script, "/openai/v1/realtime?model=d", &bearer), Err(302));
        assert_eq!(
            dial(&entra, "/openai/v1/realtime?model=d", &[("authorization", "Bearer eyJ0")]),
            Ok(Shape::Nested)
        );
        assert_eq!(dial(&script, "/openai/v1/realtime?model=d&api-version=1", &api_key), Err(401));
        assert_eq!(dial(&script, preview, &api_key), Ok(Shape::Flat));
        assert_eq!(dial(&script, "/openai/realtime?deployment=d", &api_key), Err(404));
        assert_eq!(dial(&script, "/v1/other?model=m", &bearer), Err(404));
        let beta = [("authorization", "Bearer k"), ("OpenAI-Beta", "realtime=v1")];
        assert_eq!(dial(&script, "/v1/realtime?model=m", &beta), Ok(Shape::Buried));
    }

    #[test]
    fn scripted_refusals_come_first_and_once() {
        let busy = Refused { status: 429, retry_after_s: Some(1) };
        let script = Script { refusals: vec![busy], ..Script::default() };
        let headers = [("authorization", "Bearer k")];
        assert_eq!(accept(&script, 0, "/v1/realtime?model=m", &headers), Err(busy));
        assert!(accept(&script, 1, "/v1/realtime?model=m", &headers).is_ok());
    }
}
