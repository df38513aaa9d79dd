use super::*;
use patchbay_core::{Codec, opus_duration};
use proptest::prelude::*;

fn framings() -> Vec<Framing> {
    vec![
        Framing::Multipart { boundary: "f".into() },
        Framing::Frames { has_header: false },
        Framing::Frames { has_header: true },
        Framing::Ogg,
        Framing::Raw(Format::L16_16K),
        Framing::Raw(Format::PCMU),
    ]
}

/// Ten packets, one of them long, with a hole in time.
fn packets() -> Vec<Packet> {
    let lengths = [3, 40, 80, 255, 1_275, 1, 510, 60, 2, 77];
    let packet = |(seq, length): (u64, &usize)| {
        let payload: Vec<u8> = (0..*length).map(|n| if n == 0 { 9 << 3 } else { u8::try_from(n % 251).unwrap() }).collect();
        let time = seq * 960 + if seq > 5 { 9_600 } else { 0 };
        Packet { codec: Codec::Opus, seq, time, marker: false, payload: payload.into() }
    };
    (0..).zip(&lengths).map(packet).collect()
}

fn written(framing: &Framing) -> Vec<u8> {
    let mut writer = Writer::new(framing, 7);
    let mut out = BytesMut::new();
    writer.begin(&mut out);
    for packet in packets() {
        writer.packet(&packet, &mut out);
        writer.keep_alive(&mut out);
    }
    writer.end("caller_hung_up", &mut out);
    out.to_vec()
}

/// Longest that a reader may hold: a packet with its frame, or an Ogg page and the beginning of a packet.
const HELD_MAX: usize = 27 + 255 + 255 * 255 + PACKET_MAX;

/// What comes of bytes in slices.
fn read(framing: &Framing, bytes: &[u8], slices: &[usize]) -> Result<Vec<Unit>, BadBody> {
    let (mut reader, mut units, mut rest) = (Reader::new(framing), Vec::new(), bytes);
    let mut sizes = slices.iter().cycle();
    while !rest.is_empty() {
        let size = (*sizes.next().unwrap_or(&rest.len())).clamp(1, rest.len());
        let (now, later) = rest.split_at(size);
        rest = later;
        reader.push(now, |unit| units.push(unit))?;
        assert!(reader.held() <= HELD_MAX, "{framing:?} holds {}", reader.held());
    }
    reader.finish(|unit| units.push(unit));
    Ok(units)
}

proptest! {
    #[test]
    fn what_is_written_is_read_however_it_is_sliced(slices in prop::collection::vec(1usize..700, 1..20)) {
        for framing in framings() {
            let units = read(&framing, &written(&framing), &slices).unwrap();
            if let Framing::Raw(_) = framing {
                let sent: usize = units.iter().map(|unit| unit.audio.len()).sum();
                prop_assert!(sent + 1 >= written(&framing).len());
                continue;
            }
            let audio: Vec<_> = units.iter().map(|unit| unit.audio.clone()).collect();
            let expected: Vec<_> = packets().into_iter().map(|packet| packet.payload).collect();
            prop_assert_eq!(audio, expected, "{:?}", framing);
        }
    }

    #[test]
    fn arbitrary_bytes_in_arbitrary_slices_are_read_or_refused_and_never_pile_up(
        bytes in prop::collection::vec(any::<u8>(), 0..4_000),
        slices in prop::collection::vec(1usize..300, 1..10),
    ) {
        for framing in framings() {
            drop(read(&framing, &bytes, &slices));
        }
    }

    #[test]
    fn one_wrong_byte_is_survived(at in any::<prop::sample::Index>(), byte: u8, slices in prop::collection::vec(1usize..900, 1..5)) {
        for framing in framings() {
            let mut bytes = written(&framing);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            drop(read(&framing, &bytes, &slices));
            bytes.truncate(at);
            drop(read(&framing, &bytes, &slices));
        }
    }
}

#[test]
fn numbers_are_read_where_they_are_written() {
    let numbers = |framing: Framing| -> Vec<_> {
        read(&framing, &written(&framing), &[64]).unwrap().into_iter().map(|unit| unit.number).collect()
    };
    let short: Vec<_> = (0..10).map(|n| Some(Number::Short(n))).collect();
    let whole: Vec<_> = (0..10).map(|n| Some(Number::Whole(n))).collect();
    assert_eq!(numbers(Framing::Frames { has_header: true }), short);
    assert_eq!(numbers(Framing::Multipart { boundary: "f".into() }), whole);
    assert_eq!(numbers(Framing::Ogg), [None; 10]);
}

#[test]
fn the_next_boundary_is_written_with_each_part_and_the_last_part_says_why() {
    let mut writer = Writer::new(&Framing::Multipart { boundary: "f".into() }, 0);
    let mut out = BytesMut::new();
    writer.begin(&mut out);
    writer.packet(&packets()[0], &mut out);
    assert_eq!(
        out[..],
        *b"--f\r\nContent-Type: audio/opus\r\nContent-Length: 3\r\nSeq: 0\r\nTimestamp: 0\r\n\r\n\x48\x01\x02\r\n--f\r\n"
    );
    out.clear();
    writer.end("caller_hung_up", &mut out);
    let text = String::from_utf8(out.to_vec()).unwrap();
    assert!(text.ends_with("\r\n\r\n{\"reason\":\"caller_hung_up\",\"type\":\"call.ended\"}\r\n--f--\r\n"), "{text}");
}

#[test]
fn a_part_without_a_length_ends_at_the_boundary() {
    let body = b"\r\n--x y\r\n\r\nabc\r\n--x y\r\nseq: 7\r\n\r\nde\r\nf\r\n--x y--\r\nwhatever follows";
    let units = read(&Framing::Multipart { boundary: "x y".into() }, body, &[3]).unwrap();
    let audio: Vec<_> = units.iter().map(|unit| &unit.audio[..]).collect();
    assert_eq!(audio, [&b"abc"[..], b"de\r\nf"]);
    assert_eq!(units[1].number, Some(Number::Whole(7)));
}

#[test]
fn garbage_is_told_what_was_expected() {
    let code = |framing: Framing, bytes: &[u8]| read(&framing, bytes, &[10]).unwrap_err().code;
    assert_eq!(code(Framing::Ogg, b"RIFF....WAVE"), "no_ogg_page");
    let mut page = written(&Framing::Ogg);
    page[30] ^= 1;
    assert_eq!(code(Framing::Ogg, &page), "ogg_checksum");
    assert_eq!(code(Framing::Frames { has_header: true }, &[0, 6, 1, 2, 3, 4, 5, 6]), "frame_too_short");
    assert_eq!(code(Framing::Frames { has_header: false }, &[255, 255]), "packet_too_long");
    let boundary = || Framing::Multipart { boundary: "f".into() };
    assert_eq!(code(boundary(), b"--g\r\n"), "no_boundary");
    assert_eq!(code(boundary(), &[b"--f\r\n", &vec![b'a'; 2_000][..]].concat()), "header_too_long");
    assert_eq!(code(boundary(), b"--f\r\ncontent-length: 100000\r\n\r\n"), "packet_too_long");
}

/// Pages as an encoder writes them that puts a second of packets on each, comments of 100 KB and a packet over two pages.
#[test]
fn many_packets_a_page_long_comments_and_packets_over_two_pages_are_read() {
    let mut writer = ogg::Writer::new(9);
    let mut out = BytesMut::new();
    writer.begin(&mut out);
    // The head alone, then comments of our own making.
    let head = 27 + 1 + 19;
    let mut body = out[..head].to_vec();
    let mut pages = Pages { serial: 9, number: 1 };
    let comments = vec![b'c'; 100_000];
    body.extend(pages.page(0, &[255; 255], &comments[..65_025]));
    let rest = comments.len() - 65_025;
    let mut table = vec![255; rest / 255];
    table.push(u8::try_from(rest % 255).unwrap());
    body.extend(pages.page(1, &table, &comments[65_025..]));
    let packets: Vec<Vec<u8>> = (0..50).map(|n| vec![n; 60]).collect();
    body.extend(pages.page(0, &[60; 50], &packets.concat()));
    body.extend(pages.page(0, &[10, 255], &[&[1_u8; 10][..], &[2; 255]].concat()));
    body.extend(pages.page(1, &[45, 8], &[&[2_u8; 45][..], &[3; 8]].concat()));
    let units = read(&Framing::Ogg, &body, &[1_000]).unwrap();
    let lengths: Vec<_> = units.iter().map(|unit| unit.audio.len()).collect();
    assert_eq!(lengths, [vec![60; 50], vec![10, 300, 8]].concat());
    assert!(units[51].audio.iter().all(|byte| *byte == 2));
}

struct Pages {
    serial: u32,
    number: u32,
}

impl Pages {
    fn page(&mut self, flags: u8, table: &[u8], body: &[u8]) -> Vec<u8> {
        let mut page = b"OggS\0".to_vec();
        page.push(flags);
        page.extend([0; 8]);
        page.extend(self.serial.to_le_bytes());
        page.extend(self.number.to_le_bytes());
        page.extend([0; 4]);
        page.push(u8::try_from(table.len()).unwrap());
        page.extend(table);
        page.extend(body);
        let crc = slow_checksum(&page);
        page[22..26].copy_from_slice(&crc.to_le_bytes());
        self.number += 1;
        page
    }
}

/// Bit by bit, as RFC 3533 §6 has it.
fn slow_checksum(bytes: &[u8]) -> u32 {
    let mut crc = 0_u32;
    for byte in bytes {
        crc ^= u32::from(*byte) << 24;
        for _ in 0..8 {
            crc = if crc & 0x8000_0000 == 0 { crc << 1 } else { (crc << 1) ^ 0x04c1_1db7 };
        }
    }
    crc
}

#[test]
fn our_pages_hold_one_packet_each_and_their_time() {
    let bytes = written(&Framing::Ogg);
    let mut ends = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let segments = usize::from(bytes[at + 26]);
        let length: usize = bytes[at + 27..at + 27 + segments].iter().map(|n| usize::from(*n)).sum();
        ends.push(u64::from_le_bytes(bytes[at + 6..at + 14].try_into().unwrap()));
        at += 27 + segments + length;
    }
    // Two headers, ten packets each with a page that only says that we are there, and the end.
    assert_eq!(ends.len(), 2 + 20 + 1);
    let first = &packets()[0];
    assert_eq!(ends[2], opus_duration(&first.payload).unwrap().ticks());
    assert_eq!(ends[3], u64::MAX);
}

#[test]
fn a_media_type_says_the_framing() {
    let of = |text: &str| Framing::of_content_type(text);
    assert_eq!(of("application/vnd.patchbay.opus-frames;hdr=1"), Some(Framing::Frames { has_header: true }));
    assert_eq!(of("audio/ogg; codecs=opus"), Some(Framing::Ogg));
    assert_eq!(of("audio/opus"), Some(Framing::Single));
    assert_eq!(of("audio/pcm;rate=16000"), Some(Framing::Raw(Format::L16_16K)));
    assert_eq!(of("multipart/x-mixed-replace; boundary=\"a b\""), Some(Framing::Multipart { boundary: "a b".into() }));
    assert_eq!(of("application/json"), None);
    let accept = |text: &str| Framing::of_accept(text).map(|framing| framing.content_type());
    assert_eq!(accept("").as_deref(), Some("multipart/x-mixed-replace; boundary=f"));
    assert_eq!(accept("*/*").as_deref(), Some("multipart/x-mixed-replace; boundary=f"));
    assert_eq!(accept("text/html, audio/ogg").as_deref(), Some("audio/ogg; codecs=opus"));
    assert_eq!(accept("audio/x-mulaw;rate=8000").as_deref(), Some("audio/x-mulaw;rate=8000"));
    assert_eq!(accept("text/html"), None);
}
