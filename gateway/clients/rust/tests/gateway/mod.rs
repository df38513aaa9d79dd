//! A scripted gateway on a real socket: it does what a test says, and keeps what it was sent.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::request::Parts;
use axum::http::{Request, Response};
use futures_util::stream::{self, StreamExt as _};
use serde_json::{Value, json};
use tokio::net::TcpListener;

type Script = Arc<dyn Fn(&Asked) -> Answer + Send + Sync>;

/// What a request asked.
pub(crate) struct Asked {
    pub(crate) query: String,
    parts: Parts,
}

impl Asked {
    /// A header, or nothing.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.parts.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// What is answered.
pub(crate) struct Answer {
    status: u16,
    headers: Vec<(&'static str, &'static str)>,
    pieces: Vec<Vec<u8>>,
    last: Last,
    takes: Takes,
}

/// How an answer ends.
enum Last {
    Ends,
    IsCut,
    IsHeld,
}

/// What becomes of what the request brings.
enum Takes {
    Nothing,
    Everything,
    Speech,
}

impl Answer {
    pub(crate) fn json(status: u16, told: &Value) -> Self {
        Self { status, ..Self::pieces(vec![told.to_string().into_bytes()]) }
    }

    pub(crate) fn pieces(pieces: Vec<Vec<u8>>) -> Self {
        Self { status: 200, headers: Vec::new(), pieces, last: Last::Ends, takes: Takes::Nothing }
    }

    /// Reads it and keeps nothing: as a proxy that buffers.
    pub(crate) fn swallow() -> Self {
        Self { takes: Takes::Everything, ..Self::pieces(Vec::new()) }
    }

    /// Hears what is said, as a stream or as a batch.
    pub(crate) fn hear() -> Self {
        Self { takes: Takes::Speech, ..Self::pieces(Vec::new()) }
    }

    pub(crate) fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(crate) fn cut(self) -> Self {
        Self { last: Last::IsCut, ..self }
    }

    pub(crate) fn hold(self) -> Self {
        Self { last: Last::IsHeld, ..self }
    }
}

#[derive(Default)]
struct Kept {
    scripts: HashMap<String, Script>,
    /// Each request's line and the names of its headers.
    requests: Vec<(String, Vec<String>)>,
    registrations: Vec<(String, Value)>,
    told: Vec<Value>,
    heard: BTreeMap<u64, Vec<u8>>,
}

/// The gateway. It answers registration by itself.
#[derive(Clone)]
pub(crate) struct Gateway {
    pub(crate) url: String,
    kept: Arc<Mutex<Kept>>,
}

pub(crate) fn offer(call_id: &str) -> Value {
    json!({ "call_id": call_id, "lease": "lease_1", "from": { "kind": "phone" }, "ticket": "t", "codecs": ["audio/opus"], "expires_at": 9e9 })
}

pub(crate) fn sse(name: &str, told: &Value, id: u32) -> Vec<u8> {
    format!("id: {id}\nevent: {name}\ndata: {told}\n\n").into_bytes()
}

/// A frame with a header, and a keepalive behind it.
pub(crate) fn frame(seq: u32, packet: &[u8]) -> Vec<u8> {
    let length = u16::try_from(6 + packet.len()).unwrap().to_be_bytes();
    let low = u16::try_from(seq & 0xFFFF).unwrap().to_be_bytes();
    [length.as_slice(), &low, &(seq * 960).to_be_bytes(), packet, &[0, 0]].concat()
}

impl Gateway {
    pub(crate) async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let gateway =
            Self { url: format!("http://{}", listener.local_addr().unwrap()), kept: Arc::default() };
        let router = Router::new().fallback({
            let gateway = gateway.clone();
            move |request| gateway.clone().answer(request)
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        gateway.script("POST /v1/register", |_| {
            Answer::json(200, &json!({ "lease": "lease_1", "refresh_after": 20 }))
        });
        gateway.script("DELETE /v1/register/echo", |_| Answer::json(200, &json!({})));
        gateway.script("GET /v1/bots/self/events", |_| {
            Answer::pieces(vec![sse("call.incoming", &offer("c1"), 1)]).hold()
        });
        gateway.script("POST /v1/calls/c1/accept", |_| {
            Answer::json(200, &json!({ "audio_url": "http://elsewhere.example/v1/calls/c1/audio", "receive": "audio/opus" }))
        });
        gateway.script("POST /v1/calls/c1/hangup", |_| Answer::json(200, &json!({})));
        gateway.script("POST /v1/calls/c1/audio", |_| Answer::hear());
        let told = gateway.clone();
        gateway.script("GET /v1/calls/c1/audio/ack", move |_| Answer::json(200, &told.progress()));
        gateway
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap()
    }

    pub(crate) fn script(&self, line: &str, script: impl Fn(&Asked) -> Answer + Send + Sync + 'static) {
        self.kept().scripts.insert(line.to_owned(), Arc::new(script));
    }

    pub(crate) fn registrations(&self) -> Vec<(String, Value)> {
        self.kept().registrations.clone()
    }

    pub(crate) fn heard(&self) -> BTreeMap<u64, Vec<u8>> {
        self.kept().heard.clone()
    }

    /// The events that calls were told.
    pub(crate) fn told(&self) -> Vec<Value> {
        self.kept().told.clone()
    }

    pub(crate) fn count(&self, line: &str) -> usize {
        self.kept().requests.iter().filter(|(known, _)| known == line).count()
    }

    /// Requests with a header of that name.
    pub(crate) fn count_with(&self, header: &str) -> usize {
        self.kept().requests.iter().filter(|(_, names)| names.iter().any(|name| name == header)).count()
    }

    fn progress(&self) -> Value {
        let heard = &self.kept().heard;
        let next = (0..).find(|seq| !heard.contains_key(seq)).unwrap();
        json!({ "next_seq": next, "buffered_ms": 0 })
    }

    async fn answer(self, request: Request<Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let line = format!("{} {}", parts.method, parts.uri.path());
        let query = parts.uri.query().unwrap_or_default().to_owned();
        let query = if line.contains("self/events") { query } else { query.replace("lease=lease_1", "") };
        let names = parts.headers.keys().map(ToString::to_string).collect();
        self.kept().requests.push((line.clone(), names));
        let asked = Asked { query, parts };
        let script = self.kept().scripts.get(&line).cloned();
        let answer = script.map_or_else(|| Answer::json(404, &json!({})), |script| script(&asked));
        match answer.takes {
            Takes::Nothing => self.keep(&line, &asked, body).await,
            Takes::Everything => body.into_data_stream().for_each(|_| async {}).await,
            Takes::Speech => {
                self.hear(asked.header("seq").parse().ok(), body).await;
                return respond(Answer::json(200, &self.progress()));
            }
        }
        respond(answer)
    }

    async fn keep(&self, line: &str, asked: &Asked, body: Body) {
        if line.ends_with("/audio") {
            return;
        }
        let body = axum::body::to_bytes(body, 100_000).await.unwrap_or_default();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        match line {
            "POST /v1/register" => {
                self.kept().registrations.push((asked.header("authorization").to_owned(), body))
            }
            "POST /v1/calls/c1/events" => self.kept().told.push(body),
            _ => {}
        }
    }

    async fn hear(&self, mut first: Option<u64>, body: Body) {
        let (mut stream, mut rest) = (body.into_data_stream(), Vec::new());
        while let Some(Ok(piece)) = stream.next().await {
            rest.extend_from_slice(&piece);
            while rest.len() >= 2 {
                let length = 2 + usize::from(u16::from_be_bytes([rest[0], rest[1]]));
                if rest.len() < length {
                    break;
                }
                let frame: Vec<u8> = rest.drain(..length).skip(2).collect();
                let (seq, packet) = match &mut first {
                    _ if frame.is_empty() => continue,
                    Some(seq) => (std::mem::replace(seq, *seq + 1), frame),
                    None => (u64::from(u16::from_be_bytes([frame[0], frame[1]])), frame[6..].to_vec()),
                };
                self.kept().heard.insert(seq, packet);
            }
        }
    }
}

fn respond(answer: Answer) -> Response<Body> {
    let mut response = Response::builder().status(answer.status);
    for (name, value) in answer.headers {
        response = response.header(name, value);
    }
    let pieces = stream::iter(answer.pieces.into_iter().map(|piece| Ok(Bytes::from(piece))));
    let is_held = matches!(answer.last, Last::IsHeld);
    let last = stream::once(async move {
        if is_held {
            tokio::time::sleep(Duration::from_secs(60)).await;
        }
        // What was written goes out before the cut.
        tokio::time::sleep(Duration::from_millis(50)).await;
        Err(io::Error::other("cut"))
    });
    let body = match answer.last {
        Last::Ends => Body::from_stream(pieces),
        Last::IsCut | Last::IsHeld => Body::from_stream(pieces.chain(last)),
    };
    response.body(body).unwrap()
}
