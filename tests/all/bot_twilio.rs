//! Bots that were written for Twilio: phones and browsers reach them through the gateway, over real sockets.

use std::time::Duration;

use patchbay::api::twilio::signature::{Signed, verify};
use patchbay::cli::call::{Report, place};
use patchbay::cli::wav;
use patchbay_codec::transcoder;
use patchbay_core::{Format, MediaTime};
use patchbay_sim::browser::{BrowserDouble, Config, Step};
use patchbay_sim::realtime::Script;
use patchbay_sim::twilio::Ending;
use serde_json::json;
use tokio::net::TcpListener;

use crate::script_bot::{BotPlan, BotServer};
use crate::speech::{self, Match};
use crate::stage::{Stage, model_that_says, ulaw, wav_path};

const KEY: &str = "a-gateway-key-of-this-test-alone";
const TOKEN: &str = "the-bots-own-token";
const VARIABLES: &[(&str, &str)] = &[("BOT_TOKEN", TOKEN), ("PATCHBAY__TENANTS__DEFAULT__API_KEY", KEY)];

/// A fixture as a bot at Twilio has it.
pub(crate) fn ulaw_of(name: &str) -> bytes::Bytes {
    let pcm = wav::read_l16_24k(&wav_path(name)).expect("a fixture is a WAV");
    let mut ulaw = Vec::new();
    transcoder(Format::L16_24K, Format::PCMU).unwrap().push(&pcm, &mut ulaw).unwrap();
    ulaw.into()
}

fn says(names: &[&str]) -> BotPlan {
    BotPlan { says: names.iter().map(|name| ulaw_of(name)).collect(), ..BotPlan::default() }
}

async fn stage(bot: &BotServer) -> Stage {
    Stage::set_with(Script::default(), &bot.config(), VARIABLES).await
}

fn heard(fixture: &str, ulaw: &[u8]) -> Match {
    speech::find(&speech::fixture(fixture), &speech::samples(ulaw))
}

async fn call(stage: &Stage, says: &str) -> Report {
    let mut caller = stage.caller(says);
    caller.greeting_ms = 100;
    place(&caller, |_| ()).await.unwrap()
}

#[tokio::test]
async fn a_phone_talks_with_a_bot_that_was_written_for_twilio() {
    let mut bot = BotServer::open(says(&["model-answer.wav"])).await;
    let stage = stage(&bot).await;
    let report = call(&stage, "caller-order.wav").await;
    let found = heard("model-answer.wav", &report.heard);
    assert!(found.fit > 0.95, "{found:?} {report:?}");
    assert_eq!((report.invalid, report.gap_ms_max <= 60), (0, true), "{:?}", report.gaps);
    let log = bot.ended().await;
    assert_eq!(log.faults, Vec::<String>::new());
    let found = heard("caller-order.wav", &log.heard);
    assert!(found.fit > 0.95, "{found:?}");
    assert!(log.is_stopped && log.closed == Some(1000), "a hang-up is a stop and a close: {:?}", log.closed);
    assert_eq!(log.start["callSid"], report.call_sid, "the phone call's own");
    assert_eq!(log.start["customParameters"], json!({"route": "front desk"}));
    assert_eq!(
        log.start["mediaFormat"],
        json!({"encoding": "audio/x-mulaw", "sampleRate": 8000, "channels": 1})
    );
    assert_eq!(log.path, "/media/desk");
    assert!(verify([TOKEN], &Signed::bare(&bot.url), log.signature.as_deref()), "signed over its address");
    for (n, (name, sent, echoed)) in log.marks.iter().enumerate() {
        let (after, due) = (echoed.expect("every mark comes back") - sent, (n as u64 + 1) * 1_000);
        // The last second of the answer is shorter.
        let last = n + 1 == log.marks.len();
        assert!(last || (due..due + 400).contains(&after), "{name} after {after} ms of {due}");
    }
    stage.clear().await;
}

#[tokio::test]
async fn a_browser_talks_with_a_bot_that_was_written_for_twilio_and_interrupts_it() {
    let mut bot = BotServer::open(says(&["model-long.wav", "model-answer.wav"])).await;
    let stage = stage(&bot).await;
    let pcm = |name: &str| bytes::Bytes::from(wav::read_l16_24k(&wav_path(name)).unwrap());
    let steps = vec![
        Step::Wait(Duration::from_millis(300)),
        Step::Say(pcm("caller-24k.wav")),
        Step::Heard(MediaTime::from_ms(2_000)),
        Step::Say(ulaw_24k("caller-barge-in.wav")),
        Step::Answered(2),
        Step::Close(1000),
    ];
    let double = BrowserDouble::new(Config::default(), steps);
    let bearer = format!("Bearer {KEY}");
    let double = stage.converse("/v1/realtime", &[("authorization", &bearer)], double).await.unwrap();
    assert_eq!(double.faults(), Vec::<String>::new());
    let log = bot.ended().await;
    assert_eq!(log.faults, Vec::<String>::new());
    assert!(heard("caller-24k.wav", &log.heard).fit > 0.9, "{:?}", heard("caller-24k.wav", &log.heard));
    let cleared = log.cleared_at.expect("the bot noticed");
    let open = log.marks.iter().filter(|(name, ..)| name.starts_with("1:"));
    for (name, sent, echoed) in open {
        let echoed = echoed.expect("a clear echoes every mark");
        let played = *sent + 1_000 * (name[2..].parse::<u64>().unwrap() + 1);
        assert!(
            // What a resampler still holds is not counted: some milliseconds.
            echoed <= cleared + 200 && (echoed >= cleared || echoed + 60 >= played),
            "{name}: {echoed}, {cleared}"
        );
    }
    let cut = double.items()[0].1.cut_ms.expect("the browser stopped playing");
    assert!((2_000..4_500).contains(&cut), "{cut}");
    let mut ulaw = Vec::new();
    let last = &double.items().last().unwrap().1;
    transcoder(Format::L16_24K, Format::PCMU).unwrap().push(&last.audio, &mut ulaw).unwrap();
    assert!(heard("model-answer.wav", &ulaw).fit > 0.9 && last.is_done, "it goes on after that");
    assert!(log.is_stopped);
    assert!(log.start["callSid"].as_str().is_some_and(|sid| sid.starts_with("CA") && sid.len() == 34));
    stage.clear().await;
}

/// A fixture of 8 kHz as the browser has it.
fn ulaw_24k(name: &str) -> bytes::Bytes {
    let mut pcm = Vec::new();
    transcoder(Format::PCMU, Format::L16_24K).unwrap().push(&ulaw(name), &mut pcm).unwrap();
    pcm.into()
}

#[tokio::test]
async fn a_bot_hangs_up_by_closing_and_its_last_words_are_heard() {
    let bot = BotServer::open(BotPlan { hangs_up_after: Some(1), ..says(&["model-answer.wav"]) }).await;
    let stage = stage(&bot).await;
    let report = call(&stage, "caller-short.wav").await;
    assert!(heard("model-answer.wav", &report.heard).fit > 0.95, "{report:?}");
    assert!(matches!(report.ending, Some(Ending::Closed { code: 1000 })), "{:?}", report.ending);
    assert!(bot.live().marks.iter().all(|(.., echoed)| echoed.is_some()));
    stage.clear().await;
}

fn apology() -> Vec<f64> {
    speech::samples(include_bytes!("../../gateway/server/prompts/en/apology.ulaw"))
}

#[tokio::test]
async fn bots_that_misbehave_leave_no_caller_in_silence_and_disturb_no_other_call() {
    let good = BotServer::open(says(&["model-answer.wav"])).await;
    // Takes the connection, and says nothing to the upgrade.
    let deaf = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let garbage = BotServer::open(BotPlan { sends: vec!["{]".into(); 200], ..BotPlan::default() }).await;
    let closing = BotServer::open(BotPlan { closes: Some(1011), ..BotPlan::default() }).await;
    let second =
        format!(r#"{{"event":"media","streamSid":"SID","media":{{"payload":"{}"}}}}"#, "/39/".repeat(2_667));
    let flooding = BotServer::open(BotPlan { sends: vec![second; 1_200], ..BotPlan::default() }).await;
    let nobody = "ws://127.0.0.1:1/media".to_owned();
    let deaf_url = format!("ws://{}/media", deaf.local_addr().unwrap());
    let mut file = good.config();
    for (name, url) in [
        ("deaf", &deaf_url),
        ("garbage", &garbage.url),
        ("closing", &closing.url),
        ("flooding", &flooding.url),
        ("nobody", &nobody),
    ] {
        file += &format!(
            "[tenants.default.bots.{name}]\nprotocol = \"twilio\"\nurl = \"{url}\"\n\
             [tenants.default.routes.{name}]\nbot = \"{name}\"\ngreeting = \"\"\n"
        );
    }
    let stage = Stage::set_with(Script::default(), &file, VARIABLES).await;
    let bad = async |name: &str, nth: usize| {
        let mut caller = stage.caller_of("default", name, "caller-short.wav");
        (caller.greeting_ms, caller.from) = (3_000, format!("+4915550000{nth:03}"));
        let report = place(&caller, |_| ()).await.unwrap();
        assert!(report.first_audio_ms.is_some_and(|ms| ms <= 2_000), "{name}: {:?}", report.first_audio_ms);
        report
    };
    let another = stage.caller_of("default", "default", "caller-order.wav");
    // Its caller hears it to no end, and gives up.
    let mut listener = stage.caller_of("default", "flooding", "caller-short.wav");
    listener.from = "+4915550000004".into();
    let flood = async {
        let (mut played_bytes, mut gaps) = (0, 0);
        let listening = place(&listener, |phone| {
            (played_bytes, gaps) = (phone.log().played_bytes, phone.log().gaps.len());
        });
        drop(tokio::time::timeout(Duration::from_secs(15), listening).await);
        (played_bytes, gaps)
    };
    let (deaf, garbage, closing, nobody, (flooded, gaps), good_report) = tokio::join!(
        bad("deaf", 1),
        bad("garbage", 2),
        bad("closing", 3),
        bad("nobody", 5),
        flood,
        place(&another, |_| ()),
    );
    let good_report = good_report.unwrap();
    for (name, report) in [("deaf", deaf), ("garbage", garbage), ("closing", closing), ("nobody", nobody)] {
        let found = speech::find(&apology(), &speech::samples(&report.heard));
        assert!(found.fit > 0.9, "{name}: no apology: {found:?} {report:?}");
    }
    assert!(flooded > 12 * 8_000 && gaps <= 1, "{flooded} bytes, {gaps} gaps");
    assert!(heard("model-answer.wav", &good_report.heard).fit > 0.95, "{good_report:?}");
    stage.clear().await;
}

/// `ws` and Twilio's own library, unmodified.
#[tokio::test]
async fn a_bot_in_node_as_twilios_tutorials_shape_it_takes_a_call() {
    use std::io::{BufRead as _, BufReader};
    let interop = crate::house::root().join("tests/interop");
    assert!(interop.join("node_modules/ws").exists(), "run `bash tests/setup.sh test`");
    let mut node = std::process::Command::new("node")
        .args(["twilio_bot.mjs", TOKEN])
        .current_dir(interop)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(node.stdout.take().unwrap()).lines();
    let read = tokio::task::spawn_blocking(move || (lines.next().unwrap().unwrap(), lines));
    let (port, mut lines) = read.await.unwrap();
    let file = format!(
        "[tenants.default.bots.node]\nprotocol = \"twilio\"\nurl = \"ws://127.0.0.1:{port}/media\"\n\
         auth_token = {{ env = \"BOT_TOKEN\" }}\n[tenants.default.routes.default]\nbot = \"node\"\ngreeting = \"\"\n"
    );
    let stage = Stage::set_with(Script::default(), &file, VARIABLES).await;
    let report = call(&stage, "caller-order.wav").await;
    let found = heard("caller-order.wav", &report.heard);
    assert!(found.fit > 0.9, "{found:?} {report:?}");
    let seen: serde_json::Value = serde_json::from_str(
        &tokio::task::spawn_blocking(move || lines.next().unwrap().unwrap()).await.unwrap(),
    )
    .unwrap();
    assert_eq!(node.wait().unwrap().code(), Some(0));
    assert_eq!((&seen["signed"], &seen["code"]), (&json!(true), &json!(1000)), "{seen}");
    assert_eq!((&seen["marks"], &seen["events"]["stop"]), (&json!(["responsePart"]), &json!(1)), "{seen}");
    let count = seen["sequence"].as_array().unwrap().len();
    assert_eq!(seen["sequence"][count - 1], count.to_string(), "no number is left out");
    stage.clear().await;
}

/// A provider that speaks OpenAI's protocol elsewhere, with a key of its own, is nothing but configuration.
#[tokio::test]
async fn a_provider_that_speaks_openais_protocol_is_a_provider_by_configuration() {
    let script = Script { key: Some("the-houses-own-key".into()), ..model_that_says("model-answer.wav") };
    let sim = patchbay::cli::sim::Sim::bind(([127, 0, 0, 1], 0).into(), script).await.unwrap();
    let base = sim.base_url().unwrap().replace("/v1", "/openai/v1");
    let (ended, mut ledgers) = tokio::sync::mpsc::channel(4);
    tokio::spawn(sim.serve(std::future::pending(), move |double| {
        let _ = ended.try_send(double.ledger().clone());
    }));
    let file = format!(
        "[providers.house]\nkind = \"openai-compatible\"\nbase_url = \"{base}\"\nmodel = \"house-1\"\n\
         key = {{ env = \"HOUSE_KEY\" }}\nauth = \"api-key\"\n[tenants.default.routes.default]\nprovider = \"house\"\n"
    );
    let stage = Stage::set_with(Script::default(), &file, &[("HOUSE_KEY", "the-houses-own-key")]).await;
    let report = place(&stage.caller("caller-short.wav"), |_| ()).await.unwrap();
    assert!(heard("model-answer.wav", &report.heard).fit > 0.95, "{report:?}");
    let ledger = ledgers.recv().await.expect("it was dialled");
    assert!(ledger.errors.is_empty() && ledger.appends > 100, "{:?}", ledger.errors);
    assert_eq!(stage.clear().await.len(), 0, "nobody else was");
}
