//! A WAV file that is valid whenever the machine stops, and in which what was written can be silenced.
//!
//! Microsoft's RIFF WAVE with one `fmt ` chunk (PCM, two channels, 16 bits) and one `data` chunk.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;

use super::stereo::Piece;

/// Bytes before the first sample.
const HEADER: u64 = 44;
/// Bytes of a pair of samples.
const PAIR: u64 = 4;
/// Bytes that are written or silenced at a time.
const BLOCK: usize = 64 * 1024;

/// The file behind it may be any that can be read back.
pub(super) struct Wave<F> {
    file: F,
    rate_hz: u32,
    pairs: u64,
}

impl<F: Read + Write + Seek> Wave<F> {
    /// Begins a file without samples.
    pub(super) fn begin(file: F, rate_hz: u32) -> io::Result<Self> {
        let mut wave = Self { file, rate_hz, pairs: 0 };
        wave.write_header()?;
        Ok(wave)
    }

    /// Does what is to be done, and makes the header say so.
    pub(super) fn apply(&mut self, pieces: &[Piece]) -> io::Result<()> {
        for piece in pieces {
            match piece {
                Piece::Samples(samples) => self.append(samples)?,
                Piece::Silence(pairs) => self.append_silence(*pairs)?,
                Piece::Unheard(range) => self.silence_right(range)?,
            }
        }
        self.write_header()
    }

    /// The file, complete.
    pub(super) fn into_file(self) -> F {
        self.file
    }

    fn append(&mut self, samples: &[i16]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(HEADER + self.pairs * PAIR))?;
        let bytes: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        self.file.write_all(&bytes)?;
        self.pairs += samples.len() as u64 / 2;
        Ok(())
    }

    fn append_silence(&mut self, pairs: u64) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(HEADER + self.pairs * PAIR))?;
        io::copy(&mut io::repeat(0).take(pairs * PAIR), &mut self.file)?;
        self.pairs += pairs;
        Ok(())
    }

    fn silence_right(&mut self, range: &Range<u64>) -> io::Result<()> {
        let mut block = vec![0; BLOCK];
        let (mut at, end) = (HEADER + range.start * PAIR, HEADER + range.end.min(self.pairs) * PAIR);
        while at < end {
            let size = usize::try_from(end - at).unwrap_or(BLOCK).min(BLOCK);
            self.file.seek(SeekFrom::Start(at))?;
            self.file.read_exact(&mut block[..size])?;
            for pair in block[..size].chunks_exact_mut(4) {
                pair[2..].fill(0);
            }
            self.file.seek(SeekFrom::Start(at))?;
            self.file.write_all(&block[..size])?;
            at += size as u64;
        }
        Ok(())
    }

    fn write_header(&mut self) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&header(self.rate_hz, self.pairs))?;
        self.file.flush()
    }
}

fn header(rate_hz: u32, pairs: u64) -> Vec<u8> {
    // Calls are limited to 4 hours, a third of what 32 bits can tell.
    let size = u32::try_from(pairs * PAIR).unwrap_or(u32::MAX - 36);
    let mut header = Vec::with_capacity(44);
    header.extend(b"RIFF");
    header.extend((size + 36).to_le_bytes());
    header.extend(b"WAVEfmt ");
    header.extend(16_u32.to_le_bytes());
    header.extend([1, 0, 2, 0]);
    header.extend(rate_hz.to_le_bytes());
    header.extend((rate_hz * 4).to_le_bytes());
    header.extend([4, 0, 16, 0]);
    header.extend(b"data");
    header.extend(size.to_le_bytes());
    header
}
