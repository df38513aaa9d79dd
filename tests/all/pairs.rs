//! Every caller with everybody who answers: real speech both ways, one interruption, and a hang-up from either side.

use std::time::Duration;

use bytes::Bytes;
use patchbay::cli::call::place;
use patchbay::cli::peer::{PeerPlan, talk};
use patchbay::cli::wav;
use patchbay_codec::transcoder;
use patchbay_core::{Format, MediaTime};
use patchbay_sim::browser::{BrowserDouble, Config, Step};
use patchbay_sim::realtime::{Say, Script, Turn};
use patchbay_sim::twilio::Ending;

use crate::bot_twilio::ulaw_of;
use crate::script_bot::{BotLog, BotPlan, BotServer};
use crate::speech;
use crate::stage::{Stage, ulaw, wav_path};
use crate::webrtc::{as_samples, pcm_48k, share};

const KEY: &str = "pbk_0123456789abcdef0123456789abcdef";
const VARIABLES: &[(&str, &str)] = &[("BOT_TOKEN", "t"), ("PATCHBAY__TENANTS__DEFAULT__API_KEY", KEY)];
const FIRST: &str = "caller-short.wav";
const SECOND: &str = "caller-barge-in.wav";

#[derive(Clone, Copy, Debug, PartialEq)]
enum Caller {
    Phone,
    BrowserWs,
    WebRtc,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Callee {
    Realtime,
    Parrot,
    TwilioBot,
}

/// What the caller heard, at 8 kHz, and how it went.
struct Heard {
    samples: Vec<f64>,
    /// Whether it was told that somebody was interrupted, where it is told.
    is_cut: bool,
    /// Whether the gateway ended it.
    is_ended: bool,
}

impl Callee {
    /// What it says first and is interrupted in, and what it says then.
    fn speech(self) -> (&'static str, &'static str) {
        match self {
            Self::Realtime | Self::TwilioBot => ("model-long.wav", "model-answer.wav"),
            Self::Parrot => (FIRST, SECOND),
        }
    }

    async fn set(self, hangs_up: bool) -> (Stage, Option<BotServer>) {
        let (first, second) = self.speech();
        match self {
            Self::Realtime => {
                let turn = |name| {
                    let pcm = wav::read_l16_24k(&wav_path(name)).unwrap();
                    Turn::Say(vec![Say::audio(name, pcm)])
                };
                let script = Script { turns: vec![turn(first), turn(second)], ..Script::default() };
                let file = "[tenants.default.routes.default]\ngreeting = \"\"\n";
                (Stage::set_with(script, file, VARIABLES).await, None)
            }
            Self::Parrot => {
                let file = "[providers.parrot]\nkind = \"parrot\"\n[tenants.default.routes.default]\n\
                            provider = \"parrot\"\ngreeting = \"\"\n";
                (Stage::set_with(Script::default(), file, VARIABLES).await, None)
            }
            Self::TwilioBot => {
                let (says, hangs_up_after) = (vec![ulaw_of(first), ulaw_of(second)], hangs_up.then_some(2));
                let bot = BotServer::open(BotPlan { says, hangs_up_after, ..BotPlan::default() }).await;
                (Stage::set_with(Script::default(), &bot.config(), VARIABLES).await, Some(bot))
            }
        }
    }

    /// What it heard, at 8 kHz.
    async fn heard(self, caller: Caller, stage: Stage, bot: Option<BotServer>) -> Option<Vec<f64>> {
        let log: Option<BotLog> = match bot {
            Some(mut bot) => Some(bot.ended().await),
            None => None,
        };
        let ledgers = stage.clear().await;
        if let Some(log) = log {
            assert_eq!(log.faults, Vec::<String>::new());
            assert!(log.closed.is_some() && log.cleared_at.is_some(), "{log:?}");
            return Some(speech::samples(&log.heard));
        }
        let ledger = ledgers.first()?;
        assert_eq!(ledger.errors, Vec::<String>::new());
        if caller == Caller::Phone {
            return Some(speech::samples(&ledger.appended));
        }
        let mut pcm = Vec::new();
        transcoder(Format::L16_24K, Format::L16_8K).unwrap().push(&ledger.appended, &mut pcm).unwrap();
        Some(as_samples(&pcm))
    }
}

impl Caller {
    /// Says one thing, hears the answer begin, interrupts it, and hears the second answer.
    async fn call(self, stage: &Stage) -> Heard {
        match self {
            Self::Phone => {
                let mut caller = stage.caller(FIRST);
                (caller.greeting_ms, caller.barge_in) = (100, Some((1_500, ulaw(SECOND))));
                let report = place(&caller, |_| ()).await.unwrap();
                assert_eq!(report.invalid, 0);
                let is_ended = matches!(report.ending, Some(Ending::Closed { .. }));
                Heard { samples: speech::samples(&report.heard), is_cut: report.clears > 0, is_ended }
            }
            Self::BrowserWs => {
                let steps = vec![
                    Step::Wait(Duration::from_millis(300)),
                    Step::Say(pcm_24k(FIRST)),
                    Step::Heard(MediaTime::from_ms(1_500)),
                    Step::Say(pcm_24k(SECOND)),
                    Step::Answered(2),
                    Step::Wait(Duration::from_secs(2)),
                    Step::Close(1000),
                ];
                let double = BrowserDouble::new(Config::default(), steps);
                let bearer = format!("Bearer {KEY}");
                let headers = [("authorization", &*bearer)];
                let double = stage.converse("/v1/realtime", &headers, double).await.unwrap();
                assert_eq!(double.faults(), Vec::<String>::new());
                let all: Vec<u8> = double.items().iter().flat_map(|(_, item)| item.audio.clone()).collect();
                let mut pcm = Vec::new();
                transcoder(Format::L16_24K, Format::L16_8K).unwrap().push(&all, &mut pcm).unwrap();
                let is_cut = double.items()[0].1.cut_ms.is_some();
                Heard { samples: as_samples(&pcm), is_cut, is_ended: double.closed_with().is_some() }
            }
            Self::WebRtc => {
                let pause = vec![0; 48_000 * 2 * 2];
                let says = [pcm_48k(FIRST), pause.into(), pcm_48k(SECOND)].concat();
                let plan = PeerPlan::new(stage.public(), says.into(), Duration::from_secs(18));
                let report = talk(&PeerPlan { key: Some(KEY.into()), ..plan }).await.unwrap();
                Heard { samples: as_samples(&report.heard), is_cut: true, is_ended: report.was_closed }
            }
        }
    }
}

fn pcm_24k(name: &str) -> Bytes {
    let mut pcm = Vec::new();
    transcoder(Format::PCMU, Format::L16_24K).unwrap().push(&ulaw(name), &mut pcm).unwrap();
    pcm.into()
}

/// What came of one pair: what the caller heard, and what whoever answered heard, if that is kept.
struct Talked {
    heard: Heard,
    reached: Option<Vec<f64>>,
}

/// One pair, from the first word to the hang-up.
async fn pair(caller: Caller, callee: Callee, callee_hangs_up: bool) -> Talked {
    let (stage, bot) = callee.set(callee_hangs_up).await;
    let heard = caller.call(&stage).await;
    Talked { heard, reached: callee.heard(caller, stage, bot).await }
}

fn check(caller: Caller, callee: Callee, callee_hangs_up: bool, talked: &Talked) {
    let Talked { heard, reached } = talked;
    let (first, second) = callee.speech();
    let name = format!("{caller:?} and {callee:?}");
    let beginning = &speech::fixture(first)[..12_000];
    assert!(share(beginning, &heard.samples) > 0.6, "{name}: the answer did not begin");
    assert!(share(&speech::fixture(second), &heard.samples) > 0.6, "{name}: nothing after the interruption");
    if first == "model-long.wav" && caller != Caller::BrowserWs {
        // A client of the realtime API is sent all of an answer at once, and says itself how much it played.
        let whole = share(&speech::fixture(first), &heard.samples);
        assert!(whole < 0.6, "{name}: it was not interrupted: {whole}");
    }
    assert!(heard.is_cut, "{name}: the interruption was not told");
    assert_eq!(heard.is_ended, callee_hangs_up, "{name}: who hung up?");
    if let Some(reached) = reached {
        assert!(share(&speech::fixture(FIRST), reached) > 0.6, "{name}: the caller was not heard");
        assert!(share(&speech::fixture(SECOND), reached) > 0.5, "{name}: the interruption was not heard");
    }
}

/// Who answers, and whether they hang up. A model and the parrot never do: a provider that closes is dialled again.
const TABLE: &[(Callee, bool)] = &[
    (Callee::Realtime, false),
    (Callee::Parrot, false),
    (Callee::TwilioBot, false),
    (Callee::TwilioBot, true),
];

/// All that `caller` may reach, at the same time; looked at when nobody speaks any more.
async fn with_everybody(caller: Caller) {
    let calls: Vec<_> = TABLE.iter().map(|&(callee, end)| tokio::spawn(pair(caller, callee, end))).collect();
    let mut talked = Vec::new();
    for call in calls {
        talked.push(call.await.unwrap());
    }
    for (&(callee, end), talked) in TABLE.iter().zip(&talked) {
        check(caller, callee, end, talked);
    }
}

#[tokio::test]
async fn a_phone_with_everybody_who_answers() {
    with_everybody(Caller::Phone).await;
}

#[tokio::test]
async fn a_browser_by_websocket_with_everybody_who_answers() {
    with_everybody(Caller::BrowserWs).await;
}

#[tokio::test]
async fn a_browser_by_webrtc_with_everybody_who_answers() {
    with_everybody(Caller::WebRtc).await;
}
