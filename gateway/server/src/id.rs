//! Identifiers that cannot be guessed.

/// `size` bytes of the system's randomness.
///
/// # Panics
/// When the system has no randomness: then nothing here is safe.
#[must_use]
pub fn random<const SIZE: usize>() -> [u8; SIZE] {
    let mut bytes = [0; SIZE];
    getrandom::fill(&mut bytes).expect("the system has randomness");
    bytes
}

/// `prefix` and 128 random bits in hexadecimal.
#[must_use]
pub fn fresh(prefix: &str) -> String {
    format!("{prefix}{}", hex(&random::<16>()))
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes everything");
        text
    })
}
