//! G.711: µ-law and A-law (ITU-T G.711, 11/1988), 16-bit linear samples in and out.
//!
//! G.711 gives decision values of a 14-bit (µ-law) and a 13-bit (A-law) scale; a 16-bit sample counts as its upper
//! bits. A sample that falls on a decision value belongs to the interval above it, on both sides of zero: this is what
//! the ITU's own tools do (G.191, one's complement for negative samples). Code that negates instead (Sun's, and
//! Python's `audioop` with it) codes negative µ-law samples up to one step too far out.

/// Linear samples of the 256 µ-law codes.
static ULAW_LINEAR: [i16; 256] = table_256(true);
/// Linear samples of the 256 A-law codes.
static ALAW_LINEAR: [i16; 256] = table_256(false);
/// µ-law codes by the upper 14 bits of a sample.
static ULAW_CODES: [u8; 1 << 14] = codes_of_upper_bits(true);
/// A-law codes by the upper 12 bits of a sample (a sign and 11 bits decide; the 13th is in no decision value).
static ALAW_CODES: [u8; 1 << 12] = codes_of_upper_bits(false);

/// The µ-law code of a sample.
#[inline]
#[must_use]
pub fn ulaw_encode(sample: i16) -> u8 {
    ULAW_CODES[usize::from(sample.cast_unsigned() >> 2)]
}

/// The sample of a µ-law code, a multiple of 4 within ±32,124.
#[inline]
#[must_use]
pub fn ulaw_decode(code: u8) -> i16 {
    ULAW_LINEAR[usize::from(code)]
}

/// The A-law code of a sample.
#[inline]
#[must_use]
pub fn alaw_encode(sample: i16) -> u8 {
    ALAW_CODES[usize::from(sample.cast_unsigned() >> 4)]
}

/// The sample of an A-law code, a multiple of 8 within ±32,256 and never 0.
#[inline]
#[must_use]
pub fn alaw_decode(code: u8) -> i16 {
    ALAW_LINEAR[usize::from(code)]
}

/// µ-law adds this to the 14-bit magnitude, so that each segment begins at a power of two.
const ULAW_BIAS: u16 = 33;

const fn ulaw_compress(sample: i16) -> u8 {
    let sign = (sample >> 15).cast_unsigned();
    let magnitude = ((sample.cast_unsigned() ^ sign) >> 2) + ULAW_BIAS;
    let magnitude = if magnitude > 0x1FFF { 0x1FFF } else { magnitude };
    let segment = magnitude.ilog2() - 5;
    let step = (magnitude >> (segment + 1)).to_le_bytes()[0] & 0xF;
    !(sign.to_le_bytes()[0] & 0x80 | segment.to_le_bytes()[0] << 4 | step)
}

const fn ulaw_expand(code: u8) -> i16 {
    let code = !code;
    let segment = code >> 4 & 7;
    let step = (code & 0xF) as i16;
    let magnitude = (((2 * step + 33) << segment) - 33) << 2;
    if code & 0x80 == 0 { magnitude } else { -magnitude }
}

const fn alaw_compress(sample: i16) -> u8 {
    let sign = (sample >> 15).cast_unsigned();
    let magnitude = (sample.cast_unsigned() ^ sign) >> 4;
    let segment = if magnitude < 16 { 0 } else { magnitude.ilog2() - 3 };
    let shift = if segment == 0 { 0 } else { segment - 1 };
    let step = (magnitude >> shift).to_le_bytes()[0] & 0xF;
    (!sign.to_le_bytes()[0] & 0x80 | segment.to_le_bytes()[0] << 4 | step) ^ 0x55
}

const fn alaw_expand(code: u8) -> i16 {
    let code = code ^ 0x55;
    let segment = code >> 4 & 7;
    let step = (code & 0xF) as i16;
    let magnitude = if segment == 0 { 2 * step + 1 } else { (2 * step + 33) << (segment - 1) } << 3;
    if code & 0x80 == 0 { -magnitude } else { magnitude }
}

const fn table_256(ulaw: bool) -> [i16; 256] {
    let mut table = [0; 256];
    let mut code = 0u8;
    loop {
        table[code as usize] = if ulaw { ulaw_expand(code) } else { alaw_expand(code) };
        if code == 255 {
            return table;
        }
        code += 1;
    }
}

/// Codes by the upper bits of a sample, which alone decide. `N` is a power of two, at most 2¹⁶.
const fn codes_of_upper_bits<const N: usize>(ulaw: bool) -> [u8; N] {
    let mut table = [0; N];
    let step = (1 << 16) / N;
    let mut index = 0;
    while index < N {
        let bits = (index * step).to_le_bytes();
        let sample = i16::from_le_bytes([bits[0], bits[1]]);
        table[index] = if ulaw { ulaw_compress(sample) } else { alaw_compress(sample) };
        index += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;

    fn all_samples() -> impl Iterator<Item = i16> {
        i16::MIN..=i16::MAX
    }

    fn all_codes() -> impl Iterator<Item = u8> {
        0..=255
    }

    /// One half of a law as G.711's tables print it: for each segment its count of intervals and their width, in units
    /// of the table (8,159 or 4,096 at the top), innermost first.
    struct Law {
        segments: [(u16, u16); 8],
        /// Width of the innermost interval where it is not that of its segment (µ-law: 1, from 0 to 1).
        innermost: u16,
        /// 16-bit units in one unit of the table.
        unit: i32,
        /// The character signal of interval `n` as transmitted.
        signal: fn(n: u8, negative: bool) -> u8,
    }

    /// Tables 2a and 2b of G.711.
    const ULAW: Law = Law {
        segments: [(16, 2), (16, 4), (16, 8), (16, 16), (16, 32), (16, 64), (16, 128), (16, 256)],
        innermost: 1,
        unit: 4,
        signal: |n, negative| if negative { 127 - n } else { 255 - n },
    };

    /// Tables 1a and 1b of G.711: 32 equal intervals in the first linear segment; even bits inverted (column 7's note).
    const ALAW: Law = Law {
        segments: [(16, 2), (16, 2), (16, 4), (16, 8), (16, 16), (16, 32), (16, 64), (16, 128)],
        innermost: 2,
        unit: 8,
        signal: |n, negative| (if negative { n } else { 128 + n }) ^ 0b0101_0101,
    };

    impl Law {
        /// The 129 decision values of one half, in 16-bit units.
        fn decisions(&self) -> Vec<i32> {
            let widths =
                self.segments.iter().flat_map(|&(count, width)| std::iter::repeat_n(width, count.into()));
            let mut at = 0;
            let mut decisions = vec![0];
            for (n, width) in widths.enumerate() {
                at += i32::from(if n == 0 { self.innermost } else { width }) * self.unit;
                decisions.push(at);
            }
            decisions
        }

        /// By search: the outermost interval that begins at or below the sample.
        fn encode(&self, decisions: &[i32], sample: i16) -> u8 {
            let negative = sample < 0;
            let magnitude = if negative { -1 - i32::from(sample) } else { i32::from(sample) };
            let n = (0..128).rev().find(|&n| decisions[n] <= magnitude).unwrap();
            (self.signal)(n.try_into().unwrap(), negative)
        }

        /// Quantised value of interval `n`: its middle, but 0 for the innermost of µ-law, whose two halves are one.
        fn value(&self, decisions: &[i32], n: usize) -> i32 {
            if n == 0 && self.innermost == 1 { 0 } else { i32::midpoint(decisions[n], decisions[n + 1]) }
        }
    }

    #[test]
    fn the_tables_of_the_test_end_where_the_recommendation_says() {
        assert_eq!(ULAW.decisions().last(), Some(&(8159 * 4)));
        assert_eq!(ALAW.decisions().last(), Some(&(4096 * 8)));
    }

    #[test]
    fn every_sample_gets_the_code_of_the_recommendation() {
        let (ulaw, alaw) = (ULAW.decisions(), ALAW.decisions());
        for sample in all_samples() {
            assert_eq!(ulaw_encode(sample), ULAW.encode(&ulaw, sample), "µ-law of {sample}");
            assert_eq!(alaw_encode(sample), ALAW.encode(&alaw, sample), "A-law of {sample}");
        }
    }

    #[test]
    fn every_code_gets_the_quantised_value_of_the_recommendation() {
        for (law, decode) in [(ULAW, ulaw_decode as fn(u8) -> i16), (ALAW, alaw_decode)] {
            let decisions = law.decisions();
            for n in 0..128 {
                let value = law.value(&decisions, n);
                let n = u8::try_from(n).unwrap();
                assert_eq!(i32::from(decode((law.signal)(n, false))), value);
                assert_eq!(i32::from(decode((law.signal)(n, true))), -value);
            }
        }
    }

    #[test]
    fn a_second_implementation_agrees_on_everything() {
        use audio_codec_algorithms as second;
        for sample in all_samples() {
            assert_eq!(ulaw_encode(sample), second::encode_ulaw(sample), "µ-law of {sample}");
            assert_eq!(alaw_encode(sample), second::encode_alaw(sample), "A-law of {sample}");
        }
        for code in all_codes() {
            assert_eq!(ulaw_decode(code), second::decode_ulaw(code));
            assert_eq!(alaw_decode(code), second::decode_alaw(code));
        }
    }

    /// Golden values: SHA-256 of what CPython 3.11's `audioop` makes of all codes (`ulaw2lin`, `alaw2lin`, width 2)
    /// and of all samples from −32,768 up (`lin2ulaw`, `lin2alaw`). `audioop` negates where G.191 complements, which
    /// in µ-law moves a negative sample by 4 of its 16-bit units; see the head of this file.
    #[test]
    fn pythons_audioop_agrees() {
        fn sha256(bytes: impl Iterator<Item = u8>) -> String {
            let digest = Sha256::digest(bytes.collect::<Vec<u8>>());
            digest.iter().map(|b| format!("{b:02x}")).collect()
        }
        let moved = |s: i16| if s < 0 { s.saturating_sub(4) } else { s };
        assert_eq!(
            sha256(all_codes().flat_map(|c| ulaw_decode(c).to_le_bytes())),
            "3dab54339e520bb2c924826e3b72a917a2b612e9fd12fc867500f1d983a75827"
        );
        assert_eq!(
            sha256(all_codes().flat_map(|c| alaw_decode(c).to_le_bytes())),
            "e04788d110e58ff8c70c93b8480190d973e3b67876b6119abbaec766cc75c174"
        );
        assert_eq!(
            sha256(all_samples().map(|s| ulaw_encode(moved(s)))),
            "81d633c9e6972a18c74a58720b96cb8ca0bdd096d4060b646dd708c3b846019a"
        );
        assert_eq!(
            sha256(all_samples().map(alaw_encode)),
            "38488f6fd710f4686360edc4d38639f96c491595ef93f8eb8d62d5e07ca6ce7b"
        );
    }

    #[test]
    fn decoding_and_encoding_again_gives_the_same_code() {
        for code in all_codes() {
            assert_eq!(alaw_encode(alaw_decode(code)), code);
            // µ-law has two zeros; the negative one (0x7F) comes back as the positive one.
            let expected = if code == 0x7F { 0xFF } else { code };
            assert_eq!(ulaw_encode(ulaw_decode(code)), expected);
        }
    }

    #[test]
    fn silence_is_what_the_formats_say() {
        use patchbay_core::Format;
        assert_eq!(ulaw_decode(Format::PCMU.silence()), 0);
        assert_eq!(alaw_decode(Format::PCMA.silence()), 8, "A-law has no zero; this is its smallest");
    }
}
