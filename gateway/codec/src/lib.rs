//! Transcoders without IO: G.711 and resampling. One codec, one file, its specification in its first line.
//!
//! [`transcoder`] is the way in. A [`Conversion`] is made of a codec on each side ([`g711`], little-endian PCM16), a
//! [`Resampler`] when the rates differ, and a fade for what was lost. Cutting into frames is
//! `patchbay_core::Reframer`.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod conceal;
pub mod g711;
#[cfg(test)]
mod levels;
mod opus;
mod passthrough;
mod resample;
mod samples;
mod transcode;

pub use opus::{BITRATE, COMPLEXITY, OpusDecoding, OpusEncoding};
pub use passthrough::Passthrough;
pub use resample::Resampler;
pub use transcode::{Conversion, transcoder};
