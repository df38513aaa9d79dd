//! Cuts a stream of audio bytes into the sizes that a peer takes.

use bytes::{Bytes, BytesMut};

use crate::{Format, MediaTime};

/// Cuts the bytes of one [`Format`] into chunks that are whole multiples of a span, and holds the remainder.
///
/// What is pushed in the right size leaves as slices of itself, without a copy. A remainder is copied, so that it does
/// not keep the message alive that it came in, and joined with what follows.
///
/// Packets of a codec whose size varies (Opus) cannot be cut: each passes as it is.
#[derive(Debug)]
pub struct Reframer {
    format: Format,
    /// Bytes of one multiple and of the longest chunk; `None` for a codec with packets.
    sizes: Option<Sizes>,
    /// Less than one multiple.
    held: BytesMut,
}

#[derive(Clone, Copy, Debug)]
struct Sizes {
    sample: usize,
    multiple: usize,
    chunk_max: usize,
}

impl Reframer {
    /// Chunks will be whole multiples of `multiple` (at least one sample) and at most `chunk_max`, which is rounded
    /// down to a multiple and is at least one.
    #[must_use]
    pub fn new(format: Format, multiple: MediaTime, chunk_max: MediaTime) -> Self {
        let sizes = format.sample_bytes().map(|sample| {
            let multiple = format.bytes_for(multiple).unwrap_or(sample).max(sample);
            let chunk_max = format.bytes_for(chunk_max).unwrap_or(multiple);
            Sizes { sample, multiple, chunk_max: whole(chunk_max, multiple).max(multiple) }
        });
        Self { format, sizes, held: BytesMut::new() }
    }

    /// Takes any number of bytes and gives the chunks that are complete, in order.
    pub fn push(&mut self, mut bytes: Bytes, mut chunk: impl FnMut(Bytes)) {
        let Some(sizes) = self.sizes else {
            return chunk(bytes);
        };
        if !self.held.is_empty()
            && let Some(joined) = self.join(&mut bytes, sizes)
        {
            chunk(joined);
        }
        while bytes.len() >= sizes.multiple {
            chunk(bytes.split_to(sizes.chunk_of(bytes.len())));
        }
        self.held.extend_from_slice(&bytes);
    }

    /// The stream is complete: gives what is held, filled up with the format's silence to a whole multiple. An
    /// incomplete last sample is dropped. The next push starts fresh.
    pub fn finish(&mut self, mut chunk: impl FnMut(Bytes)) {
        let Some(sizes) = self.sizes else { return };
        self.held.truncate(whole(self.held.len(), sizes.sample));
        if !self.held.is_empty() {
            self.held.resize(sizes.multiple, self.format.silence());
            chunk(self.held.split().freeze());
        }
    }

    /// Forgets what is held. At a cut.
    pub fn reset(&mut self) {
        self.held.clear();
    }

    /// How much audio is held back.
    #[must_use]
    pub fn held(&self) -> MediaTime {
        self.format.duration_of(self.held.len()).unwrap_or(MediaTime::ZERO)
    }

    /// One chunk of what is held and the beginning of `bytes`, or `None` if together they are less than a multiple;
    /// then all of `bytes` stays for the caller to hold.
    fn join(&mut self, bytes: &mut Bytes, sizes: Sizes) -> Option<Bytes> {
        let together = self.held.len() + bytes.len();
        if together < sizes.multiple {
            return None;
        }
        let missing = sizes.chunk_of(together) - self.held.len();
        self.held.extend_from_slice(&bytes.split_to(missing));
        Some(self.held.split().freeze())
    }
}

impl Sizes {
    /// The longest chunk that `available` bytes allow.
    fn chunk_of(self, available: usize) -> usize {
        whole(available.min(self.chunk_max), self.multiple)
    }
}

/// `bytes` rounded down to a multiple of `unit`.
fn whole(bytes: usize, unit: usize) -> usize {
    bytes - bytes % unit
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn push(reframer: &mut Reframer, bytes: &[u8]) -> Vec<Bytes> {
        let mut chunks = Vec::new();
        reframer.push(Bytes::copy_from_slice(bytes), |c| chunks.push(c));
        chunks
    }

    fn finish(reframer: &mut Reframer) -> Vec<Bytes> {
        let mut chunks = Vec::new();
        reframer.finish(|c| chunks.push(c));
        chunks
    }

    fn pcmu(chunk_max_ms: u64) -> Reframer {
        Reframer::new(Format::PCMU, MediaTime::FRAME, MediaTime::from_ms(chunk_max_ms))
    }

    #[test]
    fn aligned_bytes_leave_without_a_copy() {
        let message = Bytes::from(vec![7; 480]);
        let mut chunks = Vec::new();
        pcmu(40).push(message.clone(), |c| chunks.push(c));
        let sizes: Vec<usize> = chunks.iter().map(Bytes::len).collect();
        assert_eq!(sizes, [320, 160]);
        assert_eq!(chunks[0].as_ptr(), message.as_ptr());
        assert_eq!(chunks[1].as_ptr(), message[320..].as_ptr());
    }

    #[test]
    fn a_remainder_is_joined_with_what_follows_into_the_longest_chunk() {
        let mut reframer = pcmu(40);
        assert!(push(&mut reframer, &[1; 100]).is_empty());
        assert_eq!(reframer.held().ticks(), 600);
        let chunks = push(&mut reframer, &[2; 400]);
        assert_eq!(chunks[0], [[1; 100].as_slice(), &[2; 220]].concat());
        assert_eq!(chunks[1], vec![2; 160]);
        assert_eq!(reframer.held(), MediaTime::from_samples(20, 8_000));
    }

    #[test]
    fn a_remainder_does_not_keep_its_message_alive() {
        let message = Bytes::from(vec![1; 170]);
        let mut reframer = pcmu(20);
        reframer.push(message.clone(), drop);
        assert_eq!(reframer.held(), MediaTime::from_samples(10, 8_000));
        assert!(message.is_unique());
    }

    #[test]
    fn the_end_is_filled_up_with_the_silence_of_the_format() {
        for (format, silence) in [(Format::PCMU, 0xFF), (Format::PCMA, 0xD5), (Format::L16_8K, 0)] {
            let mut reframer = Reframer::new(format, MediaTime::FRAME, MediaTime::FRAME);
            push(&mut reframer, &[9; 6]);
            let mut expected = vec![silence; format.bytes_for(MediaTime::FRAME).unwrap()];
            expected[..6].fill(9);
            assert_eq!(finish(&mut reframer), [expected], "{format}");
            assert!(finish(&mut reframer).is_empty());
        }
    }

    #[test]
    fn half_a_sample_at_the_end_is_dropped() {
        let mut reframer = Reframer::new(Format::L16_24K, MediaTime::FRAME, MediaTime::FRAME);
        push(&mut reframer, &[5]);
        assert!(finish(&mut reframer).is_empty());
        push(&mut reframer, &[5, 6, 7]);
        let chunks = finish(&mut reframer);
        assert_eq!(chunks[0][..4], [5, 6, 0, 0]);
    }

    #[test]
    fn nothing_from_before_a_reset_is_heard_after_it() {
        let mut reframer = pcmu(20);
        push(&mut reframer, &[1; 159]);
        reframer.reset();
        assert_eq!(push(&mut reframer, &[2; 160]), [vec![2; 160]]);
    }

    #[test]
    fn packets_pass_whole() {
        let mut reframer = Reframer::new(Format::OPUS, MediaTime::FRAME, MediaTime::FRAME);
        assert_eq!(push(&mut reframer, &[3; 61]), [vec![3; 61]]);
        assert!(finish(&mut reframer).is_empty());
    }

    #[test]
    fn a_span_of_nothing_cuts_single_samples() {
        let mut reframer = Reframer::new(Format::L16_8K, MediaTime::ZERO, MediaTime::ZERO);
        assert_eq!(push(&mut reframer, &[1, 2, 3, 4, 5]), [vec![1, 2], vec![3, 4]]);
    }

    proptest! {
        #[test]
        fn all_bytes_leave_in_order_in_whole_multiples(
            pushes in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..700), 0..20),
            multiple_ms in 1u64..40,
            chunk_max_ms in 0u64..200,
        ) {
            let mut reframer = Reframer::new(
                Format::PCMA, MediaTime::from_ms(multiple_ms), MediaTime::from_ms(chunk_max_ms));
            let mut chunks: Vec<Bytes> = pushes.iter().flat_map(|p| push(&mut reframer, p)).collect();
            prop_assert!(reframer.held() < MediaTime::from_ms(multiple_ms));
            chunks.extend(finish(&mut reframer));
            let multiple = usize::try_from(multiple_ms * 8).unwrap();
            let chunk_max = usize::try_from(chunk_max_ms * 8).unwrap().max(multiple);
            for chunk in &chunks {
                prop_assert!(!chunk.is_empty() && chunk.len() % multiple == 0 && chunk.len() <= chunk_max);
            }
            let pushed = pushes.concat();
            let left = chunks.concat();
            prop_assert_eq!(left.len(), pushed.len().next_multiple_of(multiple));
            prop_assert_eq!(&left[..pushed.len()], &pushed[..]);
            prop_assert!(left[pushed.len()..].iter().all(|&b| b == Format::PCMA.silence()));
        }
    }
}
