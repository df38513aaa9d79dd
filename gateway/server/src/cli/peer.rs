//! A browser of its own for tests and `bench`: offers, connects over UDP or TCP, says a recording in Opus, and keeps what it hears.
//! str0m as a full agent, so that both ends of ICE, DTLS, SRTP and SCTP are tried.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use patchbay_core::{Format, MediaTime, Transcoder};
use str0m::change::SdpAnswer;
use str0m::channel::ChannelId;
use str0m::media::{Direction, MediaKind, Mid, Pt};
use str0m::net::{Protocol, Receive, TcpType};
use str0m::rtp::RtpWrite;
use str0m::{Candidate, Event, Input, Output, Rtc, RtcConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};

/// How long a connection may take.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// What a peer is to do.
#[derive(Clone, Debug)]
pub struct PeerPlan {
    /// Where the gateway's public listener is.
    pub gateway: SocketAddr,
    /// The path that takes the offer.
    pub path: String,
    /// A gateway key, if one is asked for.
    pub key: Option<String>,
    /// What to say: PCM16 at 48 kHz.
    pub says: Bytes,
    /// The one format that it offers: Opus or PCMU.
    pub format: Format,
    /// How long to listen in all.
    pub listens: Duration,
    /// Of a hundred packets that it would send, so many are left out.
    pub loses_percent: u8,
    /// Over TCP, not UDP.
    pub over_tcp: bool,
    /// After so long, a new offer: an ICE restart.
    pub restarts_after: Option<Duration>,
    /// Goes without a goodbye.
    pub vanishes: bool,
    /// Texts to send when the channel opens.
    pub texts: Vec<String>,
}

impl PeerPlan {
    /// A peer that says `says` and listens for `listens`.
    #[must_use]
    pub fn new(gateway: SocketAddr, says: Bytes, listens: Duration) -> Self {
        Self {
            gateway,
            path: "/v1/realtime/calls".into(),
            key: None,
            says,
            format: Format::OPUS,
            listens,
            loses_percent: 0,
            over_tcp: false,
            restarts_after: None,
            vanishes: false,
            texts: Vec::new(),
        }
    }
}

/// What a peer saw.
#[derive(Clone, Debug, Default)]
pub struct PeerReport {
    /// Where the call is.
    pub location: String,
    /// What the gateway answered to the offer.
    pub answer: String,
    /// From the offer to the connection.
    pub set_up: Duration,
    /// What was heard: PCM16 at 8 kHz.
    pub heard: Vec<u8>,
    /// Packets of audio that came.
    pub packets: u64,
    /// Of those, the first of a talk spurt.
    pub markers: u64,
    /// The longest time between two packets of one talk spurt.
    pub gap_max: Duration,
    /// What came over the data channel.
    pub texts: Vec<String>,
    /// Round trip and loss, as its own RTCP had it.
    pub has_reports: bool,
    /// The gateway ended it.
    pub was_closed: bool,
}

/// Why a peer did not connect.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// The gateway answered something else than 201.
    #[error("the gateway answered {status}: {body}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// The answer.
        body: String,
    },
    /// No connection within ten seconds.
    #[error("no connection within ten seconds")]
    Timeout,
    /// The network, or what came of it.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// str0m refused something.
    #[error("{0}")]
    Rtc(String),
}

fn rtc_error(error: impl std::fmt::Display) -> PeerError {
    PeerError::Rtc(error.to_string())
}

/// Lives the life of `plan`.
///
/// # Errors
/// [`PeerError`]
pub async fn talk(plan: &PeerPlan) -> Result<PeerReport, PeerError> {
    Peer::connect(plan).await?.live(plan).await
}

struct Peer {
    rtc: Rtc,
    udp: UdpSocket,
    stream: Option<(TcpStream, SocketAddr)>,
    local: SocketAddr,
    audio: Mid,
    channel: Option<ChannelId>,
    report: PeerReport,
    began: Instant,
    connected: bool,
    decoding: Box<dyn Transcoder>,
    last: Option<(u64, Instant)>,
    wake_at: Instant,
    inbox: Vec<u8>,
}

impl Peer {
    async fn connect(plan: &PeerPlan) -> Result<Self, PeerError> {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let mut rtc = RtcConfig::new()
            .set_rtp_mode(true)
            .set_stats_interval(Some(Duration::from_secs(1)))
            .clear_codecs()
            .enable_opus(plan.format == Format::OPUS, false)
            .enable_pcmu(plan.format == Format::PCMU, false)
            .build(Instant::now());
        let began = Instant::now();
        let mut changes = rtc.sdp_api();
        let audio = changes.add_media(MediaKind::Audio, Direction::SendRecv, None, None, None);
        let _ = changes.add_channel("oai-events".into());
        let (offer, pending) = changes.apply().ok_or_else(|| rtc_error("no offer"))?;
        let (location, answer) = post(plan, "POST", &plan.path, &offer.to_sdp_string(), 201).await?;
        let wanted = if plan.over_tcp { " tcp " } else { " udp " };
        let is_kept = |line: &&str| !line.starts_with("a=candidate:") || line.contains(wanted);
        let kept: Vec<&str> = answer.lines().filter(is_kept).collect();
        let candidate =
            kept.iter().find(|line| line.starts_with("a=candidate:") && line.contains("127.0.0.1"));
        let there = candidate.and_then(|line| address_of(line)).ok_or_else(|| rtc_error("no candidate"))?;
        let (stream, local) = if plan.over_tcp {
            let stream = TcpStream::connect(there).await?;
            stream.set_nodelay(true)?;
            let local = stream.local_addr()?;
            (Some((stream, there)), local)
        } else {
            (None, udp.local_addr()?)
        };
        let candidate = if plan.over_tcp {
            Candidate::builder().tcp().host(local).tcptype(TcpType::Active).build()
        } else {
            Candidate::host(local, Protocol::Udp)
        };
        rtc.add_local_candidate(candidate.map_err(rtc_error)?);
        let parsed = SdpAnswer::from_sdp_string(&(kept.join("\r\n") + "\r\n")).map_err(rtc_error)?;
        rtc.sdp_api().accept_answer(pending, parsed).map_err(rtc_error)?;
        let decoding = patchbay_codec::transcoder(plan.format, Format::L16_8K);
        Ok(Self {
            rtc,
            udp,
            stream,
            local,
            audio,
            channel: None,
            report: PeerReport { location, answer, ..PeerReport::default() },
            began,
            connected: false,
            decoding: decoding.ok_or_else(|| rtc_error("no decoder"))?,
            last: None,
            wake_at: Instant::now(),
            inbox: Vec::new(),
        })
    }

    async fn live(mut self, plan: &PeerPlan) -> Result<PeerReport, PeerError> {
        while !self.connected {
            if self.began.elapsed() > CONNECT_WITHIN {
                return Err(PeerError::Timeout);
            }
            self.step(Instant::now() + Duration::from_millis(20)).await?;
        }
        let packets = packets(&plan.says, plan.format);
        let ticks = if plan.format == Format::OPUS { 960 } else { 160 };
        let mut restart_at = plan.restarts_after.map(|after| Instant::now() + after);
        let (start, mut seq) = (Instant::now(), 0_u64);
        while start.elapsed() < plan.listens && !self.report.was_closed {
            let due = start + Duration::from_millis(20) * u32::try_from(seq).unwrap_or(u32::MAX);
            while Instant::now() < due && !self.report.was_closed {
                self.step(due).await?;
            }
            let packet = packets
                .get(usize::try_from(seq).unwrap_or(usize::MAX))
                .unwrap_or(&packets[packets.len() - 1]);
            // A fixed pattern, so that a test sees the same each time.
            if seq * 37 % 100 >= u64::from(plan.loses_percent) {
                self.write(seq, seq * ticks, packet);
            }
            seq += 1;
            self.say_texts(plan);
            if restart_at.is_some_and(|at| at <= Instant::now()) {
                restart_at = None;
                self.restart(plan).await?;
            }
        }
        if !plan.vanishes {
            // What was never whole cannot be closed in order.
            if self.rtc.close().is_ok() {
                self.drain().await?;
            }
        }
        Ok(self.report)
    }

    fn write(&mut self, seq: u64, time: u64, packet: &[u8]) {
        let Some(pt) = self.payload_type() else { return };
        let mut direct = self.rtc.direct_api();
        if let Some(stream) = direct.stream_tx_by_mid(self.audio, None) {
            let time = u32::try_from(time % (1 << 32)).unwrap_or_default();
            stream.write_rtp(RtpWrite::new(pt, seq.into(), time, Instant::now(), packet).marker(seq == 0));
        }
    }

    fn payload_type(&self) -> Option<Pt> {
        self.rtc.media(self.audio)?.remote_pts().first().copied()
    }

    fn say_texts(&mut self, plan: &PeerPlan) {
        let Some(id) = self.channel.filter(|_| !plan.texts.is_empty()) else { return };
        self.channel = None;
        if let Some(mut channel) = self.rtc.channel(id) {
            for text in &plan.texts {
                let _ = channel.write(false, text.as_bytes());
            }
        }
    }

    async fn restart(&mut self, plan: &PeerPlan) -> Result<(), PeerError> {
        let mut changes = self.rtc.sdp_api();
        changes.ice_restart(true);
        let Some((offer, pending)) = changes.apply() else { return Err(rtc_error("no offer")) };
        let location = self.report.location.clone();
        let (_, answer) = post(plan, "PATCH", &location, &offer.to_sdp_string(), 200).await?;
        let parsed = SdpAnswer::from_sdp_string(&answer).map_err(rtc_error)?;
        self.rtc.sdp_api().accept_answer(pending, parsed).map_err(rtc_error)
    }

    /// Takes what comes until `until`, or until something came.
    async fn step(&mut self, until: Instant) -> Result<(), PeerError> {
        self.drain().await?;
        let wake = self.wake_at.min(until).max(Instant::now());
        let mut buffer = [0; 2_048];
        let came = match &mut self.stream {
            Some((stream, there)) => tokio::time::timeout_at(wake.into(), stream.read(&mut buffer))
                .await
                .map(|read| read.map(|length| (length, *there))),
            None => tokio::time::timeout_at(wake.into(), self.udp.recv_from(&mut buffer)).await,
        };
        match came {
            Ok(Ok((0, _))) => self.report.was_closed = true,
            Ok(Ok((length, from))) if self.stream.is_some() => {
                self.inbox.extend_from_slice(&buffer[..length]);
                self.take_frames(from)?;
            }
            Ok(Ok((length, from))) => self.receive(Protocol::Udp, from, &buffer[..length])?,
            Ok(Err(error)) => return Err(error.into()),
            Err(_) => self.rtc.handle_input(Input::Timeout(Instant::now())).map_err(rtc_error)?,
        }
        self.drain().await
    }

    fn take_frames(&mut self, from: SocketAddr) -> Result<(), PeerError> {
        while let [high, low, rest @ ..] = &self.inbox[..] {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            if rest.len() < length {
                break;
            }
            let frame: Vec<u8> = self.inbox.drain(..2 + length).skip(2).collect();
            self.receive(Protocol::Tcp, from, &frame)?;
        }
        Ok(())
    }

    fn receive(&mut self, protocol: Protocol, from: SocketAddr, bytes: &[u8]) -> Result<(), PeerError> {
        let Ok(receive) = Receive::new(protocol, from, self.local, bytes) else { return Ok(()) };
        self.rtc.handle_input(Input::Receive(Instant::now(), receive)).map_err(rtc_error)
    }

    async fn drain(&mut self) -> Result<(), PeerError> {
        loop {
            match self.rtc.poll_output().map_err(rtc_error)? {
                Output::Timeout(at) => {
                    self.wake_at = at;
                    return Ok(());
                }
                Output::Transmit(transmit) => match &mut self.stream {
                    Some((stream, _)) => {
                        let length = u16::try_from(transmit.contents.len()).unwrap_or_default();
                        let framed = [&length.to_be_bytes()[..], &transmit.contents].concat();
                        if stream.write_all(&framed).await.is_err() {
                            self.report.was_closed = true;
                        }
                    }
                    None => _ = self.udp.send_to(&transmit.contents, transmit.destination).await,
                },
                Output::Event(event) => self.on_event(event),
            }
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Connected => {
                self.connected = true;
                self.report.set_up = self.began.elapsed();
            }
            Event::ChannelOpen(id, _) => self.channel = Some(id),
            Event::ChannelData(data) => {
                self.report.texts.push(String::from_utf8_lossy(&data.data).into_owned());
            }
            Event::RtpPacket(packet) => {
                self.hear(*packet.seq_no, packet.time.numer(), packet.header.marker, &packet.payload);
            }
            Event::MediaEgressStats(stats) => self.report.has_reports |= stats.remote.is_some(),
            Event::Closed => self.report.was_closed = true,
            _ => {}
        }
    }

    fn hear(&mut self, seq: u64, time: u64, is_marked: bool, payload: &[u8]) {
        let now = Instant::now();
        self.report.packets += 1;
        self.report.markers += u64::from(is_marked);
        if let Some((end, at)) = self.last {
            if !is_marked {
                self.report.gap_max = self.report.gap_max.max(now - at);
            }
            // A pause is heard as one, up to a few seconds.
            let lost = MediaTime::from_ticks(time.saturating_sub(end).min(240_000));
            if !lost.is_zero() {
                self.decoding.conceal(lost, None, &mut self.report.heard);
            }
        }
        let _ = (seq, self.decoding.push(payload, &mut self.report.heard));
        let span = patchbay_core::opus_duration(payload).unwrap_or(MediaTime::FRAME);
        self.last = Some((time + span.ticks(), now));
    }
}

/// The recording in packets, and one of silence behind it.
fn packets(pcm: &[u8], format: Format) -> Vec<Vec<u8>> {
    let Some(mut encoding) = patchbay_codec::transcoder(Format::L16_48K, format) else {
        return Vec::new();
    };
    encoding.expect_loss(100);
    let (mut packets, mut out) = (Vec::new(), Vec::new());
    let silence = vec![0; 1_920 * 5];
    if format != Format::OPUS {
        let all = [pcm, &silence].concat();
        let _ = encoding.push(&all, &mut out);
        return out.chunks_exact(160).map(<[u8]>::to_vec).collect();
    }
    for piece in pcm.chunks(1_920).chain(silence.chunks(1_920)) {
        out.clear();
        if encoding.push(piece, &mut out).is_ok() && !out.is_empty() {
            packets.push(out.clone());
        }
    }
    packets
}

/// The address of a candidate's line (RFC 8839 §5.1).
fn address_of(line: &str) -> Option<SocketAddr> {
    let mut words = line.split(' ').skip(4);
    let (ip, port) = (words.next()?, words.next()?);
    Some(SocketAddr::new(ip.parse().ok()?, port.parse().ok()?))
}

/// Sends an offer; answers the `Location` and the body.
async fn post(
    plan: &PeerPlan,
    method: &str,
    path: &str,
    offer: &str,
    expected: u16,
) -> Result<(String, String), PeerError> {
    let mut socket = TcpStream::connect(plan.gateway).await?;
    let credential =
        plan.key.as_ref().map(|key| format!("authorization: Bearer {key}\r\n")).unwrap_or_default();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{credential}content-type: application/sdp\r\n\
         content-length: {}\r\n\r\n{offer}",
        offer.len()
    );
    socket.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await?;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    if status != expected {
        return Err(PeerError::Refused { status, body: body.into() });
    }
    let location = head.lines().find_map(|line| line.strip_prefix("location: ")).unwrap_or_default();
    Ok((location.to_owned(), body.to_owned()))
}
