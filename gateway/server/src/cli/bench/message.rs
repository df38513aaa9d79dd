//! Messages of the load, put together and taken apart without a JSON tree: the load must cost less than what it measures.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// Base64 behind what is there.
pub(super) fn encode(audio: &[u8], text: &mut Vec<u8>) {
    let start = text.len();
    text.resize(start + audio.len().div_ceil(3) * 4, 0);
    STANDARD.encode_slice(audio, &mut text[start..]).expect("the size was computed");
}

/// The base64 or name behind `key`, up to the quote.
pub(super) fn field<'m>(message: &'m [u8], key: &[u8]) -> Option<&'m [u8]> {
    let start = memchr::memmem::find(message, key)? + key.len();
    let end = memchr::memchr(b'"', &message[start..])? + start;
    Some(&message[start..end])
}

/// As a telephone echoes it.
pub(super) fn mark(name: &[u8], sid: &str, sequence: u64) -> Vec<u8> {
    let name = String::from_utf8_lossy(name);
    format!(
        r#"{{"event":"mark","sequenceNumber":"{}","streamSid":"{sid}","mark":{{"name":"{name}"}}}}"#,
        sequence + 1
    )
    .into_bytes()
}

/// The answer to an upgrade.
pub(super) fn switching(head: &str) -> String {
    let key = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.trim())
    });
    let accept = derive_accept_key(key.unwrap_or_default().as_bytes());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-accept: {accept}\r\n\r\n"
    )
}
