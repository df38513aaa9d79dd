//! A call is deterministic: its inputs with their times give its outputs. So it can be recorded, and replayed bit for
//! bit.

use serde::{Deserialize, Serialize};

use crate::{Call, Input, Instant, Output};

/// One line of a recording: an input, or an output that it caused. Timeouts are inputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Recorded {
    /// Handed to the call.
    In {
        /// When.
        at: Instant,
        /// What.
        input: Input,
    },
    /// Written by the call, in answer to the last input.
    Out {
        /// What.
        output: Output,
    },
}

/// The first output that differs.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("line {line}: the recording has {recorded:?}, the replay gives {replayed:?}")]
pub struct Difference {
    /// Line of the recording, from 1, where they part.
    pub line: usize,
    /// What the recording says; nothing when the replay gives more.
    pub recorded: Option<Output>,
    /// What the replay gives; nothing when it gives less.
    pub replayed: Option<Output>,
}

/// Feeds the recorded inputs to `call` and compares its outputs with the recorded ones. Lines are numbered from
/// `first_line`.
///
/// # Errors
/// [`Difference`] at the first output that is not the same.
pub fn replay(
    call: &mut Call,
    lines: impl IntoIterator<Item = Recorded>,
    first_line: usize,
) -> Result<(), Box<Difference>> {
    let mut outputs = Vec::new();
    let mut expected = std::collections::VecDeque::new();
    let mut at_line = first_line;
    for (line, recorded) in lines.into_iter().enumerate() {
        at_line = first_line + line;
        match recorded {
            Recorded::In { at, input } => {
                compare(&mut expected, None, at_line)?;
                outputs.clear();
                call.handle(input, at, &mut outputs);
                expected.extend(outputs.drain(..).filter(is_recorded));
            }
            Recorded::Out { output } => compare(&mut expected, Some(output), at_line)?,
        }
    }
    compare(&mut expected, None, at_line + 1)
}

/// Whether an output stands in a recording. What a leg said, and what was heard, follows from the input.
#[must_use]
pub fn is_recorded(output: &Output) -> bool {
    !matches!(output, Output::Event { .. } | Output::Tap(_))
}

fn compare(
    replayed: &mut std::collections::VecDeque<Output>,
    recorded: Option<Output>,
    line: usize,
) -> Result<(), Box<Difference>> {
    let replayed = replayed.pop_front();
    if replayed == recorded { Ok(()) } else { Err(Box::new(Difference { line, recorded, replayed })) }
}
