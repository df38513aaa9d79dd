//! Samples and nothing else: whole ones are given on, in pieces of at most 20 ms.

use bytes::BytesMut;
use patchbay_core::{Format, MediaTime};

use super::Unit;

/// Reads samples.
#[derive(Debug)]
pub struct Reader {
    format: Format,
    /// Half a sample.
    held: BytesMut,
}

impl Reader {
    pub(super) fn new(format: Format) -> Self {
        Self { format, held: BytesMut::new() }
    }

    pub(super) fn push(&mut self, bytes: &[u8], give: &mut impl FnMut(Unit)) {
        let sample = self.format.sample_bytes().unwrap_or(1);
        let piece = self.format.bytes_for(MediaTime::FRAME).unwrap_or(sample);
        self.held.extend_from_slice(bytes);
        let whole = self.held.len() - self.held.len() % sample;
        let mut samples = self.held.split_to(whole).freeze();
        while !samples.is_empty() {
            let audio = samples.split_to(piece.min(samples.len()));
            give(Unit { number: None, audio });
        }
        // What is held must not keep the message alive that it came in.
        self.held = BytesMut::from(&self.held[..]);
    }

    pub(super) fn held(&self) -> usize {
        self.held.len()
    }
}

pub(super) fn silence(format: Format, out: &mut BytesMut) {
    let bytes = format.bytes_for(MediaTime::FRAME).unwrap_or_default();
    out.resize(out.len() + bytes, format.silence());
}
