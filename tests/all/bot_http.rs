//! Bots in plain HTTP over real sockets, in real time: a Twilio or a browser that calls, the gateway, and a bot that is nothing but
//! requests.

pub(crate) mod bot;
mod latency;
pub(crate) mod nginx;
mod plain;

use std::sync::Arc;
use std::time::Duration;

use patchbay::cli::call::{Report, place};
use patchbay_legs::bot::framing::{Framing, Unit};
use patchbay_sim::realtime::Script;
use serde_json::json;

use self::bot::{Bot, Hearing, body, clear, events_of, is_loud};
use self::nginx::{Nginx, UNBUFFERED};
use crate::speech;
use crate::stage::{Stage, ulaw};

const KEY: &str = "a-gateway-key-of-this-test-alone";
const VARIABLES: &[(&str, &str)] = &[("BOT_TEST_KEY", KEY)];
/// A bot that lets the caller speak first.
const WAITING: &str = "[tenants.default]\napi_key = { env = \"BOT_TEST_KEY\" }\n\
                       [tenants.default.routes.default]\nbot = \"echo\"\ngreeting = \"\"\n";
const MULAW: &str = "audio/x-mulaw;rate=8000";
const FRAMES: &str = "application/vnd.patchbay.opus-frames";

async fn stage(file: &str) -> (Stage, Bot) {
    let stage = Stage::set_with(Script::default(), file, VARIABLES).await;
    let bot = Bot::registered(stage.public(), KEY).await;
    (stage, bot)
}

fn fit(fixture: &str, heard: &[u8]) -> f64 {
    speech::find(&speech::fixture(fixture), &speech::samples(heard)).fit
}

/// Of the loud pieces of 400 ms of a fixture, the share that is to be found again: Opus changes the phase.
fn share(fixture: &str, heard: &[u8]) -> f64 {
    let (said, heard) = (speech::fixture(fixture), speech::samples(heard));
    let is_loud =
        |piece: &&[f64]| piece.iter().filter(|sample| sample.abs() > 500.0).count() > piece.len() / 4;
    let pieces: Vec<&[f64]> = said.chunks_exact(3_200).filter(is_loud).collect();
    let found = pieces.iter().filter(|piece| speech::find(piece, &heard).fit > 0.7).count();
    found as f64 / pieces.len() as f64
}

fn assert_clean(report: &Report) {
    assert!(report.speech_came_back, "{report:?}");
    assert_eq!((report.invalid, report.warnings.as_slice()), (0, [].as_slice()), "Twilio would complain");
}

#[tokio::test]
async fn a_bot_in_plain_http_takes_a_phone_call_in_every_framing_and_says_back_what_it_heard() {
    let (stage, bot) = stage(WAITING).await;
    let bot = Arc::new(bot);
    let framings: &'static [&str] = &[
        MULAW,
        "audio/pcm;rate=24000",
        FRAMES,
        "application/vnd.patchbay.opus-frames;hdr=1",
        "multipart/x-mixed-replace",
        "audio/ogg",
    ];
    for three in framings.chunks(3) {
        let mut calls = Vec::new();
        for accept in three {
            let caller = stage.caller("caller-short.wav");
            let call = tokio::spawn(async move { place(&caller, |_| ()).await });
            let (id, bot) = (bot.take_call().await, Arc::clone(&bot));
            calls.push((accept, call, tokio::spawn(async move { bot.echo(&id, accept).await })));
        }
        for (accept, call, echo) in calls {
            let report = call.await.unwrap().unwrap();
            echo.await.unwrap();
            assert_clean(&report);
            let heard = &report.heard;
            let found = if *accept == MULAW {
                fit("caller-short.wav", heard)
            } else {
                share("caller-short.wav", heard)
            };
            assert!(found > 0.8, "{accept}: {found}");
        }
    }
    stage.clear().await;
}

#[tokio::test]
async fn a_clear_silences_the_phone_and_the_bot_learns_what_was_heard() {
    let (stage, bot) = stage(WAITING).await;
    let mut caller = stage.caller("caller-short.wav");
    caller.barge_in = Some((3_000, ulaw("caller-barge-in.wav")));
    let call = tokio::spawn(async move { place(&caller, |_| ()).await });
    let id = bot.take_call().await;
    let events = tokio::spawn(events_of(bot.events(&id).await));
    let mut hearing = Hearing::of(bot.listen(&id, MULAW, None).await, MULAW);
    hearing.sentence().await;
    let mut upload = bot.speak(&id, MULAW).await;
    upload.send(&ulaw("model-long.wav")).await;
    let from = hearing.units.len();
    loop {
        assert!(hearing.more().await, "nobody interrupted");
        let new: Vec<u8> = hearing.units[from..].iter().flat_map(|unit| unit.audio.to_vec()).collect();
        if new.chunks(160).any(is_loud) {
            break;
        }
    }
    assert_eq!(bot.tell(&id, &clear()).await.status(), 200);
    // A new request: what is still under way in the one before is not said.
    let mut upload = bot.speak(&id, MULAW).await;
    upload.send(&ulaw("model-answer.wav")).await;
    while bot.acknowledged(&id).await["buffered_ms"].as_u64().unwrap() < 1_000 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(bot.tell(&id, &json!({"type": "mark", "name": "answered"})).await.status(), 200);
    hearing.rest().await;
    let report = call.await.unwrap().unwrap();
    assert_clean(&report);
    let heard_ms = report.barge_in_heard_ms.expect("the phone was silenced");
    let events = events.await.unwrap();
    let cleared = events.iter().find(|event| event["type"] == "cleared").expect("it is told");
    // Never more than was heard, and on a busy machine less: the phone's marks come late.
    let told = cleared["heard_ms"].as_u64().unwrap();
    let is_true = (heard_ms.saturating_sub(300)..=heard_ms + 60).contains(&told);
    assert!(is_true, "{told} ms, and the phone played {heard_ms} ms");
    assert!(events.contains(&json!({"type": "mark", "name": "answered"})), "{events:?}");
    assert_eq!(events.last(), Some(&json!({"type": "call.ended", "reason": "caller_hung_up"})));
    assert!(fit("model-answer.wav", &report.heard) > 0.9, "what it says after the clear is heard");
    stage.clear().await;
}

#[tokio::test]
async fn a_reader_that_comes_back_misses_nothing_and_batches_that_come_twice_are_heard_once() {
    let (stage, bot) = stage(WAITING).await;
    let caller = stage.caller("caller-order.wav");
    let call = tokio::spawn(async move { place(&caller, |_| ()).await });
    let id = bot.take_call().await;
    let mut heard: Vec<u8> = Vec::new();
    let mut next = 0;
    let quiet = |heard: &[u8]| {
        let speech = heard.chunks(160).rposition(is_loud);
        speech.is_some_and(|at| heard.len() / 160 - at > 50)
    };
    while !quiet(&heard) {
        // Half a second, then it is away for half a second.
        let mut hearing = Hearing::of(bot.listen(&id, MULAW, Some(next)).await, MULAW);
        assert_eq!(hearing.answer.header("seq"), Some(&*next.to_string()), "{}", hearing.answer.head);
        assert_eq!(hearing.answer.header("gap-ms"), None);
        while hearing.units.len() < 25 {
            assert!(hearing.more().await);
        }
        next += hearing.units.len() as u64;
        heard.extend(hearing.units.iter().flat_map(|unit| unit.audio.to_vec()));
        drop(hearing);
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let said = ulaw("caller-order.wav");
    assert!(
        heard.windows(said.len()).any(|window| window == said),
        "the bot heard other bytes than the phone sent"
    );
    let answer = ulaw("model-answer.wav");
    for (number, piece) in (0_u64..).zip(answer.chunks(1_600)) {
        // Each batch comes twice, and one before it again.
        for _ in 0..2 {
            let said = bot.batch(&id, MULAW, Some(number * 10), piece).await.json().await;
            assert_eq!(said["next_seq"], number * 10 + piece.len().div_ceil(160) as u64);
        }
    }
    let late = Hearing::of(bot.listen(&id, MULAW, Some(0)).await, MULAW);
    assert!(
        late.answer.header("gap-ms").is_some_and(|gap| gap.parse::<u64>().unwrap() > 5_000),
        "{}",
        late.answer.head
    );
    let report = call.await.unwrap().unwrap();
    assert_clean(&report);
    assert!(fit("model-answer.wav", &report.heard) > 0.95, "{}", fit("model-answer.wav", &report.heard));
    assert!(report.heard_ms < 8 * 1_000 + answer.len() as u64 / 8, "nothing was heard twice");
    stage.clear().await;
}

/// Bots that do what they should not, each on its own call, beside one that does as it should.
#[tokio::test]
async fn a_bot_that_misbehaves_gets_a_clear_error_and_no_other_call_notices() {
    let (stage, bot) = stage(WAITING).await;
    let bot = Arc::new(bot);
    let good = stage.caller("caller-short.wav");
    let good = tokio::spawn(async move { place(&good, |_| ()).await });
    let (good_id, other) = (bot.take_call().await, Arc::clone(&bot));
    let echo = tokio::spawn(async move { other.echo(&good_id, MULAW).await });
    let bad = stage.caller("caller-order.wav");
    let bad = tokio::spawn(async move { place(&bad, |_| ()).await });
    let id = bot.take_call().await;

    let garbage = bot.batch(&id, "audio/ogg", Some(0), b"OggOggOggOgg this is none").await;
    assert_eq!(garbage.status(), 400);
    assert_eq!(garbage.json().await["error"]["code"], "no_ogg_page");
    let mut upload = bot.speak(&id, "audio/ogg").await;
    upload.send(&[b'x'; 5_000]).await;
    let answer = upload.answer().await;
    assert_eq!((answer.status(), answer.json().await["error"]["code"].as_str()), (400, Some("no_ogg_page")));
    assert_eq!(bot.batch(&id, "text/plain", Some(0), b"x").await.status(), 415);
    assert_eq!(bot.listen(&id, "text/html", None).await.status(), 406);
    assert_eq!(bot.tell(&id, &json!({"type": "dance"})).await.status(), 400);
    let half = bot.batch(&id, FRAMES, Some(0), &[0, 9, 1]).await.json().await;
    assert_eq!(half["error"]["code"], "cut_off");
    let long = bot.batch(&id, FRAMES, Some(0), &vec![0; 1024 * 1024 + 1]).await;
    assert_eq!(long.status(), 413);

    let mut upload = bot.speak(&id, MULAW).await;
    upload.send(&[0xFF; 800]).await;
    upload.half_close().await;

    // One byte a second is no way to listen: the oldest is dropped, and the call goes on.
    let mut slow = bot.listen(&id, "audio/pcm;rate=48000", None).await;
    let mut flood = bot.speak(&id, MULAW).await;
    let flooding = tokio::spawn(async move {
        let begun = tokio::time::Instant::now();
        let mut sent = 0_u64;
        while begun.elapsed() < Duration::from_secs(8) && flood.send(&[0x7F; 8_000]).await {
            sent += 1;
        }
        sent
    });
    for _ in 0..5 {
        assert!(slow.byte().await);
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    let more = bot.batch(&id, MULAW, Some(1_000_000), &[0xFF; 40_000]).await;
    assert!([200, 429].contains(&more.status()), "{}", more.head);
    let ahead = bot.batch(&id, MULAW, Some(1_000_250), &[0xFF; 160]).await;
    assert_eq!(ahead.status(), 429, "{}", ahead.head);
    assert!(ahead.header("retry-after").is_some());
    assert!(bot.acknowledged(&id).await["buffered_ms"].as_u64().unwrap() <= 16_000);
    echo.await.unwrap();
    let report = good.await.unwrap().unwrap();
    assert_clean(&report);
    assert!(fit("caller-short.wav", &report.heard) > 0.95);
    drop(slow);
    flooding.abort();
    bad.await.unwrap().unwrap();
    stage.clear().await;
}

#[tokio::test]
async fn a_bot_that_is_late_to_speak_is_filled_in_for_and_one_that_vanishes_is_apologised_for() {
    let greeted = WAITING.replace("greeting = \"\"\n", "");
    let (stage, bot) = stage(&greeted).await;
    let caller = stage.caller("caller-short.wav");
    let call = tokio::spawn(async move { place(&caller, |_| ()).await });
    let id = bot.take_call().await;
    let mut hearing = Hearing::of(bot.listen(&id, MULAW, None).await, MULAW);
    while hearing.units.len() < 50 {
        hearing.more().await;
    }
    drop(hearing);
    bot.unregister().await;
    let report = call.await.unwrap().unwrap();
    let apology = speech::samples(include_bytes!("../../gateway/server/prompts/en/apology.ulaw"));
    let found = speech::find(&apology, &speech::samples(&report.heard));
    assert!(found.fit > 0.95, "no apology was heard: {found:?} {report:?}");
    assert!(report.first_audio_ms.unwrap() < 2_000, "the caller waits in silence: {report:?}");
    stage.clear().await;
}

#[tokio::test]
async fn a_browser_calls_a_bot_by_its_route_and_opus_passes_untouched() {
    use patchbay::cli::peer::{PeerPlan, talk};
    let (stage, bot) = stage(WAITING).await;
    let pcm = patchbay::cli::wav::read_l16_24k(&crate::stage::wav_path("caller-24k.wav")).unwrap();
    let mut pcm_48k = Vec::new();
    let mut up =
        patchbay_codec::transcoder(patchbay_core::Format::L16_24K, patchbay_core::Format::L16_48K).unwrap();
    up.push(&pcm, &mut pcm_48k).unwrap();
    let plan = PeerPlan {
        key: Some(KEY.into()),
        ..PeerPlan::new(stage.public(), pcm_48k.into(), Duration::from_secs(28))
    };
    let call = tokio::spawn(async move { talk(&plan).await });
    let id = bot.take_call().await;
    let mut hearing = Hearing::of(bot.listen(&id, FRAMES, None).await, FRAMES);
    let sentence = hearing.sentence().await;
    let mut upload = bot.speak(&id, FRAMES).await;
    upload.send(&body(&Framing::Frames { has_header: false }, &sentence)).await;
    let said: Vec<u8> = {
        let units: Vec<Unit> = sentence.clone();
        units.iter().flat_map(|unit| hearing.ulaw(unit)).collect()
    };
    assert!(
        share("caller-24k.wav", &said) > 0.8,
        "the bot heard the browser: {}",
        share("caller-24k.wav", &said)
    );
    hearing.rest().await;
    let report = call.await.unwrap().unwrap();
    let mut ulaw = Vec::new();
    let mut down =
        patchbay_codec::transcoder(patchbay_core::Format::L16_8K, patchbay_core::Format::PCMU).unwrap();
    down.push(&report.heard, &mut ulaw).unwrap();
    assert!(
        share("caller-24k.wav", &ulaw) > 0.6,
        "the browser heard the bot: {}",
        share("caller-24k.wav", &ulaw)
    );
    stage.clear().await;
}

#[tokio::test]
async fn behind_debians_nginx_as_it_is_a_bot_sees_that_its_stream_is_kept_and_batches_work() {
    let (stage, mut bot) = stage(WAITING).await;
    let nginx = Nginx::before(stage.public(), "").await;
    bot.at = nginx.at;
    let caller = stage.caller("caller-short.wav");
    let call = tokio::spawn(async move { place(&caller, |_| ()).await });
    let id = bot.take_call().await;
    let mut hearing = Hearing::of(bot.listen(&id, MULAW, None).await, MULAW);
    let mut stream = bot.speak(&id, MULAW).await;
    stream.send(&[0xFF; 800]).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(bot.acknowledged(&id).await["next_seq"], 0, "the proxy keeps what it is sent");
    drop(stream);
    let sentence = hearing.sentence().await;
    let bytes: Vec<u8> = sentence.iter().flat_map(|unit| unit.audio.to_vec()).collect();
    let mut seq = 0;
    for piece in bytes.chunks(1_600) {
        let said = bot.batch(&id, MULAW, Some(seq), piece).await.json().await;
        seq = said["next_seq"].as_u64().unwrap();
    }
    hearing.rest().await;
    let report = call.await.unwrap().unwrap();
    assert_clean(&report);
    assert!(fit("caller-short.wav", &report.heard) > 0.95);
    stage.clear().await;
}

#[tokio::test]
async fn behind_an_nginx_that_does_not_buffer_a_bot_streams_both_ways() {
    let (stage, mut bot) = stage(WAITING).await;
    let nginx = Nginx::before(stage.public(), UNBUFFERED).await;
    bot.at = nginx.at;
    for accept in [MULAW, "multipart/x-mixed-replace"] {
        let caller = stage.caller("caller-short.wav");
        let call = tokio::spawn(async move { place(&caller, |_| ()).await });
        let id = bot.take_call().await;
        bot.echo(&id, accept).await;
        let report = call.await.unwrap().unwrap();
        assert_clean(&report);
        assert!(share("caller-short.wav", &report.heard) > 0.8, "{accept}");
    }
    stage.clear().await;
}

#[tokio::test]
async fn a_page_asks_for_a_bot_by_name_joins_by_websocket_and_the_bot_hangs_up() {
    use patchbay_sim::browser::{BrowserDouble, Config, Step};
    let (stage, bot) = stage(WAITING).await;
    let key = format!("Bearer {KEY}");
    let headers = [("authorization", &*key)];
    let asked = stage.post("POST /v1/calls", &headers, r#"{"to":"bot:echo"}"#).await;
    let asked = crate::stage::json(&asked);
    let id = asked["id"].as_str().unwrap_or_else(|| panic!("{asked}")).to_owned();
    assert!(asked["join"]["webrtc"].as_str().unwrap().ends_with(&format!("/v1/calls/{id}/join")), "{asked}");
    let pcm: bytes::Bytes =
        patchbay::cli::wav::read_l16_24k(&crate::stage::wav_path("caller-24k.wav")).unwrap().into();
    let steps = vec![
        Step::Wait(Duration::from_millis(300)),
        Step::Say(pcm),
        Step::Answered(1),
        Step::Wait(Duration::from_secs(30)),
    ];
    let double = BrowserDouble::new(Config::default(), steps);
    let path = format!("/v1/realtime?join={id}");
    let talk = async { stage.converse(&path, &headers, double).await.unwrap() };
    let answer = async {
        assert_eq!(bot.take_call().await, id);
        let mut hearing =
            Hearing::of(bot.listen(&id, "audio/pcm;rate=24000", None).await, "audio/pcm;rate=24000");
        let events = tokio::spawn(events_of(bot.events(&id).await));
        let sentence = hearing.sentence().await;
        let said = sentence.iter().flat_map(|unit| unit.audio.to_vec()).collect::<Vec<_>>();
        let mut upload = bot.speak(&id, "audio/pcm;rate=24000").await;
        upload.send(&said).await;
        upload.finish().await;
        bot.tell(&id, &json!({"type": "transcript", "role": "assistant", "text": "As you said."})).await;
        tokio::time::sleep(Duration::from_secs(2 + said.len() as u64 / 48_000)).await;
        assert_eq!(bot.hang_up(&id).await.status(), 200);
        events.await.unwrap()
    };
    let (double, events) = tokio::join!(talk, answer);
    assert_eq!(events.last(), Some(&json!({"type": "call.ended", "reason": "callee_hung_up"})));
    let mut ulaw = Vec::new();
    let mut down =
        patchbay_codec::transcoder(patchbay_core::Format::L16_24K, patchbay_core::Format::PCMU).unwrap();
    down.push(&double.items()[0].1.audio, &mut ulaw).unwrap();
    assert!(share("caller-24k.wav", &ulaw) > 0.8, "{}", share("caller-24k.wav", &ulaw));
    assert_eq!(
        stage.post(&format!("POST /v1/calls/{id}/join"), &headers, "").await.split(' ').nth(1),
        Some("409")
    );
    stage.clear().await;
}
