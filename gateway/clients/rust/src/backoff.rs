//! How long to wait before the next try.

use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};

const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(15);

/// 250 ms, doubled with each failure up to 15 s, and of that a random part between a half and all.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// How long to wait after one more failure.
    pub(crate) fn next(&mut self) -> Duration {
        let whole = LONGEST.min(FIRST * 2_u32.pow(self.failures.min(16)));
        self.failures += 1;
        whole / 2 + whole / 2 * u32::from(random::<1>()[0]) / 255
    }

    /// Something worked.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

/// Bytes that nobody can guess.
pub(crate) fn random<const COUNT: usize>() -> [u8; COUNT] {
    let mut bytes = [0; COUNT];
    SystemRandom::new().fill(&mut bytes).expect("the system has random bytes");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_grows_has_chance_in_it_and_an_end() {
        let mut backoff = Backoff::default();
        for failure in 0..40 {
            let whole = LONGEST.min(FIRST * 2_u32.pow(failure.min(16)));
            let pause = backoff.next();
            assert!((whole / 2..=whole).contains(&pause), "{failure}: {pause:?}");
        }
    }
}
