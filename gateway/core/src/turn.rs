//! Who holds the floor, and the policy that decides an interruption.

use serde::{Deserialize, Serialize};

use crate::Event;

/// What interrupts the one who answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BargeIn {
    /// Speech, or a key.
    #[default]
    Speech,
    /// Only a key.
    Dtmf,
    /// Nothing.
    Off,
}

/// Who holds the floor: the one who asks may speak, the one who answers may owe an answer.
#[derive(Debug, Default)]
pub struct Turn {
    policy: BargeIn,
    speaking: bool,
    owed: bool,
    answering: bool,
}

impl Turn {
    /// Nobody has spoken yet.
    #[must_use]
    pub fn new(policy: BargeIn) -> Self {
        Self { policy, ..Self::default() }
    }

    /// Takes note of `event`, and tells whether it interrupts the answer.
    pub fn on_event(&mut self, event: &Event) -> bool {
        match event {
            Event::SpeechStarted => {
                self.speaking = true;
                self.owed = false;
                self.policy == BargeIn::Speech
            }
            Event::SpeechStopped => {
                self.speaking = false;
                self.owed = true;
                false
            }
            Event::ResponseStarted => {
                self.owed = false;
                self.answering = true;
                false
            }
            Event::ResponseEnded { .. } => {
                self.owed = false;
                self.answering = false;
                false
            }
            Event::DtmfReceived(_) => self.policy != BargeIn::Off,
            _ => false,
        }
    }

    /// An answer was asked for.
    pub fn ask(&mut self) {
        self.owed = true;
    }

    /// The one who answers was lost: who was speaking is unknown, what was owed is still owed.
    pub fn lost(&mut self) {
        self.owed |= self.answering;
        self.answering = false;
        self.speaking = false;
    }

    /// The answer was cut.
    pub fn cut(&mut self) {
        self.answering = false;
        self.owed = false;
    }

    /// Whether an answer is awaited or in progress.
    #[must_use]
    pub fn owes_answer(&self) -> bool {
        self.owed || self.answering
    }

    /// Whether nobody speaks and nothing is owed.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        !self.speaking && !self.owes_answer()
    }
}
