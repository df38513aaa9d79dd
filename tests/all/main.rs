//! Everything that takes more than one crate to test, in one binary: the shape of the house, other people's
//! implementations beside ours, and calls over real sockets.

mod architecture;
mod house;
mod speech;
