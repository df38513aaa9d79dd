//! Keys by URL, from a server on loopback whose answers and clock the test turns.

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;

use super::*;

/// What the issuer answers next, and how often it was asked.
#[derive(Clone)]
struct Issuer {
    answer: Arc<Mutex<(StatusCode, String, String)>>,
    asked: Arc<Mutex<usize>>,
    url: Uri,
}

impl Issuer {
    async fn listen() -> Self {
        let answer = Arc::new(Mutex::new((StatusCode::OK, String::new(), document(&["a"]))));
        let asked = Arc::new(Mutex::new(0));
        let (answers, count) = (answer.clone(), asked.clone());
        let route = move || async move {
            *count.lock().unwrap() += 1;
            let (status, cache, body) = answers.lock().unwrap().clone();
            (status, [(header::CACHE_CONTROL, cache)], body).into_response()
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/jwks.json", listener.local_addr().unwrap()).parse().unwrap();
        tokio::spawn(async move { axum::serve(listener, Router::new().fallback(get(route))).await });
        Self { answer, asked, url }
    }

    fn publish(&self, kids: &[&str]) {
        self.answer.lock().unwrap().2 = document(kids);
    }

    fn asked(&self) -> usize {
        *self.asked.lock().unwrap()
    }
}

/// A JWKS whose keys differ by their names.
fn document(kids: &[&str]) -> String {
    let key = |kid: &&str| {
        let x = [kid.as_bytes()[0]; 32];
        json!({ "kty": "OKP", "crv": "Ed25519", "x": URL_SAFE_NO_PAD.encode(x), "kid": kid })
    };
    json!({ "keys": kids.iter().map(key).collect::<Vec<_>>() }).to_string()
}

struct Bench {
    jwks: Jwks,
    issuer: Issuer,
    start: Instant,
}

impl Bench {
    async fn new() -> Self {
        Self { jwks: Jwks::new(Dialer::new()), issuer: Issuer::listen().await, start: Instant::now() }
    }

    /// Whether the key is there `seconds` after the start.
    async fn has(&self, kid: &str, seconds: u64) -> bool {
        let at = self.start + Duration::from_secs(seconds);
        self.jwks.key(&self.issuer.url, Algorithm::EdDsa, Some(kid), at).await.is_some()
    }

    /// Waits for the fetch behind the requests.
    async fn settle(&self) {
        let source = self.jwks.source(&self.issuer.url, Algorithm::EdDsa);
        let mut ended = source.ended.subscribe();
        while source.state().is_fetching {
            ended.changed().await.unwrap();
        }
    }
}

#[tokio::test]
async fn keys_are_fetched_once_and_kept() {
    let bench = Bench::new().await;
    for second in 0..60 {
        assert!(bench.has("a", second).await);
    }
    assert_eq!(bench.issuer.asked(), 1);
}

#[tokio::test]
async fn a_hundred_requests_wait_for_one_fetch() {
    let bench = Bench::new().await;
    let all = (0..100).map(|_| bench.has("a", 0));
    assert!(futures_util::future::join_all(all).await.into_iter().all(|has| has));
    assert_eq!(bench.issuer.asked(), 1);
}

#[tokio::test]
async fn a_new_key_is_fetched_when_a_token_names_it() {
    let bench = Bench::new().await;
    assert!(bench.has("a", 0).await);
    bench.issuer.publish(&["a", "b"]);
    assert!(bench.has("b", 20).await, "an unknown name asks the issuer");
    assert!(bench.has("a", 20).await);
    bench.issuer.publish(&["b"]);
    assert!(!bench.has("c", 40).await);
    assert!(!bench.has("a", 40).await, "a key that was withdrawn goes with the next fetch");
}

#[tokio::test]
async fn unknown_names_cost_the_issuer_one_fetch_in_ten_seconds() {
    let bench = Bench::new().await;
    assert!(bench.has("a", 0).await);
    for number in 0..1000 {
        assert!(!bench.has(&format!("x{number}"), number / 50).await);
    }
    // Twenty seconds: the first fetch, and one after each ten.
    assert_eq!(bench.issuer.asked(), 2);
    assert!(bench.has("a", 20).await, "who has a good token is not held up");
}

#[tokio::test]
async fn stale_keys_serve_while_they_are_renewed_and_while_the_issuer_fails() {
    let bench = Bench::new().await;
    assert!(bench.has("a", 0).await);
    *bench.issuer.answer.lock().unwrap() = (StatusCode::INTERNAL_SERVER_ERROR, String::new(), "down".into());
    for hour in 1..24 {
        assert!(bench.has("a", hour * 3600).await, "hour {hour}");
        bench.settle().await;
    }
    assert_eq!(bench.issuer.asked(), 24, "it was asked again each time");
    assert!(!bench.has("a", 25 * 3600).await, "after a day nobody vouches for them");
    *bench.issuer.answer.lock().unwrap() = (StatusCode::OK, String::new(), document(&["a"]));
    assert!(bench.has("a", 26 * 3600).await);
}

#[tokio::test]
async fn a_renewal_behind_the_requests_brings_new_keys() {
    let bench = Bench::new().await;
    assert!(bench.has("a", 0).await);
    bench.issuer.publish(&["b"]);
    assert!(bench.has("a", 599).await && bench.issuer.asked() == 1, "fresh for ten minutes");
    assert!(bench.has("a", 600).await, "stale keys still answer the request that finds them so");
    bench.settle().await;
    assert!(!bench.has("a", 601).await && bench.has("b", 601).await);
}

#[tokio::test]
async fn the_issuer_says_how_long_keys_are_fresh_within_bounds() {
    let bench = Bench::new().await;
    for (said, expected) in [
        ("max-age=120", 120),
        ("public, max-age=300, immutable", 300),
        ("max-age=1", 60),
        ("max-age=99999999", 3600),
        ("max-age=-1", 600),
        ("no-store", 600),
        ("", 600),
    ] {
        let headers = HeaderMap::from_iter([(header::CACHE_CONTROL, said.parse().unwrap())]);
        assert_eq!(fresh_for(&headers), Duration::from_secs(expected), "{said}");
    }
    bench.issuer.answer.lock().unwrap().1 = "max-age=120".into();
    assert!(bench.has("a", 0).await && bench.has("a", 119).await && bench.has("a", 120).await);
    bench.settle().await;
    assert_eq!(bench.issuer.asked(), 2);
}

#[tokio::test]
async fn an_answer_that_is_no_key_set_changes_nothing() {
    let bench = Bench::new().await;
    assert!(bench.has("a", 0).await);
    let huge = format!("{{\"keys\":[],\"pad\":\"{}\"}}", "x".repeat(DOCUMENT_MAX));
    let bad = ["", "[]", "{}", "{\"keys\":{}}", "{\"keys\":[],\"keys\":[]}", "<html>", &huge];
    for (number, body) in (1..).zip(bad) {
        *bench.issuer.answer.lock().unwrap() = (StatusCode::OK, String::new(), body.into());
        assert!(!bench.has("b", number * 20).await);
        assert!(bench.has("a", number * 20).await, "{}", &body[..body.len().min(40)]);
    }
    let elsewhere = (StatusCode::FOUND, String::new(), document(&["b"]));
    *bench.issuer.answer.lock().unwrap() = elsewhere;
    assert!(!bench.has("b", 1000).await, "a redirect is not followed, and its body is no answer");
}

#[test]
fn a_key_set_gives_no_key_that_could_be_another() {
    let set = |text: &str| KeySet::read(text.as_bytes(), Algorithm::EdDsa).unwrap();
    assert!(set(&document(&["a"])).find(None).is_some(), "without a name, the only one");
    assert!(set(&document(&["a", "b"])).find(None).is_none());
    assert!(set(&document(&["a", "a"])).find(Some("a")).is_none(), "two of one name");
    assert!(set(&document(&["a"])).find(Some("A")).is_none());
    assert!(set("{\"keys\":[7,null,{}]}").find(None).is_none());
    let many: Vec<String> = (0..100).map(|number| format!("k{number}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(set(&document(&many)).0.len(), KEYS_MAX);
    for kid in ["../../etc/passwd", "'; drop table keys", "", "a\0"] {
        assert!(set(&document(&["a"])).find(Some(kid)).is_none(), "{kid}");
    }
}
