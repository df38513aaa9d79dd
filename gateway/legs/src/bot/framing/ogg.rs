//! Ogg pages (RFC 3533 §6) with Opus in them (RFC 7845): one packet a page out, however many a page in.

use bytes::{BufMut as _, Bytes, BytesMut};
use patchbay_core::{Format, Packet, opus_duration};

use super::{BadBody, PACKET_MAX, TOO_LONG, Unit};

/// Bytes of a page before its segment table.
const HEAD: usize = 27;
/// RFC 3533 §6: flags of a page.
const CONTINUED: u8 = 1;
const FIRST: u8 = 2;
const LAST: u8 = 4;
/// No packet ends on the page.
const NOWHERE: u64 = u64::MAX;

const fn bad(code: &'static str, expected: &'static str) -> BadBody {
    BadBody { code, expected }
}

/// Reads pages of the one stream of Opus; other streams between them are passed over.
#[derive(Debug, Default)]
pub struct Reader {
    held: BytesMut,
    serial: Option<u32>,
    stage: Stage,
    /// The beginning of a packet whose rest is on the next page.
    part: BytesMut,
}

/// Which packet comes next (RFC 7845 §3).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Stage {
    #[default]
    Head,
    /// Comments, as long as they like: not kept.
    Tags,
    Audio,
}

/// Where a page's parts lie.
struct Page {
    flags: u8,
    serial: u32,
    segments: usize,
    length: usize,
}

impl Reader {
    pub(super) fn push(&mut self, bytes: &[u8], give: &mut impl FnMut(Unit)) -> Result<(), BadBody> {
        self.held.extend_from_slice(bytes);
        while let Some(page) = Page::parse(&self.held)? {
            let whole = self.held.split_to(page.length).freeze();
            if !is_checked(&whole) {
                return Err(bad("ogg_checksum", "The checksum of an Ogg page does not fit (RFC 3533 §6)."));
            }
            self.page(&page, whole, give)?;
        }
        Ok(())
    }

    pub(super) fn held(&self) -> usize {
        self.held.len() + self.part.len()
    }

    fn page(&mut self, page: &Page, whole: Bytes, give: &mut impl FnMut(Unit)) -> Result<(), BadBody> {
        let table = whole.slice(HEAD..HEAD + page.segments);
        let mut body = whole.slice(HEAD + page.segments..);
        if page.flags & FIRST != 0 && body.starts_with(b"OpusHead") {
            // A chained stream begins anew (RFC 7845 §4).
            (self.serial, self.stage) = (Some(page.serial), Stage::Head);
            self.part.clear();
        }
        if self.serial != Some(page.serial) {
            let opus = bad("no_opus_head", "An Ogg body begins with a page that holds OpusHead (RFC 7845 §5.1).");
            return if self.serial.is_none() && page.flags & FIRST == 0 { Err(opus) } else { Ok(()) };
        }
        let mut skips = page.flags & CONTINUED != 0 && self.part.is_empty() && self.stage != Stage::Tags;
        if page.flags & CONTINUED == 0 {
            self.part.clear();
        }
        let mut length = 0;
        for segment in &table {
            length += usize::from(*segment);
            if *segment < u8::MAX {
                let packet = body.split_to(length);
                length = 0;
                if !std::mem::take(&mut skips) {
                    self.packet(packet, give)?;
                }
            }
        }
        if length > 0 && !skips {
            self.begin_part(&body)?;
        }
        if page.flags & LAST != 0 {
            self.part.clear();
        }
        Ok(())
    }

    fn begin_part(&mut self, part: &[u8]) -> Result<(), BadBody> {
        if self.stage == Stage::Tags {
            return Ok(());
        }
        if self.part.len() + part.len() > PACKET_MAX {
            return Err(TOO_LONG);
        }
        self.part.extend_from_slice(part);
        Ok(())
    }

    /// The end of a packet, or all of it.
    fn packet(&mut self, end: Bytes, give: &mut impl FnMut(Unit)) -> Result<(), BadBody> {
        if self.stage == Stage::Tags {
            self.stage = Stage::Audio;
            return Ok(());
        }
        let packet = if self.part.is_empty() {
            end
        } else {
            self.begin_part(&end)?;
            self.part.split().freeze()
        };
        match self.stage {
            Stage::Head => self.head(&packet),
            _ if packet.len() > PACKET_MAX => Err(TOO_LONG),
            _ => {
                if !packet.is_empty() {
                    give(Unit { number: None, audio: packet });
                }
                Ok(())
            }
        }
    }

    /// RFC 7845 §5.1: version 0.x, one or two channels, no mapping table.
    fn head(&mut self, packet: &[u8]) -> Result<(), BadBody> {
        let is_ours = packet.len() >= 19
            && packet.starts_with(b"OpusHead")
            && packet[8] < 16
            && (1..=2).contains(&packet[9])
            && packet[18] == 0;
        self.stage = Stage::Tags;
        let expected = "OpusHead is of version 1 with one or two channels and mapping family 0 (RFC 7845 §5.1).";
        if is_ours { Ok(()) } else { Err(bad("opus_head", expected)) }
    }
}

impl Page {
    /// The page at the beginning of `held`; `None` until it is all there.
    fn parse(held: &[u8]) -> Result<Option<Self>, BadBody> {
        let have = held.len().min(5);
        if held[..have] != b"OggS\0"[..have] {
            return Err(bad("no_ogg_page", "Here an Ogg page is expected, which begins with OggS and version 0."));
        }
        let Some(head) = held.get(..HEAD) else { return Ok(None) };
        let segments = usize::from(head[26]);
        let Some(table) = held.get(HEAD..HEAD + segments) else { return Ok(None) };
        let body: usize = table.iter().map(|segment| usize::from(*segment)).sum();
        let length = HEAD + segments + body;
        let serial = u32::from_le_bytes([head[14], head[15], head[16], head[17]]);
        Ok((held.len() >= length).then_some(Self { flags: head[5], serial, segments, length }))
    }
}

fn is_checked(page: &[u8]) -> bool {
    let mut crc = checksum(0, &page[..22]);
    crc = checksum(crc, &[0; 4]);
    crc = checksum(crc, &page[26..]);
    crc.to_le_bytes() == page[22..26]
}

/// RFC 3533 §6: CRC-32 with the polynomial 0x04c11db7, from zero, not reflected.
fn checksum(crc: u32, bytes: &[u8]) -> u32 {
    const TABLE: [u32; 256] = table();
    bytes.iter().fold(crc, |crc, byte| (crc << 8) ^ TABLE[usize::from(crc.to_be_bytes()[0] ^ byte)])
}

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    let mut first = 0_u32;
    while index < 256 {
        let mut crc = first << 24;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 0x8000_0000 == 0 { crc << 1 } else { (crc << 1) ^ 0x04c1_1db7 };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
        first += 1;
    }
    table
}

/// Writes pages.
#[derive(Debug)]
pub struct Writer {
    serial: u32,
    page: u32,
    /// Where the last packet ended, in samples at 48 kHz.
    end: u64,
}

impl Writer {
    pub(super) fn new(serial: u32) -> Self {
        Self { serial, page: 0, end: 0 }
    }

    pub(super) fn begin(&mut self, out: &mut BytesMut) {
        let mut head = BytesMut::new();
        head.put_slice(b"OpusHead");
        // Version 1, one channel, nothing to skip: the stream is joined, not begun (RFC 7845 §5.1).
        head.put_slice(&[1, 1, 0, 0]);
        head.put_u32_le(Format::OPUS.rate_hz);
        head.put_slice(&[0, 0, 0]);
        self.write(FIRST, 0, &head, out);
        let vendor = b"patchbay";
        let mut tags = BytesMut::new();
        tags.put_slice(b"OpusTags");
        tags.put_u32_le(8);
        tags.put_slice(vendor);
        tags.put_u32_le(0);
        self.write(0, 0, &tags, out);
    }

    pub(super) fn packet(&mut self, packet: &Packet, out: &mut BytesMut) {
        let span = opus_duration(&packet.payload).map_or(0, |span| span.ticks());
        self.end = self.end.max(packet.time.saturating_add(span));
        let end = self.end;
        self.write(0, end, &packet.payload, out);
    }

    pub(super) fn empty(&mut self, out: &mut BytesMut) {
        self.page_of(0, NOWHERE, &[], &[], out);
    }

    pub(super) fn end(&mut self, out: &mut BytesMut) {
        let end = self.end;
        self.page_of(LAST, end, &[], &[], out);
    }

    /// A page with one packet.
    fn write(&mut self, flags: u8, granule: u64, packet: &[u8], out: &mut BytesMut) {
        let mut table = vec![u8::MAX; packet.len() / 255];
        // What needs more than a page is no Opus packet that anybody sends.
        if table.len() < 255 {
            table.push(u8::try_from(packet.len() % 255).expect("a remainder of 255 is a byte"));
            self.page_of(flags, granule, &table, packet, out);
        }
    }

    fn page_of(&mut self, flags: u8, granule: u64, table: &[u8], body: &[u8], out: &mut BytesMut) {
        let start = out.len();
        out.put_slice(b"OggS\0");
        out.put_u8(flags);
        out.put_u64_le(granule);
        out.put_u32_le(self.serial);
        out.put_u32_le(self.page);
        out.put_u32_le(0);
        out.put_u8(u8::try_from(table.len()).expect("a page has at most 255 segments"));
        out.put_slice(table);
        out.put_slice(body);
        let crc = checksum(0, &out[start..]);
        out[start + 22..start + 26].copy_from_slice(&crc.to_le_bytes());
        self.page = self.page.wrapping_add(1);
    }
}
