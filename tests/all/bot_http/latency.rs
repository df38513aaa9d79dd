//! What a bot's requests add to audio, each way, on loopback.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use patchbay::transport::{DialSpec, Dialer, Port};
use patchbay_core::Wire;
use tokio::time::{Instant, interval};

use super::bot::Hearing;
use super::{KEY, WAITING, stage};

const PCM: &str = "audio/pcm;rate=24000";
/// Packets each way.
const PACKETS: usize = 150;

/// Twenty milliseconds that are told from all others.
fn piece(number: usize) -> Vec<u8> {
    let sample = i16::try_from(1_000 + number).unwrap().to_le_bytes();
    sample.repeat(480)
}

fn number_of(pcm: &[u8]) -> Option<usize> {
    let sample = i16::from_le_bytes([*pcm.first()?, *pcm.get(1)?]);
    usize::try_from(sample - 1_000).ok()
}

fn median_ms(sent: &[Instant], came: &[Option<Instant>]) -> f64 {
    let mut all: Vec<_> =
        sent.iter().zip(came).filter_map(|(sent, came)| Some(came.as_ref()?.duration_since(*sent))).collect();
    assert!(all.len() > PACKETS * 9 / 10, "{} of {PACKETS} came", all.len());
    all.sort();
    all[all.len() / 2].as_secs_f64() * 1_000.0
}

async fn next(port: &mut Port) -> Wire {
    std::future::poll_fn(|cx| {
        let _ = port.poll_flush(cx);
        port.poll_recv(cx)
    })
    .await
}

/// A bound that only a fault breaks; the median is printed, and stands in the promises as it was measured.
#[tokio::test]
async fn audio_crosses_a_bots_requests_within_milliseconds() {
    let (stage, bot) = stage(WAITING).await;
    let spec = DialSpec::new(&format!("ws://{}/v1/realtime", stage.public())).unwrap();
    let spec = spec.header(
        HeaderName::from_static("authorization"),
        HeaderValue::from_str(&format!("Bearer {KEY}")).unwrap(),
    );
    let mut port = Dialer::new().dial(&spec).await.unwrap();
    let id = bot.take_call().await;
    let mut hearing = Hearing::of(bot.listen(&id, PCM, None).await, PCM);
    let mut upload = bot.speak(&id, PCM).await;
    while tokio::time::timeout(Duration::from_millis(500), next(&mut port)).await.is_ok() {}

    let (mut sent, mut came, mut at) = (Vec::new(), vec![None; PACKETS], 0);
    let mut ticks = interval(Duration::from_millis(20));
    for number in 0..PACKETS {
        ticks.tick().await;
        let text =
            format!(r#"{{"type":"input_audio_buffer.append","audio":"{}"}}"#, STANDARD.encode(piece(number)));
        sent.push(Instant::now());
        port.send(Wire::Text(text.into()));
        std::future::poll_fn(|cx| port.poll_flush(cx)).await;
        while tokio::time::timeout(Duration::from_millis(15), hearing.more()).await.is_ok() {
            let now = Instant::now();
            for unit in &hearing.units[at..] {
                if let Some(number) = number_of(&unit.audio).filter(|number| *number < PACKETS) {
                    came[number] = Some(now);
                }
            }
            at = hearing.units.len();
            if came[number].is_some() {
                break;
            }
        }
    }
    let towards_bot = median_ms(&sent, &came);

    let (mut sent, mut came) = (Vec::new(), vec![None; PACKETS]);
    for number in 0..PACKETS {
        ticks.tick().await;
        sent.push(Instant::now());
        assert!(upload.send(&piece(number)).await);
        while let Ok(wire) = tokio::time::timeout(Duration::from_millis(15), next(&mut port)).await {
            let Wire::Text(text) = wire else { continue };
            let Ok(event) = serde_json::from_slice::<serde_json::Value>(&text) else { continue };
            let Some(audio) =
                event["delta"].as_str().filter(|_| event["type"] == "response.output_audio.delta")
            else {
                continue;
            };
            let Some(heard) = number_of(&STANDARD.decode(audio).unwrap()).filter(|heard| *heard < PACKETS)
            else {
                continue;
            };
            came[heard] = Some(Instant::now());
            if heard == number {
                break;
            }
        }
    }
    let from_bot = median_ms(&sent, &came);
    println!("p50 towards the bot {towards_bot:.2} ms, from the bot {from_bot:.2} ms");
    assert!(towards_bot < 40.0 && from_bot < 40.0, "{towards_bot} {from_bot}");
    drop(hearing);
    stage.clear().await;
}
