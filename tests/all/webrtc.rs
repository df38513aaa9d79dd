//! Browsers over WebRTC: a peer of its own (str0m as a full agent) on real sockets, the gateway, and a provider that answers.

use std::time::Duration;

use bytes::Bytes;
use patchbay::cli::peer::{PeerError, PeerPlan, PeerReport, talk};
use patchbay_codec::transcoder;
use patchbay_core::Format;
use patchbay_sim::realtime::{Ledger, Script};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

use crate::speech;
use crate::stage::{Stage, model_that_says, wav_path};

const KEY: &str = "pbk_0123456789abcdef0123456789abcdef";
const KEYED: &[(&str, &str)] = &[("PATCHBAY__TENANTS__DEFAULT__API_KEY", KEY)];

async fn stage(script: Script, file: &str) -> Stage {
    Stage::set_with(script, file, KEYED).await
}

/// A fixture as a microphone gives it.
pub(crate) fn pcm_48k(name: &str) -> Bytes {
    let mut reader = hound::WavReader::open(wav_path(name)).unwrap();
    let rate_hz = reader.spec().sample_rate;
    let bytes: Vec<u8> = reader.samples::<i16>().flat_map(|sample| sample.unwrap().to_le_bytes()).collect();
    let mut out = Vec::new();
    let mut conversion = transcoder(Format::l16(rate_hz), Format::L16_48K).unwrap();
    conversion.push(&bytes, &mut out).unwrap();
    conversion.finish(&mut out);
    out.into()
}

fn browser(stage: &Stage, says: &str, seconds: u64) -> PeerPlan {
    let plan = PeerPlan::new(stage.public(), pcm_48k(says), Duration::from_secs(seconds));
    PeerPlan { key: Some(KEY.into()), ..plan }
}

/// How much of a fixture the browser heard.
fn heard(fixture: &str, report: &PeerReport) -> f64 {
    share(&speech::fixture(fixture), &as_samples(&report.heard))
}

pub(crate) fn as_samples(pcm: &[u8]) -> Vec<f64> {
    pcm.chunks_exact(2).map(|pair| f64::from(i16::from_le_bytes([pair[0], pair[1]]))).collect()
}

/// How much of a fixture the model heard.
fn reached(fixture: &str, ledger: &Ledger) -> f64 {
    let mut out = Vec::new();
    transcoder(Format::L16_24K, Format::L16_8K).unwrap().push(&ledger.appended, &mut out).unwrap();
    share(&speech::fixture(fixture), &as_samples(&out))
}

/// Of the loud pieces of 400 ms, the share that is to be found again. Piece by piece, because a timer that was late on a busy
/// machine is a pause, and moves what follows.
pub(crate) fn share(said: &[f64], heard: &[f64]) -> f64 {
    let is_loud =
        |piece: &&[f64]| piece.iter().filter(|sample| sample.abs() > 500.0).count() > piece.len() / 4;
    let pieces: Vec<&[f64]> = said.chunks_exact(3_200).filter(is_loud).collect();
    let found = pieces.iter().filter(|piece| speech::find(piece, heard).fit > 0.7).count();
    found as f64 / pieces.len() as f64
}

#[tokio::test]
async fn a_browser_talks_with_a_model_over_udp() {
    let stage = stage(model_that_says("model-answer.wav"), "").await;
    let report = talk(&browser(&stage, "caller-short.wav", 12)).await.unwrap();
    assert!(report.location.starts_with("/v1/realtime/calls/rtc_"), "{}", report.location);
    assert!(report.set_up < Duration::from_millis(400), "{:?}", report.set_up);
    let found = heard("model-answer.wav", &report);
    assert!(found > 0.7, "{found}: {} packets, {} marked", report.packets, report.markers);
    assert!(report.markers >= 1 && report.markers < report.packets / 10, "talk spurts are marked");
    assert!(report.has_reports, "RTCP came");
    let metrics = stage.admin("/metrics").await;
    assert!(metrics.contains("patchbay_rtc_pair_total{proto=\"udp\"} 1"), "{metrics}");
    assert!(metrics.contains("patchbay_rtc_jitter_seconds_count{dir=\"in\"}"), "{metrics}");
    let ledgers = stage.clear().await;
    assert!(reached("caller-short.wav", &ledgers[0]) > 0.7, "{}", reached("caller-short.wav", &ledgers[0]));
    assert_eq!(ledgers[0].errors, Vec::<String>::new());
}

#[tokio::test]
async fn a_browser_talks_with_a_model_over_tcp_and_by_whip() {
    let stage = stage(model_that_says("model-answer.wav"), "").await;
    let plan =
        PeerPlan { over_tcp: true, path: "/whip/default".into(), ..browser(&stage, "caller-short.wav", 12) };
    let report = talk(&plan).await.unwrap();
    assert!(heard("model-answer.wav", &report) > 0.7, "{}", heard("model-answer.wav", &report));
    assert!(stage.admin("/metrics").await.contains("patchbay_rtc_pair_total{proto=\"tcp\"} 1"));
    stage.clear().await;
}

#[tokio::test]
async fn an_ice_restart_costs_nobody_a_word() {
    let stage = stage(model_that_says("model-answer.wav"), "").await;
    let plan =
        PeerPlan { restarts_after: Some(Duration::from_secs(2)), ..browser(&stage, "caller-short.wav", 12) };
    let report = talk(&plan).await.unwrap();
    assert!(heard("model-answer.wav", &report) > 0.7, "{}", heard("model-answer.wav", &report));
    let ledgers = stage.clear().await;
    assert!(reached("caller-short.wav", &ledgers[0]) > 0.7, "{}", reached("caller-short.wav", &ledgers[0]));
}

#[tokio::test]
async fn a_lossy_network_keeps_the_models_clock_true() {
    let stage = stage(model_that_says("model-answer.wav"), "").await;
    let plan = PeerPlan { loses_percent: 10, ..browser(&stage, "caller-order.wav", 10) };
    talk(&plan).await.unwrap();
    let concealed = stage.admin("/metrics").await;
    assert!(concealed.contains("patchbay_rtc_concealed_seconds_total"), "{concealed}");
    let ledgers = stage.clear().await;
    let found = reached("caller-order.wav", &ledgers[0]);
    assert!(found > 0.7, "every tenth packet made good: {found}");
    let seconds = ledgers[0].appended.len() as f64 / 48_000.0;
    assert!((9.0..11.0).contains(&seconds), "{seconds} s of audio in ten");
}

#[tokio::test]
async fn a_page_closed_without_goodbye_releases_its_provider_within_20_seconds() {
    let stage = stage(model_that_says("model-answer.wav"), "").await;
    let plan = PeerPlan { vanishes: true, ..browser(&stage, "caller-short.wav", 2) };
    talk(&plan).await.unwrap();
    let live = |metrics: &str| metrics.contains("patchbay_calls_active 1");
    assert!(live(&stage.admin("/metrics").await));
    let mut released_after = 0;
    while live(&stage.admin("/metrics").await) {
        tokio::time::sleep(Duration::from_millis(500)).await;
        released_after += 500;
        assert!(released_after <= 20_000, "the call still runs");
    }
    stage.clear().await;
}

#[tokio::test]
async fn an_offer_that_is_none_is_told_so_and_disturbs_nobody() {
    let stage = stage(model_that_says("model-answer.wav"), "").await;
    let talker = browser(&stage, "caller-short.wav", 12);
    let talking = tokio::spawn(async move { talk(&talker).await });
    let offer = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n".to_owned();
    let audio = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=rtpmap:111 opus/48000/2\r\na=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijabcdefghijab\r\n";
    let cases = [
        (offer.clone() + &audio.repeat(10_000), 413),
        (offer.clone() + &audio.repeat(20), 400),
        (offer.clone() + audio, 400),
        (offer.clone() + &"a=x:".repeat(20_000), 400),
        (offer.clone() + audio + "a=fingerprint:sha-256 zz\r\n", 400),
        (String::new(), 400),
    ];
    for (body, expected) in cases {
        let answer = post(&stage, "application/sdp", &body).await;
        let told = answer.starts_with(&format!("HTTP/1.1 {expected} "))
            || (expected == 413 && answer.starts_with("HTTP/1.1 400"));
        assert!(told && answer.contains("\"error\""), "{}: {answer}", body.len());
    }
    let answer = post(&stage, "text/plain", "hello").await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("\"param\":\"sdp\""), "{answer}");
    let report = talking.await.unwrap().unwrap();
    assert!(heard("model-answer.wav", &report) > 0.7, "{}", heard("model-answer.wav", &report));
    stage.clear().await;
}

#[tokio::test]
async fn strangers_at_the_udp_port_get_no_answer_and_disturb_nobody() {
    let stage = stage(model_that_says("model-answer.wav"), "").await;
    let talker = browser(&stage, "caller-short.wav", 12);
    let (gateway, key) = (stage.public(), KEY);
    let talking = tokio::spawn(async move { talk(&talker).await });
    // Where its media goes stands in any answer.
    let probe = PeerPlan { key: Some(key.into()), ..PeerPlan::new(gateway, Bytes::new(), Duration::ZERO) };
    let probed = talk(&PeerPlan { says: pcm_48k("caller-short.wav"), ..probe }).await.unwrap();
    let line =
        probed.answer.lines().find(|line| line.contains(" udp ") && line.contains("127.0.0.1")).unwrap();
    let port: u16 = line.split(' ').nth(5).unwrap().parse().unwrap();
    let stranger = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let username = [&[0, 6, 0, 9][..], b"noone:you", &[0; 3]].concat();
    let check = [&[0, 1, 0, 16, 0x21, 0x12, 0xA4, 0x42][..], &[7; 12], &username].concat();
    let mut sent = 0;
    for round in 0..20_000_u32 {
        let noise = [round.to_le_bytes(); 40].concat();
        for junk in [&check[..], &noise, &[0x80; 60], &[22, 254, 253, 0, 0]] {
            sent += stranger.try_send_to(junk, ([127, 0, 0, 1], port).into()).unwrap_or(0);
        }
        if round % 200 == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    assert!(sent > 1_000_000, "{sent} bytes of junk");
    let mut buffer = [0; 2_048];
    let answered = tokio::time::timeout(Duration::from_millis(500), stranger.recv(&mut buffer)).await;
    assert!(answered.is_err(), "a stranger was answered");
    // A plain request is told where it comes from; a flood of them never gets more than it sent, but for one small start.
    let request = [&[0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42][..], &[9; 12]].concat();
    let (mut bytes_in, mut bytes_out) = (0, 0);
    for _ in 0..2_000 {
        bytes_in += stranger.send_to(&request, ("127.0.0.1", port)).await.unwrap();
        while let Ok(length) = stranger.try_recv(&mut buffer) {
            assert_eq!(buffer[..2], [1, 1]);
            bytes_out += length;
        }
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    while let Ok(length) = stranger.try_recv(&mut buffer) {
        bytes_out += length;
    }
    assert!(bytes_out > 0 && bytes_out <= bytes_in + 2_048, "{bytes_out} bytes for {bytes_in}");
    let report = talking.await.unwrap().unwrap();
    assert!(heard("model-answer.wav", &report) > 0.7, "{}", heard("model-answer.wav", &report));
    stage.clear().await;
}

#[tokio::test]
async fn who_has_no_credential_gets_no_call() {
    let stage = stage(Script::default(), "").await;
    let plan = PeerPlan { key: None, ..browser(&stage, "caller-short.wav", 1) };
    let Err(PeerError::Refused { status, body }) = talk(&plan).await else { panic!("let in") };
    assert_eq!(status, 401);
    assert!(body.contains("invalid_api_key"), "{body}");
    stage.clear().await;
}

#[tokio::test]
async fn a_call_is_ended_by_its_resource_and_the_browser_learns_it() {
    let stage = stage(model_that_says("model-answer.wav"), "").await;
    let talker = browser(&stage, "caller-short.wav", 15);
    let talking = tokio::spawn(async move { talk(&talker).await });
    tokio::time::sleep(Duration::from_secs(2)).await;
    let listed = stage.get("/v1/calls", KEY).await;
    let at = listed.find("rtc_").unwrap_or_else(|| panic!("{listed}"));
    let id = &listed[at..at + 36];
    let answer = ask(&stage, &format!("DELETE /v1/realtime/calls/{id}"), "application/sdp", "").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let report = talking.await.unwrap().unwrap();
    assert!(report.was_closed, "the browser was not told");
    stage.clear().await;
}

async fn post(stage: &Stage, kind: &str, body: &str) -> String {
    ask(stage, "POST /v1/realtime/calls", kind, body).await
}

async fn ask(stage: &Stage, line: &str, kind: &str, body: &str) -> String {
    let mut socket = TcpStream::connect(stage.public()).await.unwrap();
    let head = format!(
        "{line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer {KEY}\r\ncontent-type: {kind}\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    // A body that is too long is refused before all of it is there.
    let _ = socket.write_all(body.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}
