//! What stands in for lost audio.

use patchbay_core::MediaTime;

use crate::samples::PIECE;

/// How long a fade takes.
const FADE: MediaTime = MediaTime::from_ms(5);

/// Stands in for lost samples: what was heard last runs backwards while it fades, then there is silence. Running
/// backwards begins where the sound broke off, so the seam does not click. What follows is faded in.
#[derive(Debug)]
pub(crate) struct Concealer {
    rate_hz: u32,
    /// Samples of a whole fade, at most [`PIECE`].
    span: usize,
    /// The last samples, at most `span`. Empty is silence.
    last: Vec<i16>,
    /// Samples of the fade-in that are to come.
    rise: usize,
}

impl Concealer {
    /// For samples at `rate_hz`.
    pub(crate) fn new(rate_hz: u32) -> Self {
        let span = usize::try_from(FADE.samples(rate_hz)).unwrap_or(PIECE).min(PIECE);
        Self { rate_hz, span, last: Vec::with_capacity(2 * span), rise: 0 }
    }

    /// How many of the last samples matter to [`remember`](Self::remember).
    pub(crate) fn span(&self) -> usize {
        self.span
    }

    /// Fades in what follows a gap.
    pub(crate) fn fade_in(&mut self, samples: &mut [i16]) {
        for sample in samples.iter_mut().take(self.rise) {
            *sample = self.scaled(*sample, self.span - self.rise);
            self.rise -= 1;
        }
    }

    /// Remembers what would have to fade if the next samples were lost.
    pub(crate) fn remember(&mut self, samples: &[i16]) {
        let newest = &samples[samples.len().saturating_sub(self.span)..];
        let kept = self.last.len().min(self.span - newest.len());
        self.last.drain(..self.last.len() - kept);
        self.last.extend_from_slice(newest);
    }

    /// Gives what stands in for `lost`, at most [`PIECE`] samples at a time.
    pub(crate) fn conceal(&mut self, lost: MediaTime, mut piece: impl FnMut(&[i16])) {
        let mut left = usize::try_from(lost.samples(self.rate_hz)).unwrap_or(usize::MAX);
        let mut samples = [0; PIECE];
        let falling = self.last.len().min(left);
        for (k, (to, &from)) in samples[..falling].iter_mut().zip(self.last.iter().rev()).enumerate() {
            *to = self.scaled(from, self.span - 1 - k);
        }
        self.rise = self.rise.saturating_add(left).min(self.span);
        while left > 0 {
            let now = left.min(PIECE);
            piece(&samples[..now]);
            self.remember(&samples[..now]);
            samples.fill(0);
            left -= now;
        }
    }

    /// Forgets all.
    pub(crate) fn reset(&mut self) {
        self.last.clear();
        self.rise = 0;
    }

    /// `sample` × `part` / `span`.
    fn scaled(&self, sample: i16, part: usize) -> i16 {
        let product = i64::from(sample) * part as i64 / self.span as i64;
        i16::try_from(product).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::levels::tone;

    fn conceal(concealer: &mut Concealer, lost: MediaTime) -> Vec<i16> {
        let mut samples = Vec::new();
        concealer.conceal(lost, |piece| samples.extend_from_slice(piece));
        samples
    }

    /// The largest step between neighbours.
    fn steepest(samples: &[i16]) -> u16 {
        samples.windows(2).map(|w| w[0].abs_diff(w[1])).max().unwrap_or(0)
    }

    #[test]
    fn both_ends_of_a_gap_are_no_steeper_than_the_tone() {
        for rate_hz in [8_000, 16_000, 24_000, 48_000] {
            let tone = tone(300.0, rate_hz, 16_000.0, 0.1);
            let crest = rate_hz as usize / 1_200 + rate_hz as usize / 20;
            let mut concealer = Concealer::new(rate_hz);
            let mut heard = tone[..crest].to_vec();
            concealer.remember(&heard);
            heard.extend(conceal(&mut concealer, MediaTime::from_ms(40)));
            let mut after = tone[crest..].to_vec();
            concealer.fade_in(&mut after);
            heard.extend(after);
            let (limit, got) = (steepest(&tone), steepest(&heard));
            assert!(got <= limit + limit / 10, "{rate_hz} Hz: {got} beyond {limit}");
        }
    }

    #[test]
    fn after_the_fade_there_is_silence_and_it_lasts() {
        let mut concealer = Concealer::new(8_000);
        concealer.remember(&[10_000; 500]);
        let gap = conceal(&mut concealer, MediaTime::from_ms(100));
        assert_eq!(gap.len(), 800);
        assert!(gap[..39].iter().all(|&s| s > 0) && gap[39..].iter().all(|&s| s == 0));
        assert_eq!(conceal(&mut concealer, MediaTime::FRAME), vec![0; 160]);
    }

    #[test]
    fn a_long_gap_in_pieces_rises_like_one() {
        let mut concealer = Concealer::new(8_000);
        conceal(&mut concealer, MediaTime::FRAME);
        conceal(&mut concealer, MediaTime::from_ms(1));
        let mut after = [10_000; 40];
        concealer.fade_in(&mut after);
        assert_eq!((after[0], after[39]), (0, 9_750));
    }

    #[test]
    fn nothing_is_heard_of_what_was_before_a_reset() {
        let mut concealer = Concealer::new(8_000);
        concealer.remember(&[10_000; 500]);
        concealer.reset();
        assert_eq!(conceal(&mut concealer, MediaTime::FRAME), vec![0; 160]);
    }

    #[test]
    fn a_gap_shorter_than_a_fade_goes_down_and_up_again_without_a_step() {
        let mut concealer = Concealer::new(8_000);
        concealer.remember(&[10_000; 40]);
        let mut heard = conceal(&mut concealer, MediaTime::from_ms(2));
        let mut after = [10_000; 40];
        concealer.fade_in(&mut after);
        heard.extend(after);
        assert!(heard.iter().all(|&s| s >= 5_750), "2 of 5 ms: {heard:?}");
        assert!(steepest(&heard) <= 250);
        assert_eq!(heard.last(), Some(&10_000));
    }

    #[test]
    fn the_memory_is_of_the_last_five_milliseconds_in_any_sizes() {
        let mut concealer = Concealer::new(8_000);
        for sample in 0..100 {
            concealer.remember(&[sample]);
        }
        assert_eq!(concealer.last, (60..100).collect::<Vec<i16>>());
        concealer.remember(&[7; 15]);
        assert_eq!(concealer.last[..25], (75..100).collect::<Vec<i16>>());
        assert_eq!(concealer.last[25..], [7; 15]);
    }
}
