//! [`RtcPort`]: one WebRTC connection as the driver polls it. ICE, DTLS, SRTP and SCTP by str0m; no task, no copy that they do
//! not need.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use patchbay_core::{Codec, Format, Packet, Wire};
use str0m::channel::{ChannelData, ChannelId};
use str0m::media::{MediaKind, Mid, Pt};
use str0m::net::{Protocol, Receive, Transmit};
use str0m::rtp::RtpWrite;
use str0m::{Event, Input, Output, Rtc};
use tokio::sync::mpsc;
use tokio::time::Sleep;

use super::demux::{From, Inbound, Seat};
use super::gate::Ways;
use super::offer::{Answer, OfferError, finished};
use super::quality::Reports;
use super::stream::Link;

/// A browser checks every two or three seconds (RFC 7675 §5.1), so nothing for this long is a page that was closed.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// The channel of OpenAI's events.
const EVENTS: &str = "oai-events";
/// Texts that wait for a channel that is not open yet, or whose peer does not read.
const TEXTS_BYTES_MAX: usize = 512 * 1024;
/// The longest text that is taken (reference/browser.md §1.6).
const TEXT_BYTES_MAX: usize = 256 * 1024;
/// Streams of one peer.
const LINKS_MAX: usize = 4;

/// One WebRTC connection.
///
/// Polled as a WebSocket's port is. [`Wire::Opened`] comes when DTLS is up; after one [`Wire::Close`] there is nothing more
/// (code 1000 when the peer ended it, 1006 when it was lost).
pub struct RtcPort {
    rtc: Box<Rtc>,
    format: Format,
    ways: Arc<Ways>,
    seat: Seat,
    inbound: mpsc::Receiver<Inbound>,
    links: Vec<Link>,
    audio: Option<(Mid, Pt)>,
    channel: Option<ChannelId>,
    texts: VecDeque<Bytes>,
    texts_bytes: usize,
    ready: VecDeque<Wire>,
    reports: Reports,
    /// When str0m wants to be called.
    wake_at: Instant,
    timer: Pin<Box<Sleep>>,
    /// When the timer fires: it may be earlier than needed, never later.
    armed: Option<Instant>,
    made_at: Instant,
    heard_at: Instant,
    last_peer: Option<From>,
    /// Something was written that has not left yet.
    is_dirty: bool,
    is_open: bool,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Running,
    /// The end waits to be delivered.
    Ending,
    Gone,
}

impl std::fmt::Debug for RtcPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RtcPort")
            .field("format", &self.format)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl RtcPort {
    pub(super) fn new(
        rtc: Rtc,
        format: Format,
        ways: Arc<Ways>,
        seat: Seat,
        inbound: mpsc::Receiver<Inbound>,
    ) -> Self {
        let now = Instant::now();
        let mut port = Self {
            rtc: Box::new(rtc),
            format,
            ways,
            seat,
            inbound,
            links: Vec::new(),
            audio: None,
            channel: None,
            texts: VecDeque::new(),
            texts_bytes: 0,
            ready: VecDeque::new(),
            reports: Reports::new(format),
            wake_at: now,
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
            armed: None,
            made_at: now,
            heard_at: now,
            last_peer: None,
            is_dirty: false,
            is_open: false,
            state: State::Running,
        };
        port.drain();
        port
    }

    /// The next thing from the peer. Pending for ever after a close.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Wire> {
        loop {
            if let Some(wire) = self.ready.pop_front() {
                if matches!(wire, Wire::Close { .. }) {
                    self.state = State::Gone;
                }
                return Poll::Ready(wire);
            }
            if self.state != State::Running {
                return Poll::Pending;
            }
            match self.inbound.poll_recv(cx) {
                Poll::Ready(Some(inbound)) => self.take(inbound),
                Poll::Ready(None) => self.end(1006, "replaced"),
                Poll::Pending => ready!(self.poll_time(cx)),
            }
        }
    }

    /// Hands over a packet, a text or the close; leaves with the next flush.
    pub fn send(&mut self, wire: Wire) {
        if self.state != State::Running {
            return;
        }
        match wire {
            Wire::Packet(packet) => self.write(packet),
            Wire::Text(text) => self.say(text),
            Wire::Close { .. } => self.close(),
            Wire::Binary(_) | Wire::Opened | Wire::Quality(_) | Wire::Refused(_) => {}
        }
    }

    /// Sends what was written. What the network does not take is lost.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if std::mem::take(&mut self.is_dirty) {
            self.drain();
            if !self.ready.is_empty() {
                cx.waker().wake_by_ref();
            }
        }
        self.links.iter_mut().for_each(|link| link.poll_flush(cx));
        Poll::Ready(())
    }

    /// Whether the end was delivered, or asked for.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.state == State::Gone
    }

    /// Says goodbye: what RTCP and DTLS have for it leaves at once, and no answer is waited for.
    pub fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.close();
        self.poll_flush(cx)
    }

    fn close(&mut self) {
        if self.state != State::Gone {
            self.state = State::Gone;
            self.ready.clear();
            if self.rtc.close().is_ok() {
                self.drain_outputs();
            }
        }
    }

    fn take(&mut self, inbound: Inbound) {
        match inbound {
            Inbound::Datagram { from, bytes, at } => self.receive(from, &bytes, at),
            Inbound::Link(link) => {
                self.links.retain(|known| known.from() != link.from());
                if self.links.len() >= LINKS_MAX {
                    self.links.remove(0);
                }
                self.links.push(link);
            }
            Inbound::Offer { sdp, reply } => {
                // Whoever asked may have gone.
                let _ = reply.send(self.accept(&sdp));
                self.drain();
            }
        }
    }

    fn receive(&mut self, from: From, bytes: &[u8], at: Instant) {
        let Ok(receive) = Receive::new(from.0, from.1, self.ways.towards(from), bytes) else {
            return self.ways.metrics.rtc_lost("garbage");
        };
        self.heard_at = self.heard_at.max(at);
        if self.rtc.handle_input(Input::Receive(at, receive)).is_err() {
            // Whoever forges a peer's address must not end its call.
            self.ways.metrics.rtc_lost("garbage");
        }
        self.drain();
    }

    /// An ICE restart (RFC 8839 §4.4.1.1): the same connection by new names.
    fn accept(&mut self, offer: &str) -> Result<Answer, OfferError> {
        let offer = str0m::change::SdpOffer::from_sdp_string(offer);
        let offer = offer.map_err(|_| OfferError::NotSdp(String::new()))?;
        let answer = self.rtc.sdp_api().accept_offer(offer);
        let answer = answer.map_err(|_| OfferError::Refused("it does not fit the call".into()))?;
        let ufrag = self.rtc.direct_api().local_ice_credentials().ufrag;
        self.seat.add_ufrag(&ufrag);
        Ok(Answer { sdp: finished(&answer.to_sdp_string()), format: self.format })
    }

    fn poll_time(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let due = self.wake_at.min(self.heard_at + SILENCE_MAX);
        if self.armed.is_none_or(|armed| due < armed) {
            self.armed = Some(due);
            self.timer.as_mut().reset(due.into());
        }
        ready!(self.timer.as_mut().poll(cx));
        self.armed = None;
        let now = Instant::now();
        if now >= self.heard_at + SILENCE_MAX {
            self.end(1006, "peer is silent");
        } else if now >= self.wake_at {
            self.advance(now);
        }
        Poll::Ready(())
    }

    fn advance(&mut self, now: Instant) {
        if self.rtc.handle_input(Input::Timeout(now)).is_err() {
            self.ways.metrics.rtc_lost("garbage");
        }
        self.drain();
    }

    /// Everything that follows from what was handed to str0m.
    fn drain(&mut self) {
        self.drain_outputs();
        self.say_what_waits();
        if self.state == State::Running && !self.rtc.is_alive() {
            self.end(1000, "peer closed");
        }
    }

    fn drain_outputs(&mut self) {
        loop {
            match self.rtc.poll_output() {
                Ok(Output::Timeout(at)) => {
                    self.wake_at = at;
                    break;
                }
                Ok(Output::Transmit(transmit)) => self.transmit(&transmit),
                Ok(Output::Event(event)) => self.on_event(event),
                Err(_) => {
                    self.end(1006, "connection failed");
                    break;
                }
            }
        }
    }

    /// str0m sends only to who proved that it is the peer: its address is the call's from here on.
    fn transmit(&mut self, transmit: &Transmit) {
        let peer = (transmit.proto, transmit.destination);
        if self.last_peer != Some(peer) {
            self.seat.add_address(peer, Instant::now());
            self.last_peer = Some(peer);
        }
        match transmit.proto {
            Protocol::Udp => self.ways.send(&transmit.contents, transmit.destination),
            _ => {
                let link = self.links.iter_mut().find(|link| link.from() == peer);
                if !link.is_some_and(|link| link.send(&transmit.contents)) {
                    self.ways.metrics.rtc_lost("send");
                }
            }
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Connected if !self.is_open => self.opened(),
            Event::MediaAdded(media) if media.kind == MediaKind::Audio && self.audio.is_none() => {
                self.audio = self.payload_type(media.mid).map(|pt| (media.mid, pt));
            }
            Event::RtpPacket(packet) => {
                let is_ours = self.audio.is_some_and(|(_, pt)| pt == packet.header.payload_type);
                if is_ours && self.is_open {
                    self.ready.push_back(Wire::Packet(Packet {
                        codec: self.format.codec,
                        seq: *packet.seq_no,
                        time: packet.time.numer(),
                        marker: packet.header.marker,
                        payload: Bytes::copy_from_slice(&packet.payload),
                    }));
                }
            }
            Event::ChannelOpen(id, label) if label == EVENTS || self.channel.is_none() => {
                self.channel = Some(id);
            }
            Event::ChannelData(data) if self.channel == Some(data.id) => self.heard(data),
            Event::ChannelClose(id) if self.channel == Some(id) => self.channel = None,
            Event::PeerStats(stats) => {
                if let Some(quality) = self.reports.peer(&stats).filter(|_| self.is_open) {
                    self.ready.push_back(Wire::Quality(quality));
                }
            }
            Event::MediaIngressStats(stats) => self.reports.ingress(&stats),
            Event::MediaEgressStats(stats) => self.reports.egress(&stats),
            Event::Closed => self.end(1000, "peer closed"),
            _ => {}
        }
    }

    fn opened(&mut self) {
        self.is_open = true;
        let over = self.last_peer.map_or(Protocol::Udp, |(protocol, _)| protocol);
        let over = if over == Protocol::Udp { "udp" } else { "tcp" };
        self.ways.metrics.rtc_connected(over, self.made_at.elapsed());
        self.ready.push_back(Wire::Opened);
    }

    /// The payload type that both sides agreed on for our codec.
    fn payload_type(&self, mid: Mid) -> Option<Pt> {
        let agreed = self.rtc.media(mid)?.remote_pts().to_vec();
        let wanted = match self.format.codec {
            Codec::Opus => str0m::format::Codec::Opus,
            _ => str0m::format::Codec::PCMU,
        };
        let params = self.rtc.codec_config().params();
        params.iter().find(|p| p.spec().codec == wanted && agreed.contains(&p.pt())).map(|p| p.pt())
    }

    fn heard(&mut self, data: ChannelData) {
        let wire = match (data.binary, data.data) {
            (_, bytes) if bytes.len() > TEXT_BYTES_MAX => return self.ways.metrics.rtc_lost("too_long"),
            (false, bytes) if std::str::from_utf8(&bytes).is_ok() => Wire::Text(bytes.into()),
            (_, bytes) => Wire::Binary(bytes.into()),
        };
        self.ready.push_back(wire);
    }

    fn write(&mut self, packet: Packet) {
        let Some((mid, pt)) = self.audio else { return };
        let mut direct = self.rtc.direct_api();
        let Some(stream) = direct.stream_tx_by_mid(mid, None) else { return };
        // The header has 32 bits for the time; it begins anew beyond them (RFC 3550 §5.1).
        let time = u32::try_from(packet.time & u64::from(u32::MAX)).unwrap_or_default();
        let write = RtpWrite::new(pt, packet.seq.into(), time, Instant::now(), &packet.payload[..]);
        stream.write_rtp(write.marker(packet.marker));
        self.is_dirty = true;
    }

    fn say(&mut self, text: Bytes) {
        if self.texts_bytes + text.len() > TEXTS_BYTES_MAX {
            return self.end(1006, "peer does not read");
        }
        self.texts_bytes += text.len();
        self.texts.push_back(text);
        self.is_dirty = true;
        self.say_what_waits();
    }

    /// Gives the channel as many texts as it takes.
    fn say_what_waits(&mut self) {
        let Some(id) = self.channel else { return };
        while let Some(text) = self.texts.front() {
            let Some(mut channel) = self.rtc.channel(id) else { return };
            if !channel.write(false, text).unwrap_or(true) {
                return;
            }
            self.texts_bytes -= text.len();
            self.texts.pop_front();
            self.drain_outputs();
        }
    }

    fn end(&mut self, code: u16, reason: &str) {
        if self.state == State::Running {
            self.state = State::Ending;
            self.ready.push_back(Wire::Close { code, reason: reason.into() });
        }
    }
}
