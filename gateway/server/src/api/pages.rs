//! The pages for people: the voice page, the operator's console, and what pages elsewhere embed. Built by `gateway/web`.
//!
//! A release build has them inside; a debug build reads `gateway/web/dist`. Without them `/` says how to build them.

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use rust_embed::{Embed, EmbeddedFile};

use super::error::ApiError;

/// What `npm run build` left.
#[derive(Embed)]
#[folder = "../web/dist"]
struct Built;

/// Only what this gateway served itself runs, and nobody frames it. `connect-src` covers the WebSocket (CSP 3 §6.7.2.8).
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      media-src 'self' blob:; manifest-src 'self'; worker-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'";
/// Their names hold a hash of their content.
const FOR_EVER: &str = "public, max-age=31536000, immutable";
/// Kept, but asked for each time.
const ASK_AGAIN: &str = "no-cache";

/// What the public listener shows.
pub(super) fn public<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let fixed = ["sw.js", "manifest.webmanifest", "voice-call.js", "voice-worklet.js"];
    let pages = assets().route("/", get(async |headers: HeaderMap| page("index.html", &headers)));
    fixed.into_iter().fold(pages, |pages, name| {
        pages.route(&format!("/{name}"), get(async move |headers: HeaderMap| file(name, &headers)))
    })
}

/// What the admin listener shows.
pub(super) fn admin<S: Clone + Send + Sync + 'static>() -> Router<S> {
    assets()
}

/// What both need: the console, scripts, styles and icons.
fn assets<S: Clone + Send + Sync + 'static>() -> Router<S> {
    let below = |folder: &'static str| {
        get(async move |Path(name): Path<String>, headers: HeaderMap| {
            file(&format!("{folder}/{name}"), &headers)
        })
    };
    Router::new()
        .route("/console", get(async |headers: HeaderMap| page("console.html", &headers)))
        .route("/assets/{name}", below("assets"))
        .route("/icons/{name}", below("icons"))
}

/// A page, or how to build it.
fn page(name: &str, headers: &HeaderMap) -> Response {
    match Built::get(name) {
        Some(built) => answer(name, built, headers),
        None => Html(include_str!("pages/unbuilt.html")).into_response(),
    }
}

fn file(name: &str, headers: &HeaderMap) -> Response {
    match Built::get(name) {
        Some(built) => answer(name, built, headers),
        None => ApiError::not_found("file").into_response(),
    }
}

fn answer(name: &str, built: EmbeddedFile, headers: &HeaderMap) -> Response {
    let tag = tag(&built);
    let is_known = headers.get(header::IF_NONE_MATCH).is_some_and(|known| known == tag);
    let body = if is_known { Vec::new() } else { built.data.into_owned() };
    let status = if is_known { StatusCode::NOT_MODIFIED } else { StatusCode::OK };
    let mut response = (status, body).into_response();
    dress(response.headers_mut(), name);
    response.headers_mut().insert(header::ETAG, tag);
    response
}

/// RFC 9110 §8.8.3: of the content, so that each machine of a cluster says the same.
fn tag(built: &EmbeddedFile) -> HeaderValue {
    let hash = built.metadata.sha256_hash();
    let half: String = hash[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    HeaderValue::try_from(format!("\"{half}\"")).expect("hexadecimal is a header value")
}

fn dress(headers: &mut HeaderMap, name: &str) {
    let mut set =
        |header: HeaderName, value: &'static str| headers.insert(header, HeaderValue::from_static(value));
    set(header::CONTENT_TYPE, kind(name));
    set(header::CACHE_CONTROL, if name.starts_with("assets/") { FOR_EVER } else { ASK_AGAIN });
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::REFERRER_POLICY, "no-referrer");
    set(header::CONTENT_SECURITY_POLICY, POLICY);
    set(HeaderName::from_static("permissions-policy"), "microphone=(self)");
    // `<voice-call>` stands in other people's pages, which fetch it and its worklet as modules: by CORS.
    if name.starts_with("voice-") {
        set(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");
    }
}

fn kind(name: &str) -> &'static str {
    match name.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "png" => "image/png",
        "webmanifest" => "application/manifest+json",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hashed_is_kept_for_ever_and_the_rest_is_asked_for() {
        for (name, kept, kind) in [
            ("assets/index-abc.js", FOR_EVER, "text/javascript; charset=utf-8"),
            ("index.html", ASK_AGAIN, "text/html; charset=utf-8"),
            ("sw.js", ASK_AGAIN, "text/javascript; charset=utf-8"),
            ("manifest.webmanifest", ASK_AGAIN, "application/manifest+json"),
        ] {
            let mut headers = HeaderMap::new();
            dress(&mut headers, name);
            assert_eq!(headers[header::CACHE_CONTROL], kept, "{name}");
            assert_eq!(headers[header::CONTENT_TYPE], kind, "{name}");
            assert_eq!(headers["permissions-policy"], "microphone=(self)");
        }
    }

    #[test]
    fn only_what_others_embed_may_be_read_by_their_pages() {
        let mut headers = HeaderMap::new();
        dress(&mut headers, "voice-call.js");
        assert_eq!(headers[header::ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        let mut headers = HeaderMap::new();
        dress(&mut headers, "index.html");
        assert!(!headers.contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
    }

    #[test]
    fn nothing_outside_of_what_was_built_is_served() {
        for name in
            ["../package.json", "assets/../../package.json", "/etc/passwd", "assets/..%2f..%2fpackage.json"]
        {
            assert!(Built::get(name).is_none(), "{name}");
        }
    }

    #[test]
    fn the_policy_lets_no_inline_script_run() {
        assert!(POLICY.contains("script-src 'self';") && !POLICY.contains("unsafe"));
    }
}
