//! Server-sent events, as the HTML standard parses them (§9.2.6).

use std::collections::VecDeque;
use std::time::Duration;

use crate::error::Error;

const EVENT_BYTES_MAX: usize = 256 * 1024;

/// One event of a stream; `id` is the last one that the stream told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServerEvent {
    pub(crate) name: String,
    pub(crate) text: String,
    pub(crate) id: String,
}

/// Takes bytes as they come, in any pieces; gives whole events. Comments are swallowed.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    pub(crate) last_id: String,
    pub(crate) retry: Option<Duration>,
    line: Vec<u8>,
    after_cr: bool,
    name: String,
    lines: Vec<String>,
    held: usize,
    whole: VecDeque<ServerEvent>,
}

impl Parser {
    pub(crate) fn resuming(last_id: &str) -> Self {
        Self { last_id: last_id.to_owned(), ..Self::default() }
    }

    /// # Errors
    /// [`Error::Framing`] when an event grows past 256 KiB.
    pub(crate) fn feed(&mut self, piece: &[u8]) -> Result<(), Error> {
        for &byte in piece {
            let is_second = byte == b'\n' && std::mem::replace(&mut self.after_cr, byte == b'\r');
            match byte {
                b'\n' if is_second => {}
                b'\n' | b'\r' => self.end_line(),
                other => self.line.push(other),
            }
            self.after_cr = byte == b'\r';
        }
        if self.line.len() + self.held > EVENT_BYTES_MAX {
            return Err(Error::Framing("an event without an end".to_owned()));
        }
        Ok(())
    }

    /// The next whole event.
    pub(crate) fn next(&mut self) -> Option<ServerEvent> {
        self.whole.pop_front()
    }

    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
        let line = line.trim_start_matches('\u{feff}');
        if line.is_empty() {
            return self.dispatch();
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                self.held += value.len();
                self.lines.push(value.to_owned());
            }
            "event" => value.clone_into(&mut self.name),
            "id" if !value.contains('\0') => value.clone_into(&mut self.last_id),
            "retry" => self.retry = value.parse().ok().map(Duration::from_millis).or(self.retry),
            _ => {}
        }
    }

    fn dispatch(&mut self) {
        let (name, lines) = (std::mem::take(&mut self.name), std::mem::take(&mut self.lines));
        self.held = 0;
        if !lines.is_empty() {
            let name = if name.is_empty() { "message".to_owned() } else { name };
            self.whole.push_back(ServerEvent { name, text: lines.join("\n"), id: self.last_id.clone() });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_whole_out_of_any_pieces() {
        let stream = "\u{feff}retry: 1000\r\n: ping\r\n\r\nid: 7\r\nevent: call.incoming\r\ndata: {\"a\":\r\ndata: 1}\r\n\r\ndata: x\r\r";
        for size in [1, 2, 5, 500] {
            let mut parser = Parser::default();
            stream.as_bytes().chunks(size).for_each(|piece| parser.feed(piece).unwrap());
            let first = parser.next().unwrap();
            assert_eq!((&*first.name, &*first.text, &*first.id), ("call.incoming", "{\"a\":\n1}", "7"));
            assert_eq!(parser.next().unwrap().text, "x");
            assert_eq!((parser.next(), parser.retry), (None, Some(Duration::from_secs(1))));
        }
        assert!(Parser::default().feed(&vec![b'x'; 300_000]).is_err());
    }
}
