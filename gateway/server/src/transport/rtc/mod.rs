//! WebRTC's transport: ICE-lite, DTLS, SRTP and SCTP of every call over one UDP port and one TCP port. What a call gets of it are
//! packets and texts (`Wire::Packet`, `Wire::Text`), see ADR 0009.

mod demux;
mod gate;
mod offer;
mod port;
mod quality;
mod stream;
mod stun;

pub use gate::{Gate, GateSpec};
pub use offer::{Answer, OfferError};
pub use port::RtcPort;
