//! Speech as samples at 8 kHz, and whether one recording is to be heard in another.

use patchbay_codec::g711::ulaw_decode;

/// Samples a second.
const RATE_HZ: usize = 8_000;

/// Where one recording was found in another, and how well it fits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Match {
    /// Samples into the other at which it begins.
    pub(crate) at: usize,
    /// Normalised correlation over its whole length there: 1 for the same but for loudness, about 0 for anything else.
    pub(crate) fit: f64,
}

/// µ-law as samples.
pub(crate) fn samples(ulaw: &[u8]) -> Vec<f64> {
    ulaw.iter().map(|code| f64::from(ulaw_decode(*code))).collect()
}

/// A WAV of `fixtures/audio` as samples, of which every `rate / 8 kHz`-th is taken: enough to recognise speech by.
pub(crate) fn fixture(name: &str) -> Vec<f64> {
    let path = crate::house::root().join("fixtures/audio").join(name);
    let mut reader = hound::WavReader::open(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let step = reader.spec().sample_rate as usize / RATE_HZ;
    let all: Vec<_> = reader.samples::<i16>().map(|s| f64::from(s.expect("a fixture is PCM16"))).collect();
    all.chunks(step).map(|few| few.iter().sum::<f64>() / few.len() as f64).collect()
}

/// Finds `speech`, without the silence around it, in `heard`: by its loudest 300 ms, then measured as a whole.
pub(crate) fn find(speech: &[f64], heard: &[f64]) -> Match {
    let speech = without_silence(speech);
    let probe_length = (RATE_HZ * 3 / 10).min(speech.len());
    let energy = |from: usize| power(&speech[from..from + probe_length]);
    let loudest = (0..=speech.len() - probe_length)
        .step_by(80)
        .max_by(|a, b| energy(*a).total_cmp(&energy(*b)))
        .expect("a recording of speech has a loudest part");
    let found = place_of(&speech[loudest..loudest + probe_length], heard);
    let at = found.saturating_sub(loudest);
    Match { at, fit: fit(speech, &heard[at..]) }
}

/// Where `probe` correlates best.
fn place_of(probe: &[f64], heard: &[f64]) -> usize {
    let (mut best, mut best_score, mut energy) = (0, 0.0, power(&heard[..probe.len().min(heard.len())]));
    for (at, window) in heard.windows(probe.len()).enumerate() {
        let product: f64 = probe.iter().zip(window).map(|(x, y)| x * y).sum();
        let score = if energy > 1.0 && product > 0.0 { product * product / energy } else { 0.0 };
        if score > best_score {
            (best, best_score) = (at, score);
        }
        energy += heard.get(at + probe.len()).map_or(0.0, |next| next * next) - window[0] * window[0];
    }
    best
}

/// From its first loud sample to its last.
pub(crate) fn without_silence(speech: &[f64]) -> &[f64] {
    let is_loud = |sample: &f64| sample.abs() > 200.0;
    let from = speech.iter().position(is_loud).unwrap_or_default();
    let to = speech.iter().rposition(is_loud).map_or(speech.len(), |last| last + 1);
    &speech[from..to]
}

/// Normalised correlation of `a` with the beginning of `b`.
fn fit(a: &[f64], b: &[f64]) -> f64 {
    let length = a.len().min(b.len());
    let product: f64 = a[..length].iter().zip(b).map(|(x, y)| x * y).sum();
    let norm = (power(&a[..length]) * power(&b[..length])).sqrt();
    if norm == 0.0 { 0.0 } else { product / norm }
}

fn power(samples: &[f64]) -> f64 {
    samples.iter().map(|x| x * x).sum()
}

#[test]
fn speech_is_found_where_it_is_and_not_where_it_is_not() {
    let order = fixture("caller-order.wav");
    let heard = [vec![0.0; 4_321], order.iter().map(|x| x * 0.4).collect(), vec![0.0; 999]].concat();
    let found = find(&order, &heard);
    assert!(found.fit > 0.99, "{found:?}");
    let silence_before = order.len() - without_silence(&order).len();
    assert!((4_321..=4_321 + silence_before).contains(&found.at), "{found:?}");
    let other = find(&fixture("caller-short.wav"), &heard);
    assert!(other.fit < 0.3, "{other:?}");
}

#[test]
fn the_same_words_sampled_higher_are_the_same_words() {
    let found = find(&fixture("caller-24k.wav"), &fixture("caller-order.wav"));
    assert!(found.fit > 0.9, "{found:?}");
}
