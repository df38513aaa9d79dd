use super::*;
use patchbay_core::{Codec, Frame, Packet, Payload, UtteranceId};

const FRAME: usize = 160;

struct Stage {
    bot: Bot,
    now: Instant,
    out: Outbox,
}

impl Stage {
    fn new(config: Config) -> Self {
        let media = Media { ingress: Format::PCMU, egress: Format::PCMU };
        let mut stage = Self { bot: Bot::new(config, media), now: Instant::ZERO, out: Outbox::default() };
        stage.wire(Wire::Opened);
        stage.out = Outbox::default();
        stage
    }

    fn wire(&mut self, wire: Wire) {
        self.bot.on_wire(wire, self.now, &mut self.out).unwrap();
    }

    fn text(&mut self, text: &str) {
        self.wire(Wire::Text(Bytes::copy_from_slice(text.as_bytes())));
    }

    fn says(&mut self, frames: usize) {
        (0..frames).for_each(|_| self.wire(Wire::Binary(vec![0x55; FRAME].into())));
    }

    fn command(&mut self, command: Command) {
        self.bot.on_command(command, self.now, &mut self.out).unwrap();
    }

    fn pass(&mut self, ms: u64) {
        let end = self.now + Duration::from_millis(ms);
        while let Some(at) = self.bot.poll_timeout().filter(|at| *at <= end) {
            self.now = at;
            self.bot.on_timeout(at, &mut self.out).unwrap();
        }
        self.now = end;
    }

    /// The utterances of the audio received since the last question.
    fn heard(&mut self) -> Vec<u32> {
        let events = std::mem::take(&mut self.out.events);
        let frames = events.into_iter().filter_map(|event| match event {
            Event::AudioReceived(frame) => frame.utterance.map(|utterance| utterance.0),
            _ => None,
        });
        frames.collect()
    }

    fn told(&mut self) -> Vec<String> {
        let wires = std::mem::take(&mut self.out.wires);
        let texts = wires.into_iter().filter_map(|wire| match wire {
            Wire::Text(text) => Some(String::from_utf8(text.to_vec()).unwrap()),
            _ => None,
        });
        texts.collect()
    }
}

fn cut(utterance: u32, heard_ms: u64) -> Command {
    let heard = MediaTime::from_ms(heard_ms);
    Command::Truncate(patchbay_core::Cut { utterance: UtteranceId(utterance), heard, sent: heard, received: heard })
}

#[test]
fn a_pause_ends_an_utterance_and_a_burst_that_still_plays_does_not() {
    let mut stage = Stage::new(Config::default());
    stage.says(50);
    stage.pass(900);
    stage.says(1);
    assert_eq!(stage.heard(), [0; 51], "one second was sent at once: it plays on");
    stage.pass(400);
    stage.says(1);
    assert_eq!(stage.heard(), [1]);
}

#[test]
fn a_mark_is_told_when_all_before_it_was_heard_and_never_after_a_clear() {
    let mut stage = Stage::new(Config::default());
    stage.says(5);
    stage.text(r#"{"type":"mark","name":"a"}"#);
    stage.says(5);
    stage.text(r#"{"type":"mark","name":"b"}"#);
    let placed = |event: &Event| matches!(event, Event::MarkPlaced(_));
    assert_eq!(stage.out.events.iter().filter(|event| placed(event)).count(), 2);
    assert_eq!(stage.heard(), [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]);
    assert!(stage.told().is_empty());
    stage.command(Command::EchoMark { mark: 0, played: true });
    assert_eq!(stage.told(), [r#"{"name":"a","type":"mark"}"#]);
    stage.text(r#"{"type":"clear"}"#);
    stage.command(Command::EchoMark { mark: 1, played: false });
    assert!(stage.told().is_empty());
}

#[test]
fn a_clear_withdraws_and_what_was_heard_is_told_once() {
    let mut stage = Stage::new(Config::default());
    stage.says(50);
    stage.text(r#"{"type":"clear"}"#);
    let events = std::mem::take(&mut stage.out.events);
    assert!(events.contains(&Event::Withdrawn));
    stage.command(Command::Cancel);
    stage.command(cut(0, 120));
    assert_eq!(stage.told(), [r#"{"heard_ms":120,"type":"cleared"}"#]);
    stage.says(1);
    assert_eq!(stage.heard(), [1], "what it says next is heard at once");
    stage.pass(1_000);
    assert!(stage.told().is_empty());
    stage.text(r#"{"type":"speech_started"}"#);
    stage.pass(500);
    assert_eq!(stage.told(), [r#"{"heard_ms":0,"type":"cleared"}"#], "it waits for an answer, and gets one");
}

#[test]
fn after_the_callers_interruption_the_rest_of_a_stream_is_muted_for_a_second_and_an_answer_is_not() {
    let mut stage = Stage::new(Config::default());
    let mut heard = 0;
    for n in 0..100 {
        stage.says(1);
        if n == 25 {
            stage.command(Command::Press('1'));
            stage.command(Command::Cancel);
            stage.command(cut(0, 300));
        }
        stage.pass(20);
        heard += stage.heard().len();
    }
    assert_eq!(heard, 26 + 25, "a stream without pause is back after a second");
    assert_eq!(stage.told(), [r#"{"digit":"1","type":"dtmf"}"#, r#"{"heard_ms":300,"type":"cleared"}"#]);
    stage.pass(300);
    stage.says(50);
    stage.pass(250);
    stage.command(Command::Cancel);
    stage.says(1);
    assert_eq!(stage.heard().last(), Some(&3), "it had paused: this is an answer");
}

#[test]
fn formats_may_be_agreed_before_it_is_up_and_changed_after() {
    let media = Media { ingress: Format::PCMU, egress: Format::PCMU };
    let mut stage = Stage { bot: Bot::new(Config::default(), media), now: Instant::ZERO, out: Outbox::default() };
    stage.text(r#"{"type":"audio","receive":"audio/opus","send":"audio/pcm;rate=24000"}"#);
    stage.wire(Wire::Opened);
    assert_eq!(stage.out.events, [Event::LegUp]);
    let caps = stage.bot.caps();
    assert_eq!((caps.egress, caps.ingress), (Format::OPUS, Format::L16_24K));
    stage.text(r#"{"type":"audio","receive":"audio/opus"}"#);
    stage.text(r#"{"type":"audio","send":"audio/opus"}"#);
    assert_eq!(stage.out.events[1..], [Event::Renegotiated]);
    stage.wire(Wire::Binary(vec![9 << 3, 1, 2].into()));
    assert_eq!(stage.heard(), [0]);
}

#[test]
fn a_hole_in_the_callers_audio_is_a_hole_in_time_and_none_in_the_numbers() {
    let mut stage = Stage::new(Config::default());
    for pts_ms in [0, 20, 100, 120] {
        let payload = Payload::Raw(vec![0xFF; FRAME].into());
        stage.command(Command::Play(Frame::live(Format::PCMU, payload, MediaTime::from_ms(pts_ms))));
    }
    let packets = stage.out.wires.iter().map(|wire| match wire {
        Wire::Packet(Packet { codec: Codec::Pcmu, seq, time, .. }) => (*seq, *time),
        other => panic!("{other:?}"),
    });
    assert_eq!(packets.collect::<Vec<_>>(), [(0, 0), (1, 160), (2, 800), (3, 960)]);
}

#[test]
fn a_bot_that_nobody_answers_for_is_given_up_at_once_and_one_that_is_lost_is_sought_again() {
    let media = Media { ingress: Format::PCMU, egress: Format::PCMU };
    let down = |wire: Wire, is_up: bool| {
        let mut bot = Bot::new(Config::default(), media);
        let mut out = Outbox::default();
        if is_up {
            bot.on_wire(Wire::Opened, Instant::ZERO, &mut out).unwrap();
        }
        bot.on_wire(wire, Instant::ZERO, &mut out).unwrap();
        out.events.split_off(out.events.len() - 1 - usize::from(is_up))
    };
    let refused = down(Wire::Refused(Refusal::Timeout), false);
    let fatal = Down::Fatal { fault: Fault::PeerLost, code: "bot_unavailable".into() };
    assert_eq!(refused, [Event::LegDown(fatal)]);
    let lost = down(Wire::Close { code: 1006, reason: "".into() }, true);
    assert_eq!(lost, [Event::ResponseStarted, Event::LegDown(Down::Lost { code: 1006 })]);
}

#[test]
fn nonsense_is_counted_and_too_much_of_it_ends_the_leg() {
    let mut stage = Stage::new(Config::default());
    for text in ["{", r#"{"type":"x"}"#, r#"{"type":"dtmf","digits":"12e"}"#, r#"{"type":"mark"}"#] {
        stage.text(text);
        assert!(matches!(stage.out.events.pop(), Some(Event::MessageDropped { .. })), "{text}");
    }
    let text = Wire::Text("{".into());
    let failed = (0..60).any(|_| stage.bot.on_wire(text.clone(), stage.now, &mut stage.out).is_err());
    assert!(failed);
}
