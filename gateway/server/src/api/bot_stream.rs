//! `GET /v1/calls/{id}/stream`: a bot's whole call on one WebSocket, after it accepted. A binary message is audio of the agreed
//! formats, one Opus packet or any number of whole samples; a text message is one of the events of `…/events`, both ways.
//!
//! A bot that closes with 1000 has hung up. One that is lost otherwise may come again, as any request of a bot may.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use patchbay_core::Wire;
use patchbay_legs::bot::framing::Unit;
use serde_json::json;

use super::bot_call::meeting_of;
use super::caller::Caller;
use super::error::ApiError;
use crate::app::App;
use crate::plan::client_port;
use crate::transport::{
    Heard, Listening, Meeting, Port, Reading, Speaking, Unsaid, Untold, UpgradeRefused, WsUpgrade,
};

/// How long there may be no event before it is looked again.
const QUIET: Duration = Duration::from_secs(60);
/// Messages that make no sense, before the bot is let go.
const NONSENSE_MAX: u32 = 100;

/// Opens the stream. One that was open before is closed with 1001.
///
/// # Errors
/// [`ApiError`]
pub async fn open(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    upgrade: Result<WsUpgrade, UpgradeRefused>,
) -> Result<Response, ApiError> {
    let meeting = meeting_of(&app, &caller, &id).await?;
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(refused) => return Ok(refused.into_response()),
    };
    let (response, pending) = upgrade.accept(client_port(&caller.config().limits));
    // Ends with the call, with the socket, or with the next stream of the same call.
    tokio::spawn(async move {
        if let Some(port) = pending.port().await {
            Stream::over(port, meeting).live().await;
        }
    });
    Ok(response)
}

/// One socket, in all the places that a bot's requests would have.
struct Stream {
    port: Port,
    meeting: Arc<Meeting>,
    listening: Listening,
    speaking: Speaking,
    reading: Reading,
    /// What the bot said too far ahead: nothing more is read until it is taken.
    waiting: Option<Unit>,
    nonsense: u32,
}

/// What happened.
enum Turn {
    Heard(Heard),
    Told(Option<Bytes>),
    Came(Wire),
    Said(Result<(), Unsaid>),
}

impl Stream {
    fn over(port: Port, meeting: Arc<Meeting>) -> Self {
        let agreed = meeting.occasion().clone();
        Self {
            listening: meeting.listen(None, agreed.receive),
            speaking: meeting.speak(agreed.send),
            reading: meeting.read(0),
            port,
            meeting,
            waiting: None,
            nonsense: 0,
        }
    }

    async fn live(mut self) {
        while let Some(turn) = self.turn().await {
            if let Some((code, reason)) = self.take(turn) {
                self.port.send(Wire::Close { code, reason: reason.into() });
                break;
            }
        }
        self.port.finish().await;
    }

    /// The next that happens; `None` when the socket is gone.
    async fn turn(&mut self) -> Option<Turn> {
        let Self { port, listening, speaking, reading, waiting, .. } = self;
        if port.is_closed() {
            return None;
        }
        let unit = waiting.clone();
        let is_reading = unit.is_none();
        let say = async move {
            match unit {
                Some(unit) => speaking.say(unit).await.map(|_| ()),
                None => std::future::pending().await,
            }
        };
        let come = poll_fn(|cx| {
            let _ = port.poll_flush(cx);
            if is_reading { port.poll_recv(cx) } else { Poll::Pending }
        });
        Some(tokio::select! {
            heard = listening.next() => Turn::Heard(heard),
            told = reading.next(QUIET) => Turn::Told(told.map(|(_, event)| event)),
            said = say => Turn::Said(said),
            wire = come => Turn::Came(wire),
        })
    }

    /// Does what follows. Answers how the socket is to be closed, if it is.
    fn take(&mut self, turn: Turn) -> Option<(u16, &'static str)> {
        match turn {
            Turn::Heard(Heard::Packets(packets, _)) => {
                packets.into_iter().for_each(|packet| self.port.send(Wire::Binary(packet.payload)));
            }
            Turn::Heard(Heard::Quiet) => {}
            Turn::Heard(Heard::Replaced) | Turn::Said(Err(Unsaid::Replaced)) => {
                return Some((1001, "another request has this call"));
            }
            // Its last event has still to be told.
            Turn::Heard(Heard::Over(_)) | Turn::Said(Err(Unsaid::Over(_))) => {
                while let Some((_, event)) = self.reading.take() {
                    self.port.send(Wire::Text(event));
                }
                return Some((1000, "the call is over"));
            }
            Turn::Told(Some(event)) => self.port.send(Wire::Text(event)),
            Turn::Told(None) if self.reading.is_over() => return Some((1000, "the call is over")),
            Turn::Told(None) | Turn::Said(Err(Unsaid::Ahead(_))) => {}
            Turn::Said(Ok(())) => self.waiting = None,
            Turn::Came(Wire::Binary(audio)) => self.waiting = Some(Unit { number: None, audio }),
            Turn::Came(Wire::Text(text)) => return self.tell(text),
            Turn::Came(Wire::Close { code: 1000, .. }) => self.meeting.hang_up(),
            Turn::Came(_) => {}
        }
        None
    }

    fn tell(&mut self, text: Bytes) -> Option<(u16, &'static str)> {
        let code = match self.meeting.tell(text) {
            Ok(()) | Err(Untold::Over) => return None,
            Err(Untold::Busy) => "too_many_events",
            Err(Untold::Nonsense(nonsense)) => nonsense.0,
        };
        self.nonsense += 1;
        let error = json!({ "type": "error", "code": code });
        self.port.send(Wire::Text(error.to_string().into()));
        (self.nonsense > NONSENSE_MAX).then_some((1008, "too many messages that make no sense"))
    }
}
