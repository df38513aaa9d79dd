//! Session descriptions (RFC 8866, RFC 8829): what is refused before a parser sees it, and what an answer gets besides.

use patchbay_core::Format;

/// A description is some kilobytes.
const BYTES_MAX: usize = 64 * 1024;
const LINE_BYTES_MAX: usize = 4 * 1024;
/// A browser offers audio, perhaps video, and data.
const MEDIA_MAX: usize = 16;
/// reference/browser.md §1.7, measured: the answer alone steers a browser's encoder. No DTX: a model needs one timeline.
const OPUS: &str = "minptime=10;useinbandfec=1;maxaveragebitrate=32000;stereo=0;sprop-stereo=0";

/// What a peer gets for its offer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The description.
    pub sdp: String,
    /// What audio is in, both ways.
    pub format: Format,
}

/// Why an offer is no use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OfferError {
    /// Too many bytes, in all or in one line.
    #[error("the offer is too long: at most 64 KiB, and 4 KiB a line")]
    TooLong,
    /// Too many media lines.
    #[error("the offer has too many media lines: at most 16")]
    TooManyMedia,
    /// It does not begin as one, or cannot be read.
    #[error("the offer is no SDP that can be read{}", if .0.is_empty() { String::new() } else { format!(": {}", .0) })]
    NotSdp(String),
    /// DTLS needs one.
    #[error("the offer has no a=fingerprint: media goes over DTLS only")]
    NoFingerprint,
    /// ICE needs them.
    #[error("the offer has no a=ice-ufrag and a=ice-pwd")]
    NoIce,
    /// Nothing to hear.
    #[error("the offer has no audio")]
    NoAudio,
    /// Nothing that we speak.
    #[error("the offer's audio has neither opus/48000/2 nor PCMU/8000")]
    NoCodec,
    /// It was read, and does not fit.
    #[error("the offer cannot be accepted: {0}")]
    Refused(String),
    /// The call it is for is over, or too busy to look.
    #[error("the call takes no offer any more")]
    Gone,
}

/// Looks at an offer, and answers what its audio will be in: Opus where it is offered, for it has copies against loss.
pub(super) fn look(offer: &str) -> Result<Format, OfferError> {
    if offer.len() > BYTES_MAX || offer.lines().any(|line| line.len() > LINE_BYTES_MAX) {
        return Err(OfferError::TooLong);
    }
    if !offer.starts_with("v=0") {
        return Err(OfferError::NotSdp(String::new()));
    }
    if offer.lines().filter(|line| line.starts_with("m=")).count() > MEDIA_MAX {
        return Err(OfferError::TooManyMedia);
    }
    let has = |start: &str| offer.lines().any(|line| line.starts_with(start));
    if !has("a=fingerprint:") {
        return Err(OfferError::NoFingerprint);
    }
    if !has("a=ice-ufrag:") || !has("a=ice-pwd:") {
        return Err(OfferError::NoIce);
    }
    if !offer.lines().any(|line| line.starts_with("m=audio ") && !line.starts_with("m=audio 0 ")) {
        return Err(OfferError::NoAudio);
    }
    codec(offer).ok_or(OfferError::NoCodec)
}

fn codec(offer: &str) -> Option<Format> {
    let names: Vec<String> = offer
        .lines()
        .filter_map(|line| line.strip_prefix("a=rtpmap:")?.split_once(' '))
        .map(|(_, name)| name.trim().to_ascii_lowercase())
        .collect();
    let has = |name: &str| names.iter().any(|known| known.starts_with(name));
    // Payload type 0 is PCMU without a word (RFC 3551 §6).
    let is_static = |line: &str| line.starts_with("m=audio ") && line.split(' ').skip(3).any(|pt| pt == "0");
    if has("opus/48000") {
        Some(Format::OPUS)
    } else {
        (has("pcmu/8000") || offer.lines().any(is_static)).then_some(Format::PCMU)
    }
}

/// The offer without its candidates: a peer is learned from its checks (we are ICE-lite), and what it lists may be names that
/// only its own network knows, or a thousand of them.
pub(super) fn without_candidates(offer: &str) -> String {
    let kept = offer.lines().filter(|line| !line.starts_with("a=candidate:"));
    kept.fold(String::with_capacity(offer.len()), |mut text, line| {
        text.push_str(line.trim_end_matches('\r'));
        text.push_str("\r\n");
        text
    })
}

/// Adds to an answer what steers a browser's encoder, and that no candidates will follow. `a=msid:-` would leave the official
/// SDK connected and silent (reference/browser.md §2.1).
pub(super) fn finished(answer: &str) -> String {
    let mut text = String::with_capacity(answer.len() + 512);
    let mut opus = None;
    let mut lines = answer.lines().peekable();
    while let Some(line) = lines.next() {
        let payload_type = |rest: &str| rest.split(' ').next().map(str::to_owned);
        if let Some(rest) = line.strip_prefix("a=rtpmap:")
            && rest.to_ascii_lowercase().contains(" opus/48000")
        {
            opus = payload_type(rest);
        }
        let of_opus =
            line.strip_prefix("a=fmtp:").filter(|rest| opus.is_some() && payload_type(rest) == opus);
        match (of_opus, &opus) {
            (Some(_), Some(pt)) => push(&mut text, &format!("a=fmtp:{pt} {OPUS}\r\na=ptime:20")),
            _ if line.starts_with("a=msid:-") => push(&mut text, "a=msid:patchbay audio"),
            _ => push(&mut text, line),
        }
        let is_last = line.starts_with("a=candidate:")
            && lines.peek().is_none_or(|next| !next.starts_with("a=candidate:"));
        if is_last && lines.peek().is_none_or(|next| !next.starts_with("a=end-of-candidates")) {
            push(&mut text, "a=end-of-candidates");
        }
    }
    text
}

fn push(text: &mut String, line: &str) {
    text.push_str(line);
    text.push_str("\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: &str = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=fingerprint:sha-256 AB\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111 0\r\na=ice-ufrag:abcd\r\na=ice-pwd:abcdefghabcdefghabcdefgh\r\n\
        a=rtpmap:111 opus/48000/2\r\na=candidate:1 1 udp 1 x.local 9 typ host\r\n";

    #[test]
    fn opus_goes_before_pcmu() {
        assert_eq!(look(OFFER), Ok(Format::OPUS));
        let pcmu = OFFER.replace("111 0", "0").replace("a=rtpmap:111 opus/48000/2\r\n", "");
        assert_eq!(look(&pcmu), Ok(Format::PCMU));
        let other = pcmu.replace("SAVPF 0", "SAVPF 9").to_owned() + "a=rtpmap:9 G722/8000\r\n";
        assert_eq!(look(&other), Err(OfferError::NoCodec));
    }

    #[test]
    fn a_bad_offer_is_told_what_is_wrong_with_it() {
        let many = OFFER.to_owned() + &"m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n".repeat(10_000);
        let line = OFFER.to_owned() + "a=x:" + &"y".repeat(1 << 20);
        let some = OFFER.to_owned() + &"m=video 9 X 1\r\n".repeat(16);
        for (offer, error) in [
            (many.as_str(), OfferError::TooLong),
            (&line, OfferError::TooLong),
            (&some, OfferError::TooManyMedia),
            ("", OfferError::NotSdp(String::new())),
            ("hello", OfferError::NotSdp(String::new())),
            (&OFFER.replace("a=fingerprint:sha-256 AB\r\n", ""), OfferError::NoFingerprint),
            (&OFFER.replace("a=ice-pwd", "a=ice-pass"), OfferError::NoIce),
            (&OFFER.replace("m=audio", "m=video"), OfferError::NoAudio),
            (&OFFER.replace("m=audio 9", "m=audio 0"), OfferError::NoAudio),
        ] {
            assert_eq!(look(offer), Err(error));
        }
    }

    #[test]
    fn candidates_of_an_offer_are_left_out() {
        assert!(!without_candidates(OFFER).contains("candidate"));
        assert!(without_candidates(OFFER).ends_with("a=rtpmap:111 opus/48000/2\r\n"));
    }

    #[test]
    fn an_answer_steers_the_encoder_ends_its_candidates_and_names_a_stream() {
        let answer = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=msid:- track\r\na=rtpmap:111 opus/48000/2\r\n\
            a=fmtp:111 minptime=10;useinbandfec=1\r\na=candidate:1 1 udp 1 127.0.0.1 9 typ host\r\n\
            a=candidate:2 1 tcp 1 127.0.0.1 9 typ host tcptype passive\r\na=mid:0\r\n";
        let finished = finished(answer);
        assert!(finished.contains("a=msid:patchbay audio\r\n") && !finished.contains("msid:-"));
        assert!(finished.contains("a=fmtp:111 minptime=10;useinbandfec=1;maxaveragebitrate=32000;"));
        assert!(finished.contains("passive\r\na=end-of-candidates\r\na=mid:0\r\n"));
        assert_eq!(finished.matches("end-of-candidates").count(), 1);
    }
}
