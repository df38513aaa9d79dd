//! The gateway under load: its configuration, its start, and the callers' way in.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use super::child::{CALLER_KEY, Child};
use crate::cli::call::{Verb, verbs};

/// How long the gateway may take to come up.
const UP_WITHIN: Duration = Duration::from_secs(10);
/// How long one call may take to be set up.
const SETUP_WITHIN: Duration = Duration::from_secs(10);

/// What the gateway is to be like.
pub(super) struct GatewayPlan<'p> {
    pub(super) calls: usize,
    /// Where the model ends listen.
    pub(super) model_port: u16,
    /// PEM of the model's authority; with it, the model is reached over TLS.
    pub(super) ca: Option<&'p Path>,
    /// Whether audio is transcoded to 24 kHz PCM.
    pub(super) is_pcm: bool,
    pub(super) callers: Callers,
}

/// Who calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Callers {
    Phones,
    /// Over WebRTC, with a key.
    Browsers,
}

impl GatewayPlan<'_> {
    fn config(&self, listen: SocketAddr, admin: SocketAddr) -> String {
        let Self { calls, model_port, ca, is_pcm, callers } = self;
        let calls = calls + 16;
        let (scheme, ca) = match ca {
            Some(path) => ("https", format!("ca_file = {:?}\n", path.display().to_string())),
            None => ("http", String::new()),
        };
        let audio = if *is_pcm { "pcm" } else { "auto" };
        let key = match callers {
            Callers::Phones => "",
            Callers::Browsers => "[tenants.default]\napi_key = { env = \"BENCH_CALLER_KEY\" }\n\n",
        };
        format!(
            "[server]\nlisten = \"{listen}\"\nadmin_listen = \"{admin}\"\nlog_level = \"warn\"\n\n\
             [limits]\ncalls_max = {calls}\ncalls_started_per_second_max = 10000\nconnections_per_user_max = 10000\n\
             requests_per_minute_max = 100000\nsockets_max = {sockets}\n\n\
             [providers.bench]\nkind = \"openai\"\nbase_url = \"{scheme}://localhost:{model_port}/v1\"\n{ca}\
             key = {{ env = \"BENCH_KEY\" }}\n\n{key}\
             [tenants.default.limits]\ncalls_max = {calls}\nstarts_per_minute_max = 100000\n\n\
             [tenants.default.routes.default]\nprovider = \"bench\"\ngreeting = \"\"\naudio = \"{audio}\"\n",
            sockets = calls * 2 + 64,
        )
    }

    /// Starts `patchbay serve` with it and waits until it is ready.
    pub(super) fn start(&self, folder: &Path) -> io::Result<Gateway> {
        let (address, admin) = (free_address()?, free_address()?);
        let config = folder.join("patchbay.toml");
        std::fs::write(&config, self.config(address, admin))?;
        let log = folder.join("gateway.log");
        let arguments = ["serve", "--config", &config.to_string_lossy()].map(str::to_owned);
        let mut child = Child::start(&arguments, &log)?;
        child.ignore_output();
        let began = Instant::now();
        loop {
            if TcpStream::connect(address).is_ok() {
                return Ok(Gateway { child, address, caller_key: CALLER_KEY.to_owned() });
            }
            if child.has_ended() || began.elapsed() > UP_WITHIN {
                let said = std::fs::read_to_string(&log).unwrap_or_default();
                return Err(io::Error::other(format!("the gateway did not start: {}", said.trim())));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// A running gateway.
pub(super) struct Gateway {
    pub(super) child: Child,
    pub(super) address: SocketAddr,
    /// What browsers show.
    pub(super) caller_key: String,
}

impl Gateway {
    /// Calls as Twilio does. What comes back is past its `start`.
    pub(super) fn call(&self, nth: usize) -> io::Result<(TcpStream, String)> {
        let call_sid = format!("CA{nth:032x}");
        let url = self.webhook(nth, &call_sid)?;
        let stream_sid = format!("MZ{nth:032x}");
        let mut socket = self.upgrade(&url)?;
        let start = format!(
            r#"{{"event":"start","sequenceNumber":"1","start":{{"streamSid":"{stream_sid}","accountSid":"AC00000000000000000000000000000001","callSid":"{call_sid}","tracks":["inbound"],"mediaFormat":{{"encoding":"audio/x-mulaw","sampleRate":8000,"channels":1}},"customParameters":{{}}}},"streamSid":"{stream_sid}"}}"#
        );
        let connected = r#"{"event":"connected","protocol":"Call","version":"1.0.0"}"#;
        socket.write_all(&[masked(connected.as_bytes()), masked(start.as_bytes())].concat())?;
        Ok((socket, stream_sid))
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let socket = TcpStream::connect(self.address)?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(SETUP_WITHIN))?;
        Ok(socket)
    }

    /// The address of the stream.
    fn webhook(&self, nth: usize, call_sid: &str) -> io::Result<String> {
        let body = format!(
            "CallSid={call_sid}&AccountSid=AC00000000000000000000000000000001&From=%2B1{nth:010}&To=%2B15005550001\
             &CallStatus=ringing&Direction=inbound&ApiVersion=2010-04-01"
        );
        let mut socket = self.connect()?;
        write!(
            socket,
            "POST /twilio/voice/default/default HTTP/1.1\r\nhost: {}\r\nconnection: close\r\n\
             content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
            self.address,
            body.len()
        )?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer)?;
        let document = answer.split_once("\r\n\r\n").map_or("", |(_, document)| document);
        let verbs = verbs(document).map_err(|_| unexpected(&answer))?;
        let url = verbs.into_iter().find_map(|verb| match verb {
            Verb::Stream { url, .. } => Some(url),
            _ => None,
        });
        url.ok_or_else(|| unexpected(&answer))
    }

    fn upgrade(&self, url: &str) -> io::Result<TcpStream> {
        let path = url.match_indices('/').nth(2).map_or("/", |(at, _)| &url[at..]);
        let mut socket = self.connect()?;
        write!(
            socket,
            "GET {path} HTTP/1.1\r\nhost: {}\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            self.address
        )?;
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            socket.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        if head.starts_with(b"HTTP/1.1 101") {
            Ok(socket)
        } else {
            Err(unexpected(&String::from_utf8_lossy(&head)))
        }
    }
}

fn unexpected(answer: &str) -> io::Error {
    let line = answer.lines().next().unwrap_or("nothing");
    io::Error::other(format!("the gateway answered {line}"))
}

/// A free port is found by taking it; nobody else is likely to take it before the gateway does.
fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// One text frame with the mask zero.
fn masked(text: &[u8]) -> Vec<u8> {
    let length = u16::try_from(text.len()).expect("a short message");
    let mut frame = match u8::try_from(length) {
        Ok(short @ 0..=125) => vec![0x81, 0x80 | short],
        _ => [&[0x81, 0x80 | 126][..], &length.to_be_bytes()].concat(),
    };
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(text);
    frame
}
