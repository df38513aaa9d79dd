//! The directed edge between two legs: transcoder, then reframer. Pass-through is the normal case.

use bytes::Bytes;

use crate::reframe::Reframer;
use crate::{
    Caps, CodecError, Format, Frame, MediaTime, Pacing, Payload, Transcoder, TranscoderFactory, UtteranceId,
};

/// The longest frame towards a listener that we pace: how finely speech is cut.
const CHUNK_MAX: MediaTime = MediaTime::from_ms(100);

/// Two formats that nothing converts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no transcoder from {source_format} to {sink}")]
pub struct NoRoute {
    /// What comes in.
    pub source_format: Format,
    /// What is to go out.
    pub sink: Format,
}

/// Carries frames of one format to a peer that takes another, in the sizes that the peer takes.
pub struct Route {
    source: Format,
    sink: Format,
    transcoder: Option<Box<dyn Transcoder>>,
    /// Only towards a listener that we pace; live audio goes as it comes.
    reframer: Option<Reframer>,
    multiple: MediaTime,
    utterance: Option<UtteranceId>,
    pts: MediaTime,
    scratch: Vec<u8>,
}

impl Route {
    /// A route from `source` to a peer with `caps`.
    ///
    /// # Errors
    /// [`NoRoute`] when `factory` has no such transcoder.
    pub fn new(source: Format, caps: &Caps, factory: TranscoderFactory) -> Result<Self, NoRoute> {
        let sink = caps.egress;
        let transcoder = if source == sink {
            None
        } else {
            Some(factory(source, sink).ok_or(NoRoute { source_format: source, sink })?)
        };
        let reframer = matches!(caps.pacing, Pacing::Speech { .. })
            .then(|| Reframer::new(sink, caps.multiple, CHUNK_MAX));
        Ok(Self {
            source,
            sink,
            transcoder,
            reframer,
            multiple: caps.multiple,
            utterance: None,
            pts: MediaTime::ZERO,
            scratch: Vec::new(),
        })
    }

    /// What comes in.
    #[must_use]
    pub fn source(&self) -> Format {
        self.source
    }

    /// What goes out.
    #[must_use]
    pub fn sink(&self) -> Format {
        self.sink
    }

    /// Carries one frame; `give` gets what is ready.
    ///
    /// # Errors
    /// [`CodecError`]: the frame is lost, the route carries on.
    pub fn push(&mut self, frame: Frame, mut give: impl FnMut(Frame)) -> Result<(), CodecError> {
        if self.utterance != frame.utterance {
            self.finish(&mut give);
            (self.utterance, self.pts) = (frame.utterance, frame.pts);
        }
        if self.passes_whole(&frame) {
            self.pts = frame.end();
            give(frame);
            return Ok(());
        }
        let raw = frame.payload.to_raw();
        let Some(transcoder) = &mut self.transcoder else {
            self.reframe(raw, &mut give);
            return Ok(());
        };
        self.scratch.clear();
        transcoder.push(&raw, &mut self.scratch)?;
        self.give_transcoded(&mut give);
        Ok(())
    }

    /// Carries what stands in for live audio that will not come; `next` is the packet behind the gap. Where packets pass
    /// as they are, the gap passes too: the next one's place in time tells of it.
    pub fn conceal(&mut self, span: MediaTime, next: Option<&[u8]>, mut give: impl FnMut(Frame)) {
        if let Some(transcoder) = &mut self.transcoder {
            self.scratch.clear();
            transcoder.conceal(span, next, &mut self.scratch);
            self.give_transcoded(&mut give);
        } else if let Some(bytes) = self.sink.bytes_for(span) {
            self.reframe(vec![self.sink.silence(); bytes].into(), &mut give);
        } else {
            self.pts += span;
        }
    }

    /// So much of what goes out will be lost.
    pub fn expect_loss(&mut self, permille: u16) {
        if let Some(transcoder) = &mut self.transcoder {
            transcoder.expect_loss(permille);
        }
    }

    /// The utterance is complete: `give` gets what is held, filled up with silence.
    pub fn finish(&mut self, mut give: impl FnMut(Frame)) {
        if let Some(transcoder) = &mut self.transcoder
            && self.utterance.is_some()
        {
            self.scratch.clear();
            transcoder.finish(&mut self.scratch);
            self.give_transcoded(&mut give);
        }
        if let Some(reframer) = &mut self.reframer {
            let stamp = &mut Stamp { format: self.sink, utterance: self.utterance, pts: &mut self.pts };
            reframer.finish(|chunk| give(stamp.frame(chunk)));
        }
        self.utterance = None;
    }

    /// Forgets what is held: the speech was cut.
    pub fn reset(&mut self) {
        if let Some(transcoder) = &mut self.transcoder {
            transcoder.reset();
        }
        if let Some(reframer) = &mut self.reframer {
            reframer.reset();
        }
        self.utterance = None;
    }

    /// How much later a sample leaves than it came.
    #[must_use]
    pub fn latency(&self) -> MediaTime {
        self.transcoder.as_ref().map_or(MediaTime::ZERO, |t| t.latency())
    }

    /// Whether the frame can go on untouched, still in base64 if it came so.
    fn passes_whole(&self, frame: &Frame) -> bool {
        self.transcoder.is_none()
            && self.reframer.as_ref().is_none_or(|reframer| {
                reframer.held().is_zero()
                    && frame.duration <= CHUNK_MAX
                    && !frame.duration.is_zero()
                    && frame.duration.ticks().is_multiple_of(self.multiple.ticks().max(1))
                    && frame.format.bytes_for(frame.duration).is_none_or(|whole| whole == frame.payload.len())
            })
    }

    /// What the transcoder wrote: each packet is a frame, what has no packets is cut to size.
    fn give_transcoded(&mut self, give: &mut impl FnMut(Frame)) {
        if self.sink.sample_bytes().is_some() {
            return self.reframe(Bytes::copy_from_slice(&self.scratch), give);
        }
        let ends = self.transcoder.as_ref().map_or(&[][..], |transcoder| transcoder.packet_ends());
        let stamp = &mut Stamp { format: self.sink, utterance: self.utterance, pts: &mut self.pts };
        let mut start = 0;
        for &end in ends {
            give(stamp.frame(Bytes::copy_from_slice(&self.scratch[start..end])));
            start = end;
        }
    }

    fn reframe(&mut self, audio: Bytes, give: &mut impl FnMut(Frame)) {
        let stamp = &mut Stamp { format: self.sink, utterance: self.utterance, pts: &mut self.pts };
        match &mut self.reframer {
            Some(reframer) => reframer.push(audio, |chunk| give(stamp.frame(chunk))),
            None if audio.is_empty() => {}
            None => give(stamp.frame(audio)),
        }
    }
}

/// Numbers the chunks of one utterance.
struct Stamp<'a> {
    format: Format,
    utterance: Option<UtteranceId>,
    pts: &'a mut MediaTime,
}

impl Stamp<'_> {
    fn frame(&mut self, chunk: Bytes) -> Frame {
        let frame =
            Frame { utterance: self.utterance, ..Frame::live(self.format, Payload::Raw(chunk), *self.pts) };
        *self.pts = frame.end();
        frame
    }
}
