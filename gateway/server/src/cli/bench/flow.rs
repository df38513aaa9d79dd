//! [`Flow`]: one direction of a call, timed by frames that bear their number.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::tally::Tally;

/// Bytes of 20 ms of µ-law.
pub(super) const ULAW_FRAME: usize = 160;
/// Send times that are remembered for each direction: 5 s.
const STAMPS: usize = 256;

/// One direction of one call: when each frame left, and how far the audio has come.
pub(super) struct Flow {
    stamps: Box<[u32; STAMPS]>,
    sent: u32,
    bytes: usize,
    frames: u32,
}

impl Flow {
    pub(super) fn new() -> Self {
        Self { stamps: Box::new([0; STAMPS]), sent: 0, bytes: 0, frames: 0 }
    }

    /// Notes the time; gives the frame's number.
    pub(super) fn leave(&mut self, now_us: u32) -> u32 {
        let nth = self.sent;
        self.stamps[nth as usize % STAMPS] = now_us;
        self.sent += 1;
        nth
    }

    /// Counts the audio of a message, base64, from the peer.
    pub(super) fn hear(&mut self, audio: &[u8], frame_bytes: usize, now_us: u32, tally: &mut Tally) {
        let padding = audio.iter().rev().take_while(|byte| **byte == b'=').count();
        let bytes = audio.len() / 4 * 3 - padding;
        // Frames that pass unchanged bear their number, which shows a loss; resampled ones do not.
        if frame_bytes == bytes
            && bytes == ULAW_FRAME
            && let Ok(head) = STANDARD.decode(&audio[..8])
        {
            let nth = u32::from_le_bytes(head[..4].try_into().expect("six bytes"));
            self.seek(nth);
        }
        self.arrive(bytes, frame_bytes, now_us, tally);
    }

    /// Counts audio that came; frames that are complete by it are as late as they are.
    fn arrive(&mut self, bytes: usize, frame_bytes: usize, now_us: u32, tally: &mut Tally) {
        self.bytes += bytes;
        while self.frames < self.sent && self.bytes >= frame_bytes {
            self.bytes -= frame_bytes;
            tally.add(now_us.wrapping_sub(self.stamps[self.frames as usize % STAMPS]));
            tally.received += 1;
            self.frames += 1;
        }
    }

    /// Skips what was lost: the frame that comes now bears its number.
    fn seek(&mut self, nth: u32) {
        if nth > self.frames && nth < self.sent {
            self.frames = nth;
        }
    }
}

/// Something that is no silence and compresses to nothing.
pub(super) fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 0x2545_F491_u32;
    (0..bytes)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            0xC0 | (state.to_le_bytes()[0] & 0x3F)
        })
        .collect()
}

/// Writes a frame's number into its first bytes.
pub(super) fn number(audio: &mut [u8], nth: u32) {
    audio[..4].copy_from_slice(&nth.to_le_bytes());
}
