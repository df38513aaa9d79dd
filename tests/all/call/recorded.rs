//! A recorded call over real sockets: the file, and what is to be heard in it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use patchbay::cli::call::place;

use super::assert_clean;
use crate::speech;
use crate::stage::{Stage, model_that_says};

/// Samples in a millisecond.
const KHZ: usize = 8;

/// A folder of this test's own.
fn folder(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("patchbay-recorded-{name}-{}", std::process::id()))
}

/// Both channels.
fn read(path: &Path) -> (Vec<f64>, Vec<f64>) {
    let mut reader = hound::WavReader::open(path).unwrap();
    assert_eq!((reader.spec().channels, reader.spec().sample_rate), (2, 8_000));
    let all: Vec<f64> = reader.samples::<i16>().map(|sample| f64::from(sample.unwrap())).collect();
    let channel = |nth: usize| all.iter().skip(nth).step_by(2).copied().collect();
    (channel(0), channel(1))
}

/// How many seconds of `speech` stand in `channel` where they belong, if it begins at `at`; and of how many. A machine
/// that runs other tests besides holds sound up now and then, and what was held up has a gap.
fn seconds_in_place(speech: &[f64], channel: &[f64], at: usize) -> (usize, usize) {
    let (second, slack) = (1_000 * KHZ, 200 * KHZ);
    let seconds: Vec<_> = speech::without_silence(speech).chunks_exact(second).enumerate().collect();
    let is_in_place = |&&(nth, said): &&(usize, &[f64])| {
        let from = (at + nth * second).saturating_sub(slack).min(channel.len());
        let until = (at + (nth + 1) * second + slack).min(channel.len());
        until - from >= second && speech::find(said, &channel[from..until]).fit > 0.95
    };
    (seconds.iter().filter(is_in_place).count(), seconds.len())
}

#[tokio::test]
async fn a_recorded_call_has_the_caller_left_and_what_the_caller_heard_right() {
    let folder = folder("whole");
    let file = format!(
        "[tenants.default.routes.default]\nrecording = {{ enabled = true, announce = true, folder = {folder:?} }}"
    );
    let stage = Stage::set(model_that_says("model-answer.wav"), &file).await;
    let report = place(&stage.caller("caller-order.wav"), |_| ()).await.unwrap();
    assert_clean(&report);
    stage.clear().await;
    let files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    let [path] = files.as_slice() else { panic!("one call, one file: {files:?}") };
    let name = path.file_name().unwrap().to_str().unwrap();
    assert!(name.starts_with("call_") && name.ends_with(".wav"), "{name}");
    assert_eq!(std::fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600);

    let (left, right) = read(path);
    let caller = speech::find(&speech::fixture("caller-order.wav"), &left);
    let (in_place, seconds) = seconds_in_place(&speech::fixture("caller-order.wav"), &left, caller.at);
    assert!(in_place > 0 && in_place * 4 >= seconds * 3, "{in_place} of {seconds} s, {caller:?}");
    let crossed = speech::find(&speech::fixture("caller-order.wav"), &right);
    assert!(crossed.fit < 0.3, "the caller is heard on the right: {crossed:?}");
    let heard = speech::samples(&report.heard);
    let recorded = speech::samples(include_bytes!("../../../gateway/server/prompts/en/recorded.ulaw"));
    let (announced, on_the_phone) = (speech::find(&recorded, &right), speech::find(&recorded, &heard));
    assert!(announced.fit > 0.95 && on_the_phone.fit > 0.95, "{announced:?} {on_the_phone:?}");

    // The greeting is the answer's words too: the answer is looked for behind the caller's.
    let answer = speech::fixture("model-answer.wav");
    let greeting = speech::find(&answer, &right[..caller.at]);
    assert!(greeting.fit > 0.95 && greeting.at > announced.at, "{greeting:?} {announced:?}");
    let answered = speech::find(&answer, &right[caller.at..]);
    assert!(answered.fit > 0.95, "{answered:?}");

    // Between the announcement and the greeting passes the same time in the file and on the phone.
    let in_the_file = greeting.at - announced.at;
    let from = (on_the_phone.at + in_the_file).saturating_sub(1_000 * KHZ);
    let until = (from + answer.len() + 2_000 * KHZ).min(heard.len());
    let on_the_line = from + speech::find(&answer, &heard[from..until]).at - on_the_phone.at;
    let apart_ms = in_the_file.abs_diff(on_the_line) / KHZ;
    assert!(apart_ms <= 60, "the greeting came {apart_ms} ms earlier or later than it was heard");
    std::fs::remove_dir_all(folder).unwrap();
}
