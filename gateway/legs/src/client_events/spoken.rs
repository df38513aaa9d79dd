//! [`Spoken`]: which of our utterances is which item of the client's.

use std::collections::VecDeque;

use patchbay_core::UtteranceId;
use serde::{Deserialize, Serialize};

/// Utterances remembered: what a client may still cut.
const SPOKEN_MAX: usize = 64;

/// What the realtime API calls an utterance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Names {
    #[serde(default)]
    pub(super) response_id: Box<str>,
    pub(super) item_id: Box<str>,
    #[serde(default)]
    pub(super) output_index: u32,
    #[serde(default)]
    pub(super) content_index: u32,
}

/// The item that the gateway's own words go by.
pub(super) const GATEWAYS_ITEM: &str = "item_pb_gateway";

/// What the gateway's own words go by: an announcement, an apology. They cannot be interrupted.
pub(super) fn gateways() -> Names {
    Names { response_id: "resp_pb_gateway".into(), item_id: GATEWAYS_ITEM.into(), ..Names::default() }
}

/// The utterances announced lately, oldest first.
#[derive(Debug, Default)]
pub(super) struct Spoken(VecDeque<(UtteranceId, Names)>);

impl Spoken {
    /// `utterance` goes by these names. The first that were announced count.
    pub(super) fn announce(&mut self, utterance: UtteranceId, names: Names) {
        if self.names(utterance).is_some() {
            return;
        }
        if self.0.len() == SPOKEN_MAX {
            self.0.pop_front();
        }
        self.0.push_back((utterance, names));
    }

    pub(super) fn names(&self, utterance: UtteranceId) -> Option<&Names> {
        self.0.iter().rev().find(|(known, _)| *known == utterance).map(|(_, names)| names)
    }

    pub(super) fn utterance(&self, item: &str, part: u32) -> Option<UtteranceId> {
        let is_it = |names: &Names| &*names.item_id == item && names.content_index == part;
        self.0.iter().rev().find(|(_, names)| is_it(names)).map(|(utterance, _)| *utterance)
    }
}
