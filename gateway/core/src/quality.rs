//! [`Quality`]: how well the network carries a leg's media.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What RTCP reports say of the last second or so (RFC 3550 §6.4). Absent where nothing was reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quality {
    /// Of what the peer sent, lost on its way to us: thousandths.
    pub ingress_loss_permille: Option<u16>,
    /// Of what we sent, lost on its way to the peer: thousandths.
    pub egress_loss_permille: Option<u16>,
    /// How unevenly the peer's packets come.
    pub ingress_jitter: Option<Duration>,
    /// How unevenly ours come to the peer.
    pub egress_jitter: Option<Duration>,
    /// To the peer and back.
    pub round_trip: Option<Duration>,
}
