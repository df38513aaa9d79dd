//! Listening in: what a recording would hold, for an operator, while the call runs. And how loud it is, for a glance.
//!
//! The call hands out what it tells, and copies nothing while nobody listens. All else is the listener's own work. Sound is
//! [two seconds](super::stereo) behind: until then a cut still changes what was heard.

use std::sync::{Arc, OnceLock};

use patchbay_core::{Frame, Tap};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use super::stereo::{Piece, Stereo};
use super::track::{Decoder, Track};

/// Of both channels.
pub const RATE_HZ: u32 = 24_000;
/// Five seconds of both directions. A listener that is slower misses what it was too slow for; the call never waits.
const WAITING_MAX: usize = 512;
/// Sound is handed on in tenths of a second.
const STEP: u64 = RATE_HZ as u64 / 10;
/// More silence than this at once is not worth sending.
const SILENCE_MAX: u64 = RATE_HZ as u64 * 5;
/// Levels need no more than a telephone has.
const LEVEL_RATE_HZ: u32 = 8_000;

/// The end of it that the call has.
#[derive(Clone, Debug, Default)]
pub struct Airing(Arc<OnceLock<broadcast::Sender<Tap>>>);

impl Airing {
    /// Nobody listens yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells whoever listens. Never waits.
    pub fn tap(&self, tap: &Tap) {
        if let Some(taps) = self.0.get().filter(|taps| taps.receiver_count() > 0) {
            // The last listener may have left just now.
            drop(taps.send(tap.clone()));
        }
    }

    /// Room for what waits is made for the first who listens: it is more than the rest of a call.
    fn subscribe(&self) -> broadcast::Receiver<Tap> {
        self.0.get_or_init(|| broadcast::Sender::new(WAITING_MAX)).subscribe()
    }

    /// From now on.
    #[must_use]
    pub fn listen(&self) -> Listener {
        let stereo = Stereo::in_steps_of(STEP, RATE_HZ);
        Listener { taps: self.subscribe(), stereo, has_begun: false, is_over: false }
    }

    /// From now on.
    #[must_use]
    pub fn meter(&self) -> Meter {
        Meter { taps: self.subscribe(), said: Channel::new(), heard: Channel::new() }
    }
}

/// Hears a call.
pub struct Listener {
    taps: broadcast::Receiver<Tap>,
    stereo: Stereo,
    has_begun: bool,
    is_over: bool,
}

impl Listener {
    /// The next of it: PCM16, little-endian, 24 kHz, the caller left, what the caller heard right. `None`: the call is over.
    pub async fn next(&mut self) -> Option<Vec<u8>> {
        loop {
            let pcm = self.ready();
            if !pcm.is_empty() {
                return Some(pcm);
            }
            if self.is_over {
                return None;
            }
            match self.taps.recv().await {
                Ok(tap) => self.is_over = self.stereo.take(&tap),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => self.is_over = true,
            }
        }
    }

    fn ready(&mut self) -> Vec<u8> {
        let mut pcm = Vec::new();
        for piece in self.stereo.pieces() {
            match piece {
                Piece::Samples(samples) => pcm.extend(samples.iter().flat_map(|sample| sample.to_le_bytes())),
                // Before the first of it lies the call so far.
                Piece::Silence(pairs) if self.has_begun => pcm.resize(pcm.len() + bytes(pairs), 0),
                Piece::Silence(_) | Piece::Unheard(_) => {}
            }
            self.has_begun = true;
        }
        pcm
    }
}

fn bytes(pairs: u64) -> usize {
    usize::try_from(pairs.min(SILENCE_MAX) * 4).expect("some seconds fit into memory")
}

/// How loud a call is.
pub struct Meter {
    taps: broadcast::Receiver<Tap>,
    said: Channel,
    heard: Channel,
}

impl Meter {
    /// Since the last time: of the caller, and of what is played to the caller. Root mean square, 0 to 1. `None`: the call
    /// is over.
    pub fn levels(&mut self) -> Option<(f32, f32)> {
        loop {
            match self.taps.try_recv() {
                Ok(Tap::Said { frame, .. }) => self.said.push(&frame),
                Ok(Tap::Played { frame, .. }) => self.heard.push(&frame),
                Ok(_) | Err(TryRecvError::Lagged(_)) => {}
                Err(TryRecvError::Empty) => return Some((self.said.level(), self.heard.level())),
                Err(TryRecvError::Closed) => return None,
            }
        }
    }
}

struct Channel {
    decoder: Decoder,
    track: Track,
}

impl Channel {
    fn new() -> Self {
        Self { decoder: Decoder::new(LEVEL_RATE_HZ), track: Track::default() }
    }

    fn push(&mut self, frame: &Frame) {
        self.decoder.push(frame, &mut self.track);
    }

    fn level(&mut self) -> f32 {
        let samples = self.track.take(self.track.end() - self.track.from());
        let square = |sample: &i16| (f32::from(*sample) / 32_768.0).powi(2);
        let count = f32::from(u16::try_from(samples.len()).unwrap_or(u16::MAX)).max(1.0);
        (samples.iter().map(square).sum::<f32>() / count).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use patchbay_core::{Format, MediaTime, Payload};

    /// 20 ms, as the telephone has it; µ-law 0x00 is the loudest there is, 0xff silence.
    fn said(at_ms: u64, ulaw: u8) -> Tap {
        let payload = Payload::Raw(vec![ulaw; 160].into());
        let frame = Frame::live(Format::PCMU, payload, MediaTime::from_ms(at_ms));
        Tap::Said { at: MediaTime::from_ms(at_ms + 20), frame }
    }

    #[tokio::test]
    async fn who_joins_late_hears_the_call_from_then_on() {
        let airing = Airing::new();
        (0..50).for_each(|n| airing.tap(&said(n * 20, 0x00)));
        let mut listener = airing.listen();
        for n in 0..200 {
            airing.tap(&said(600_000 + n * 20, 0x80));
        }
        let mut heard = 0;
        while heard < RATE_HZ as usize * 4 {
            let pcm = listener.next().await.expect("the call goes on");
            assert!(pcm.len() <= RATE_HZ as usize * 4 * 5, "not ten minutes of silence");
            heard += pcm.len();
        }
        drop(airing);
        while listener.next().await.is_some() {}
    }

    #[tokio::test]
    async fn a_listener_that_sleeps_misses_something_and_the_call_does_not_wait() {
        let airing = Airing::new();
        let mut listener = airing.listen();
        for n in 0..3_000 {
            airing.tap(&said(n * 20, 0x80));
        }
        assert!(listener.next().await.is_some());
    }

    #[test]
    fn levels_tell_who_speaks() {
        let airing = Airing::new();
        let mut meter = airing.meter();
        airing.tap(&said(0, 0x80));
        let (caller, model) = meter.levels().expect("the call goes on");
        assert!(caller > 0.5 && model == 0.0, "{caller} {model}");
        airing.tap(&said(20, 0xff));
        assert_eq!(meter.levels(), Some((0.0, 0.0)));
        drop(airing);
        assert_eq!(meter.levels(), None);
    }
}
