//! Recordings of whole calls in virtual time, compared with what the doubles of the phone and the model say happened.
#![expect(clippy::cast_possible_truncation, reason = "the milliseconds of a test fit everywhere")]

use std::io::{Cursor, SeekFrom};
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Condvar, Mutex};

use bytes::Bytes;
use patchbay_codec::g711::ulaw_decode;
use patchbay_core::{CallConfig, Fact, Frame, MediaTime, Payload, UtteranceId};
use patchbay_sim::realtime::{Detector, Say, Script, Turn};
use patchbay_sim::twilio::{self, Silence, Step};
use patchbay_sim::world::{Setup, World};

use super::said::Said;
use super::*;
use crate::cli::wav;

/// Samples in a millisecond of a telephone's recording.
const KHZ: usize = 8;
/// From the start of these calls to the opening of the caller's stream. What the phone does reaches us one way of the
/// network later, whether it speaks or confirms what it played: both channels are late by that, and so aligned.
const STREAM_AT_MS: usize = 300 + 20;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/audio").join(name)
}

fn ulaw(name: &str) -> Bytes {
    wav::read_ulaw(&fixture(name)).unwrap()
}

fn decoded(ulaw: &[u8]) -> Vec<i16> {
    ulaw.iter().map(|code| ulaw_decode(*code)).collect()
}

fn answers(says: Say) -> Script {
    Script { turns: vec![Turn::Say(vec![says])], detector: Detector::Level, ..Script::default() }
}

fn spoken_answer() -> Say {
    Say::audio("Certainly.", wav::read_l16_24k(&fixture("model-answer.wav")).unwrap())
}

/// A recorded call in which the model speaks first, run to its end.
fn call(script: Script, steps: Vec<Step>, silence: Silence) -> World {
    let call = CallConfig { records: true, greets: true, ..CallConfig::default() };
    let stream = twilio::Config { silence, ..twilio::Config::default() };
    let mut world = World::new(Setup { call, script, streams: vec![steps], stream, ..Setup::default() });
    world.run(Duration::from_secs(1_200));
    assert!(world.outcome.is_some(), "the call did not end");
    world
}

/// A caller who lets the greeting end, speaks, and hears the answer.
fn polite() -> Vec<Step> {
    vec![
        Step::WaitForAudio { at_most_ms: 5_000 },
        Step::WaitForSilence { ms: 700, at_most_ms: 20_000 },
        Step::Say(ulaw("caller-short.wav")),
        Step::WaitForAudio { at_most_ms: 5_000 },
        Step::WaitForSilence { ms: 1_000, at_most_ms: 20_000 },
        Step::HangUp,
    ]
}

#[derive(Debug)]
struct Sound {
    left: Vec<i16>,
    right: Vec<i16>,
}

fn read(file: Vec<u8>, rate_hz: u32) -> Sound {
    let mut reader = hound::WavReader::new(Cursor::new(file)).unwrap();
    assert_eq!((reader.spec().channels, reader.spec().sample_rate), (2, rate_hz));
    let samples: Vec<i16> = reader.samples().map(Result::unwrap).collect();
    let channel = |n: usize| samples.iter().skip(n).step_by(2).copied().collect();
    Sound { left: channel(0), right: channel(1) }
}

/// What becomes of `taps` when the disk is fast.
fn written(taps: &[Tap], rate_hz: u32) -> Sound {
    let mut wave = Wave::begin(Cursor::new(Vec::new()), rate_hz).unwrap();
    let mut stereo = Stereo::new(rate_hz);
    let mut is_over = false;
    for tap in taps {
        assert!(!is_over, "something came after the end: {tap:?}");
        is_over = stereo.take(tap);
        wave.apply(&stereo.pieces()).unwrap();
    }
    if !is_over {
        stereo.end(None);
        wave.apply(&stereo.pieces()).unwrap();
    }
    read(wave.into_file().into_inner(), rate_hz)
}

fn of(world: &World) -> Sound {
    written(&world.taps, 8_000)
}

/// By how many samples `speech` lies later in `channel` than at `at_ms`, at most 100 ms, and how well it fits there.
fn found(speech: &[i16], channel: &[i16], at_ms: usize) -> (isize, f64) {
    let power = |s: &[i16]| s.iter().map(|x| f64::from(*x) * f64::from(*x)).sum::<f64>();
    let reach = 100 * KHZ;
    let from = at_ms * KHZ;
    (from.saturating_sub(reach)..from + reach)
        .filter_map(|at| {
            let window = channel.get(at..at + speech.len())?;
            let product: f64 = speech.iter().zip(window).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
            Some((at as isize - from as isize, product / (power(speech) * power(window)).sqrt().max(1.0)))
        })
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .unwrap_or((0, 0.0))
}

#[track_caller]
fn assert_there(what: &str, speech: &[i16], channel: &[i16], at_ms: usize) {
    let (late, fit) = found(speech, channel, at_ms);
    assert!(fit > 0.95, "{what} is not at {at_ms} ms: fit {fit}");
    assert!(late.unsigned_abs() <= 20 * KHZ, "{what}: {} ms late", late / KHZ as isize);
}

/// Where in the stream each speech that the caller heard began, in milliseconds, and its first second and a half.
fn speeches(world: &World) -> Vec<(usize, Vec<i16>)> {
    let double = world.caller();
    let heard = decoded(double.heard());
    let mut found: Vec<(usize, Vec<i16>)> = Vec::new();
    let mut last_end = None;
    for media in &double.log().media {
        let Some(from) = media.from else { continue };
        if last_end.is_none_or(|end| from > end + MediaTime::from_ms(500)) {
            let at = from.as_ms() as usize;
            found.push((at, heard[at * KHZ..].iter().take(1_500 * KHZ).copied().collect()));
        }
        last_end = Some(media.to);
    }
    found
}

fn is_silent(channel: &[i16], from_ms: usize, to_ms: usize) -> bool {
    channel[from_ms * KHZ..to_ms * KHZ].iter().all(|sample| *sample == 0)
}

#[test]
fn what_was_said_and_what_was_heard_stand_where_they_were_in_the_call() {
    let world = call(answers(spoken_answer()), polite(), Silence::Frames);
    let sound = of(&world);
    let said = world.caller().log().said[0].from.as_ms() as usize;
    assert_there("the caller", &decoded(&ulaw("caller-short.wav")), &sound.left, STREAM_AT_MS + said);
    let speeches = speeches(&world);
    assert_eq!(speeches.len(), 2, "a greeting and an answer");
    for (at, speech) in speeches {
        assert_there("the model", &speech, &sound.right, STREAM_AT_MS + at);
    }
    let lasted = world.outcome.as_ref().unwrap().0.as_micros() / 1000 - 1_000;
    assert!((sound.left.len() / KHZ).abs_diff(lasted as usize) <= 1, "as long as the call");
}

#[test]
fn a_wider_recording_of_the_same_call_is_aligned_the_same() {
    let world = call(answers(spoken_answer()), polite(), Silence::Frames);
    let third = |channel: Vec<i16>| channel.into_iter().step_by(3).collect::<Vec<_>>();
    let Sound { left, right } = written(&world.taps, 24_000);
    let (left, right) = (third(left), third(right));
    let said = world.caller().log().said[0].from.as_ms() as usize;
    assert_there("the caller", &decoded(&ulaw("caller-short.wav")), &left, STREAM_AT_MS + said);
    for (at, speech) in speeches(&world) {
        assert_there("the model", &speech, &right, STREAM_AT_MS + at);
    }
}

#[test]
fn after_an_interruption_the_right_channel_is_silent_from_what_was_heard_on_although_more_was_sent() {
    let audio = ulaw("caller-barge-in.wav");
    let barge_in = Step::BargeIn { after_ms_of_model_speech: 2_000, audio };
    let steps = vec![barge_in, Step::Wait(2_000), Step::HangUp];
    let world = call(answers(Say::buzz("one two three", 8_000)), steps, Silence::Frames);
    let cut = world.facts.iter().find_map(|(_, f)| if let Fact::Cut(cut) = f { Some(*cut) } else { None });
    let cut = cut.expect("the greeting was interrupted");
    assert!(cut.sent.as_ms() > cut.heard.as_ms() + 100, "no more was sent than heard: {cut:?}");
    let right = of(&world).right;
    let begin = right.iter().position(|sample| *sample != 0).unwrap() / KHZ;
    let end = begin + cut.heard.as_ms() as usize;
    assert!(is_silent(&right, end + 20, end + 500), "something is heard after {cut:?}");
    assert!(!is_silent(&right, end - 60, end - 20), "what was heard is missing before {cut:?}");
    let (at, speech) = speeches(&world).remove(0);
    assert_there("the greeting", &speech, &right, STREAM_AT_MS + at);
}

#[test]
fn holes_in_the_callers_stream_are_silence_of_their_length_and_ten_minutes_end_aligned() {
    let speech = ulaw("caller-short.wav");
    let mut steps = Vec::new();
    // The longest hole is longer than what is filled for a model.
    for hole_ms in [6_000, 350, 9_000, 31_000, 90_000].into_iter().cycle().take(25) {
        steps.extend([Step::Wait(hole_ms), Step::Say(speech.clone())]);
    }
    steps.extend([Step::Wait(9_000), Step::HangUp]);
    let world = call(answers(spoken_answer()), steps, Silence::Holes);
    let sound = of(&world);
    assert!(sound.left.len() > 600_000 * KHZ, "{} ms", sound.left.len() / KHZ);
    let speech = decoded(&speech);
    let said = &world.caller().log().said;
    assert_eq!(said.len(), 25);
    for said in said {
        let at = STREAM_AT_MS + said.from.as_ms() as usize;
        assert_there("the caller", &speech, &sound.left, at);
        assert!(is_silent(&sound.left, at - 300, at - 20), "the hole before {at} ms is not silent");
    }
    // An answer that was interrupted before its first word has no sound to be found by.
    let is_spoken = |speech: &[i16]| speech.iter().skip(1_000 * KHZ).any(|sample| sample.abs() > 500);
    let spoken: Vec<_> = speeches(&world).into_iter().filter(|(_, speech)| is_spoken(speech)).collect();
    let late = spoken.iter().filter(|(at, _)| *at > 600_000).count();
    assert!(spoken.len() >= 10 && late >= 2, "{} answers, {late} of them after ten minutes", spoken.len());
    for (at, speech) in &spoken {
        assert_there("the model", speech, &sound.right, STREAM_AT_MS + at);
    }
}

#[test]
fn prompts_are_heard_and_so_they_are_recorded() {
    let mut setup = Setup { script: answers(spoken_answer()), streams: vec![polite()], ..Setup::default() };
    setup.call = CallConfig { records: true, announces: true, greets: true, ..CallConfig::default() };
    let mut world = World::new(setup);
    world.run(Duration::from_secs(60));
    let right = of(&world).right;
    let announcement = vec![ulaw_decode(0xB0); 1_000 * KHZ];
    let (at, _) = speeches(&world).remove(0);
    let from = (STREAM_AT_MS + at + 20) * KHZ;
    assert_eq!(right[from..from + 960 * KHZ], announcement[..960 * KHZ]);
}

fn ms(ms: u64) -> MediaTime {
    MediaTime::from_ms(ms)
}

fn pcmu(audio: &[u8], pts: MediaTime) -> Frame {
    Frame::live(Format::PCMU, Payload::Raw(Bytes::copy_from_slice(audio)), pts)
}

fn said(at: u64, audio: &[u8], pts: u64) -> Tap {
    Tap::Said { at: ms(at), frame: pcmu(audio, ms(pts)) }
}

/// A hundred milliseconds of sound for the caller.
fn played(at: u64) -> Tap {
    Tap::Played { at: ms(at), frame: Frame { utterance: Some(UtteranceId(1)), ..pcmu(&[0x20; 800], ms(at)) } }
}

#[test]
fn audio_that_the_network_held_up_stands_where_it_was_said_and_not_behind_the_silence_that_filled_in_for_it()
{
    let speech: Vec<u8> = ulaw("caller-order.wav").iter().copied().skip(1_600).take(8 * 4_000).collect();
    let mut taps = Vec::new();
    for (n, frame) in speech.chunks(160).enumerate() {
        let n = n as u64;
        match n {
            0..100 => taps.push(said(n * 20 + 20, frame, n * 20)),
            // Half a second comes at once; 400 ms of silence stand in the stream for it.
            100 => taps.extend([said(2_500, &[0xFF; 3_200], 2_000), said(2_500, frame, 2_400)]),
            101..125 => taps.push(said(2_500, frame, n * 20 + 400)),
            _ => taps.push(said(n * 20 + 20, frame, n * 20 + 400)),
        }
    }
    assert_eq!(written(&taps, 8_000).left, decoded(&speech));
}

#[test]
fn clocks_that_differ_do_not_drift_apart() {
    for parts_per_million in [-150_i64, 150] {
        let mut said = Said::new(8_000);
        for n in 0..30_000_u64 {
            let came = (n * 20 + 50).saturating_add_signed((n as i64 * 20 * parts_per_million) / 1_000_000);
            said.take(ms(came), &pcmu(&[0x30; 160], ms(n * 20)));
            let end = said.track.end() / KHZ as u64;
            assert!(end.abs_diff(came) <= 45, "{end} ms, and it came at {came} ms");
        }
    }
}

#[test]
fn what_turns_out_unheard_when_it_is_on_disk_already_is_silenced_there() {
    let mut taps: Vec<Tap> =
        (0..100).flat_map(|n| [played(n * 100), said(n * 100 + 100, &[0xFF; 800], n * 100)]).collect();
    taps.extend([Tap::Cut { at: ms(3_000) }, Tap::Ended { at: ms(10_500) }]);
    let right = written(&taps, 8_000).right;
    assert_eq!(right.len(), 10_500 * KHZ);
    assert!(right[..3_000 * KHZ].iter().all(|sample| *sample != 0));
    assert!(is_silent(&right, 3_000, 10_500));
}

#[test]
fn nothing_sent_is_heard_after_the_end_of_the_call() {
    let taps = [played(0), played(100), played(200), Tap::Ended { at: ms(150) }];
    let sound = written(&taps, 8_000);
    assert_eq!((sound.left.len(), sound.right.len()), (150 * KHZ, 150 * KHZ));
}

#[test]
fn a_measured_delay_moves_the_speech_that_plays_as_one_piece() {
    let taps =
        [played(0), Tap::Delayed { by: ms(80) }, played(100), Tap::Delayed { by: ms(60) }, played(200)];
    let right = written(&taps, 8_000).right;
    assert!(is_silent(&right, 0, 60));
    assert!(right[60 * KHZ..].iter().all(|sample| *sample != 0), "a hole within one speech");
    assert_eq!(right.len(), 360 * KHZ);
}

#[test]
fn hours_without_sound_cost_no_memory() {
    let mut stereo = Stereo::new(24_000);
    stereo.take(&said(20, &[0x20; 160], 0));
    stereo.take(&said(4 * 3_600_000, &[0x20; 160], 20));
    let pieces = stereo.pieces();
    let silent: u64 = pieces.iter().map(|p| if let Piece::Silence(pairs) = p { *pairs } else { 0 }).sum();
    assert!(silent > (4 * 3_600 - 5) * 24_000, "{silent} of {} pieces", pieces.len());
}

#[test]
fn the_file_is_a_wav_at_every_moment() {
    let disk = Disk::default();
    let mut wave = Wave::begin(disk.clone(), 8_000).unwrap();
    let steps = [
        Piece::Samples(vec![1, 2, 3, 4]),
        Piece::Silence(5),
        Piece::Unheard(1..4),
        Piece::Samples(vec![5, 6]),
    ];
    let mut pairs = 0;
    for step in steps {
        pairs += match &step {
            Piece::Samples(samples) => samples.len() / 2,
            Piece::Silence(pairs) => usize::try_from(*pairs).unwrap(),
            Piece::Unheard(_) => 0,
        };
        wave.apply(&[step]).unwrap();
        assert_eq!(disk.sound().left.len(), pairs);
    }
    let sound = disk.sound();
    assert_eq!(sound.left, [1, 3, 0, 0, 0, 0, 0, 5]);
    assert_eq!(sound.right, [2, 0, 0, 0, 0, 0, 0, 6]);
}

/// A disk that can be stopped.
#[derive(Clone, Default)]
struct Disk {
    file: Arc<Mutex<Cursor<Vec<u8>>>>,
    is_stuck: Arc<(Mutex<bool>, Condvar)>,
}

impl Disk {
    fn stick(&self, is_stuck: bool) {
        *self.is_stuck.0.lock().unwrap() = is_stuck;
        self.is_stuck.1.notify_all();
    }

    fn sound(&self) -> Sound {
        read(self.file.lock().unwrap().get_ref().clone(), 8_000)
    }

    fn record(&self, metrics: &Arc<Metrics>) -> (Recording, Writing) {
        let disk = self.clone();
        Recording::over(8_000, move || Ok(disk), |_| Ok(()), metrics)
    }
}

impl Write for Disk {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let stuck = self.is_stuck.0.lock().unwrap();
        drop(self.is_stuck.1.wait_while(stuck, |stuck| *stuck).unwrap());
        self.file.lock().unwrap().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Read for Disk {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.file.lock().unwrap().read(bytes)
    }
}

impl Seek for Disk {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.file.lock().unwrap().seek(to)
    }
}

/// Tells the recording `taps`; the writer may work in between.
async fn tell(recording: &mut Recording, taps: &[Tap]) {
    for tap in taps {
        recording.tap(tap);
        tokio::task::yield_now().await;
    }
}

/// Tells the recording `taps` no faster than the writer takes them, as a call does that lasts as long as it lasts.
async fn tell_in_time(recording: &mut Recording, taps: &[Tap]) {
    for some in taps.chunks(BATCH) {
        tell(recording, some).await;
        catch_up(recording).await;
    }
}

/// Until the writer has taken all that waits.
async fn catch_up(recording: &Recording) {
    while recording.taps.as_ref().is_some_and(|taps| taps.capacity() < QUEUE_MAX) {
        tokio::task::yield_now().await;
    }
}

fn lost(metrics: &Metrics) -> u64 {
    let text = metrics.text();
    let line = text.lines().find_map(|line| line.strip_prefix("patchbay_recording_frames_lost_total "));
    line.expect("the counter is there").parse().unwrap()
}

#[tokio::test]
async fn a_disk_that_stands_still_never_delays_the_call_and_what_follows_stands_where_it_belongs() {
    let speech = ulaw("caller-order.wav");
    let mut steps = vec![Step::Wait(8_000)];
    for _ in 0..4 {
        steps.extend([Step::Say(speech.clone()), Step::Wait(9_000)]);
    }
    steps.push(Step::HangUp);
    let world = call(answers(spoken_answer()), steps, Silence::Frames);
    let when = |tap: &Tap| match tap {
        Tap::Said { at, .. } | Tap::Played { at, .. } | Tap::Cut { at } | Tap::Ended { at } => {
            Some(at.as_ms())
        }
        Tap::Delayed { .. } => None,
    };
    let index = |ms: u64| world.taps.iter().position(|tap| when(tap).is_some_and(|at| at >= ms)).unwrap();
    let (stuck, free) = (index(20_000), index(60_000));
    let (disk, metrics) = (Disk::default(), Arc::new(Metrics::new()));
    let (mut recording, writing) = disk.record(&metrics);
    tell_in_time(&mut recording, &world.taps[..stuck]).await;
    assert_eq!(lost(&metrics), 0);
    disk.stick(true);
    // A call that waited here would wait for ever.
    tell(&mut recording, &world.taps[stuck..free]).await;
    assert!(lost(&metrics) > 100);
    disk.stick(false);
    catch_up(&recording).await;
    tell_in_time(&mut recording, &world.taps[free..]).await;
    assert!(writing.finished().await);
    let sound = disk.sound();
    assert_eq!(sound.left.len(), of(&world).left.len());
    assert!(is_silent(&sound.left, 40_000, 59_000), "what was dropped is silence");
    let last = world.caller().log().said.last().unwrap().from.as_ms() as usize;
    assert_there("the caller", &decoded(&speech), &sound.left, STREAM_AT_MS + last);
    let (at, speech) = speeches(&world).pop().unwrap();
    assert_there("the model", &speech, &sound.right, STREAM_AT_MS + at);
}

#[tokio::test]
async fn a_cut_is_not_dropped_when_the_queue_is_full() {
    let (disk, metrics) = (Disk::default(), Arc::new(Metrics::new()));
    let (mut recording, writing) = disk.record(&metrics);
    disk.stick(true);
    for n in 0..QUEUE_MAX as u64 {
        recording.tap(&played(n * 100));
    }
    assert!(lost(&metrics) > 0);
    recording.tap(&Tap::Cut { at: ms(1_000) });
    recording.tap(&Tap::Ended { at: ms(2_000) });
    disk.stick(false);
    assert!(writing.finished().await);
    let right = disk.sound().right;
    assert!(right[..1_000 * KHZ].iter().all(|sample| *sample != 0));
    assert!(is_silent(&right, 1_000, 2_000));
}

#[tokio::test]
async fn a_machine_that_spares_itself_records_silence_and_goes_on_where_it_belongs() {
    let (disk, metrics) = (Disk::default(), Arc::new(Metrics::new()));
    let (mut recording, writing) = disk.record(&metrics);
    for n in 0..30 {
        match n {
            10..20 => recording.tap_without_sound(&played(n * 100)),
            _ => recording.tap(&played(n * 100)),
        }
    }
    recording.tap_without_sound(&Tap::Ended { at: ms(3_000) });
    assert!(writing.finished().await);
    let right = disk.sound().right;
    assert!(is_silent(&right, 1_000, 2_000));
    let sounds = |from: usize| right[from * KHZ..][..1_000 * KHZ].iter().all(|sample| *sample != 0);
    assert!(sounds(0) && sounds(2_000), "what was not spared is missing, or elsewhere");
    assert!(metrics.text().contains("patchbay_recording_frames_lost_total 10"));
}

#[tokio::test]
async fn a_call_that_ends_without_a_word_leaves_a_whole_file() {
    let (disk, metrics) = (Disk::default(), Arc::new(Metrics::new()));
    let (mut recording, writing) = disk.record(&metrics);
    recording.tap(&played(0));
    drop(recording);
    assert!(writing.finished().await);
    assert_eq!(disk.sound().right.len(), 100 * KHZ);
}

#[tokio::test]
async fn the_file_has_its_name_when_it_is_whole_and_is_the_owners_alone() {
    let base = std::env::temp_dir().join(format!("patchbay-recording-{}", std::process::id()));
    let folder = base.join("of/a/tenant");
    let metrics = Arc::new(Metrics::new());
    let order = Order { folder: folder.clone(), rate_hz: 8_000 };
    let (mut recording, writing) = Recording::start(order.clone(), "call_1", &metrics);
    recording.tap(&played(0));
    let whole = order.path("call_1");
    while !unfinished(&whole).exists() {
        tokio::task::yield_now().await;
    }
    assert!(!whole.exists(), "it is not whole yet");
    recording.tap(&Tap::Ended { at: ms(200) });
    assert!(writing.finished().await);
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&whole), mode(&folder)), (0o600, 0o700));
    assert!(!unfinished(&whole).exists());
    let (_, again) = Recording::start(order, "call_2", &metrics);
    assert!(again.finished().await, "the call ended before it began");
    std::fs::remove_dir_all(base).unwrap();
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_costs_the_recording_and_not_the_call() {
    let metrics = Arc::new(Metrics::new());
    let order = Order { folder: "/proc/nowhere".into(), rate_hz: 8_000 };
    let (mut recording, writing) = Recording::start(order, "call_1", &metrics);
    tell(&mut recording, &[played(0), played(100)]).await;
    assert!(!writing.finished().await);
    recording.tap(&played(200));
    assert!(metrics.text().contains("patchbay_recordings_failed_total 1"));
}

#[test]
fn a_telephone_is_recorded_at_its_own_rate_and_anything_wider_at_24_khz() {
    let rate = |said, heard| Order::new(Path::new("x"), said, heard).rate_hz;
    assert_eq!(rate(Format::PCMU, Format::PCMU), 8_000);
    assert_eq!(rate(Format::PCMU, Format::L16_24K), 24_000);
    assert_eq!(rate(Format::L16_48K, Format::L16_48K), 24_000);
}
