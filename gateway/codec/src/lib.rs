//! Transcoders without IO: G.711, resampling, reframing. One codec, one file, its specification in its first line.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]
