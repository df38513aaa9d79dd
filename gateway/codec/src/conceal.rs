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
        self.rise = left.min(self.span);
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
