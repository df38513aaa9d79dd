//! Server events as flat structs; only the fields that this leg reads. Names of GA and beta are one [`Kind`].

use serde::Deserialize;

/// Any server event. Fields that its kind does not have are absent.
#[derive(Debug, Deserialize)]
pub(super) struct ServerEvent {
    #[serde(rename = "type")]
    pub(super) name: Box<str>,
    pub(super) item_id: Option<Box<str>>,
    pub(super) response_id: Option<Box<str>>,
    pub(super) output_index: Option<u32>,
    pub(super) content_index: Option<u32>,
    pub(super) delta: Option<Box<str>>,
    pub(super) transcript: Option<Box<str>>,
    pub(super) text: Option<Box<str>>,
    pub(super) item: Option<Item>,
    pub(super) response: Option<Response>,
    pub(super) session: Option<Named>,
    pub(super) error: Option<PeerError>,
    pub(super) usage: Option<TranscriptionUsage>,
}

/// A session, of which only the id is read.
#[derive(Debug, Deserialize)]
pub(super) struct Named {
    pub(super) id: Option<Box<str>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Item {
    pub(super) id: Option<Box<str>>,
    #[serde(rename = "type")]
    pub(super) kind: Option<Box<str>>,
    pub(super) role: Option<Box<str>>,
    #[serde(default)]
    pub(super) content: Vec<Content>,
}

/// A part of an item, of which only text is read.
#[derive(Debug, Deserialize)]
pub(super) struct Content {
    #[serde(rename = "type")]
    pub(super) kind: Box<str>,
    pub(super) text: Option<Box<str>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Response {
    pub(super) id: Option<Box<str>>,
    pub(super) status: Option<Box<str>>,
    pub(super) status_details: Option<StatusDetails>,
    pub(super) usage: Option<ResponseUsage>,
    /// Whether it belongs to the conversation: null when it stands aside.
    #[serde(default, deserialize_with = "is_null")]
    pub(super) conversation_id: bool,
}

/// Told apart from an absent one, which says nothing.
fn is_null<'de, D: serde::Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
    Ok(Option::<serde::de::IgnoredAny>::deserialize(from)?.is_none())
}

#[derive(Debug, Deserialize)]
pub(super) struct StatusDetails {
    pub(super) error: Option<PeerError>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct PeerError {
    #[serde(rename = "type")]
    pub(super) kind: Option<Box<str>>,
    pub(super) code: Option<Box<str>>,
    pub(super) event_id: Option<Box<str>>,
}

/// Usage of a response (N755 `RealtimeResponseUsage`).
#[derive(Debug, Default, Deserialize)]
pub(super) struct ResponseUsage {
    #[serde(default)]
    pub(super) input_token_details: Option<InputTokens>,
    #[serde(default)]
    pub(super) output_token_details: Option<Tokens>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct InputTokens {
    pub(super) text_tokens: Option<u64>,
    pub(super) audio_tokens: Option<u64>,
    pub(super) cached_tokens_details: Option<Tokens>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Tokens {
    pub(super) text_tokens: Option<u64>,
    pub(super) audio_tokens: Option<u64>,
}

/// Usage of an input transcription: by tokens or by time.
#[derive(Debug, Default, Deserialize)]
pub(super) struct TranscriptionUsage {
    pub(super) seconds: Option<f64>,
    pub(super) output_tokens: Option<u64>,
    pub(super) input_token_details: Option<Tokens>,
}

/// Whether a transcript event brings the next piece or the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    Next,
    Whole,
}

/// What a server event means to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Updated,
    SpeechStarted,
    SpeechStopped,
    Committed,
    ItemAdded,
    CallerSaid(Piece),
    ResponseCreated,
    Audio,
    AudioDone,
    ModelSaid(Piece),
    ResponseDone,
    Error,
    /// Known, and of no consequence here; of a response, so that it shows that the response lives.
    OfResponse,
    /// Known, and of no consequence here.
    Ignored,
    Unknown,
}

impl Kind {
    /// By the event's name; GA, beta and legacy names alike.
    pub(super) fn of(name: &str) -> Self {
        match name {
            "session.updated" => Self::Updated,
            "input_audio_buffer.speech_started" => Self::SpeechStarted,
            "input_audio_buffer.speech_stopped" => Self::SpeechStopped,
            "input_audio_buffer.committed" => Self::Committed,
            "conversation.item.added" | "conversation.item.created" => Self::ItemAdded,
            "conversation.item.input_audio_transcription.delta" => Self::CallerSaid(Piece::Next),
            "conversation.item.input_audio_transcription.completed" => Self::CallerSaid(Piece::Whole),
            "response.created" => Self::ResponseCreated,
            "response.output_audio.delta" | "response.audio.delta" => Self::Audio,
            "response.output_audio.done" | "response.audio.done" => Self::AudioDone,
            "response.output_audio_transcript.delta"
            | "response.audio_transcript.delta"
            | "response.output_text.delta"
            | "response.text.delta" => Self::ModelSaid(Piece::Next),
            "response.output_audio_transcript.done"
            | "response.audio_transcript.done"
            | "response.output_text.done"
            | "response.text.done" => Self::ModelSaid(Piece::Whole),
            "response.done" => Self::ResponseDone,
            "error" => Self::Error,
            _ => Self::without_consequence(name),
        }
    }

    fn without_consequence(name: &str) -> Self {
        match name {
            "response.output_item.added"
            | "response.output_item.done"
            | "response.content_part.added"
            | "response.content_part.done"
            | "response.function_call_arguments.delta"
            | "response.function_call_arguments.done"
            | "response.mcp_call_arguments.delta"
            | "response.mcp_call_arguments.done"
            | "response.mcp_call.in_progress"
            | "response.mcp_call.completed"
            | "response.mcp_call.failed" => Self::OfResponse,
            "session.created"
            | "conversation.created"
            | "conversation.item.done"
            | "conversation.item.retrieved"
            | "conversation.item.deleted"
            | "conversation.item.truncated"
            | "conversation.item.input_audio_transcription.failed"
            | "conversation.item.input_audio_transcription.segment"
            | "input_audio_buffer.cleared"
            | "input_audio_buffer.timeout_triggered"
            | "input_audio_buffer.dtmf_event_received"
            | "output_audio_buffer.started"
            | "output_audio_buffer.stopped"
            | "output_audio_buffer.cleared"
            | "mcp_list_tools.in_progress"
            | "mcp_list_tools.completed"
            | "mcp_list_tools.failed"
            | "rate_limits.updated"
            | "ping" => Self::Ignored,
            _ => Self::Unknown,
        }
    }
}
