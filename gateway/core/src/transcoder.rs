//! The seam to the codecs: a stateful function from one format to another, on bytes.

use crate::{Format, MediaTime};

/// Input that is not of the transcoder's input format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// A packet that its codec refuses.
    #[error("undecodable packet of {bytes} bytes")]
    BadPacket {
        /// Size of the packet.
        bytes: usize,
    },
}

/// A stateful function from one [`Format`] to another. It keeps partial samples and filter history between pushes, so
/// that the total length out is exact whatever the sizes in.
pub trait Transcoder: Send {
    /// What [`push`](Self::push) takes.
    fn input(&self) -> Format;
    /// What it gives.
    fn output(&self) -> Format;
    /// Takes any number of bytes (for a codec with packets: one packet) and appends what is ready.
    ///
    /// # Errors
    /// [`CodecError`] when a packet is refused; state is as before, the caller conceals.
    fn push(&mut self, payload: &[u8], out: &mut Vec<u8>) -> Result<(), CodecError>;
    /// Appends what stands in for `lost` audio. `next` is the packet behind the gap, if it is there: it may carry a copy of
    /// what was lost (Opus: RFC 6716 §2.1.7). It is not taken by this; push it too.
    fn conceal(&mut self, lost: MediaTime, next: Option<&[u8]>, out: &mut Vec<u8>);
    /// Appends what is still held back (the algorithmic delay), and resets: the utterance is complete.
    fn finish(&mut self, out: &mut Vec<u8>);
    /// Where each packet ends, in bytes from the first that the last call appended. Nothing for an output without packets.
    fn packet_ends(&self) -> &[usize] {
        &[]
    }
    /// Of what is sent from now on, so many thousandths will be lost: a codec may spend bits on copies.
    fn expect_loss(&mut self, _permille: u16) {}
    /// Algorithmic delay between a sample in and the same sample out.
    fn latency(&self) -> MediaTime;
    /// Forgets all history: the next push starts fresh, without a click. At a cut.
    fn reset(&mut self);
}

/// Makes a transcoder for a pair of formats, or `None` when there is no such conversion.
pub type TranscoderFactory = fn(Format, Format) -> Option<Box<dyn Transcoder>>;
