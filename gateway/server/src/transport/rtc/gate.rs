//! [`Gate`]: the one UDP port and the one TCP port of every WebRTC call of this machine.
//!
//! One task takes what comes and hands each datagram to its call; a call's own task sends, straight to the socket. Who is known
//! to no call gets no answer, except that a plain STUN request is told where it comes from: so the gateway is its own STUN
//! server, and never sends out more than came in.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use str0m::config::DtlsCert;
use str0m::crypto::CryptoProvider;
use str0m::net::{Protocol, TcpType};
use str0m::rtp::{Extension, ExtensionMap};
use str0m::{Candidate, RtcConfig};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use patchbay_core::Format;

use super::demux::{Delivery, Demux, From, Inbound};
use super::offer::{Answer, OfferError, finished, look, without_candidates};
use super::port::RtcPort;
use super::stream::{Link, Stream};
use super::stun::{Stun, is_stun, mapped, read};
use crate::metrics::Metrics;

/// A datagram of a call fits into 1,500 bytes; what is longer is no call's.
const DATAGRAM_MAX: usize = 2_048;
/// Datagrams taken before others of this thread get their turn.
const BUDGET: usize = 64;
/// Streams at once, known or not.
const STREAMS_MAX: usize = 4_096;
/// Answers to strangers may run ahead of what strangers sent by so many bytes, once.
const CREDIT_MAX: i64 = 2_048;
/// How long a call may take to look at an offer.
const OFFER_WITHIN: Duration = Duration::from_secs(2);
/// reference/browser.md §1.5: some networks carry no more.
const MTU: usize = 1_200;

/// Where a gate listens and what it says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GateSpec {
    /// Addresses by which peers reach us, in order of preference. All of one machine.
    pub public_ips: Vec<IpAddr>,
    /// 0: any that is free.
    pub udp_port: u16,
    /// 0: any that is free. `None`: no TCP.
    pub tcp_port: Option<u16>,
    /// The local address; `None`: every one.
    pub bind: Option<IpAddr>,
}

impl GateSpec {
    /// For peers on this machine: its loopback address, and its own first address, for Firefox takes no loopback.
    #[must_use]
    pub fn local() -> Self {
        let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let public_ips = [Some(loopback), own_address()].into_iter().flatten().collect();
        Self { public_ips, udp_port: 0, tcp_port: Some(0), bind: None }
    }
}

/// The address from which this machine would reach the world. Nothing is sent to find it.
fn own_address() -> Option<IpAddr> {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // RFC 5737: an address that is nobody's.
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    let ip = socket.local_addr().ok()?.ip();
    (!ip.is_loopback() && !ip.is_unspecified()).then_some(ip)
}

/// What every call's transport shares.
pub(super) struct Ways {
    pub(super) udp: UdpSocket,
    pub(super) metrics: Arc<Metrics>,
    /// Of UDP and of TCP.
    addresses: [Vec<SocketAddr>; 2],
    /// Whether the socket is of IPv6 and carries IPv4 inside.
    is_dual: bool,
}

impl Ways {
    /// Sends one datagram; what the socket does not take is lost, as on any network.
    pub(super) fn send(&self, bytes: &[u8], to: SocketAddr) {
        let to = match to {
            SocketAddr::V4(v4) if self.is_dual => (v4.ip().to_ipv6_mapped(), v4.port()).into(),
            other => other,
        };
        if self.udp.try_send_to(bytes, to).is_err() {
            self.metrics.rtc_lost("send");
        }
    }

    /// Which of our candidates a peer that sends from there sends to.
    pub(super) fn towards(&self, (protocol, source): From) -> SocketAddr {
        let ours = &self.addresses[usize::from(protocol != Protocol::Udp)];
        let is_like = |address: &&SocketAddr| {
            address.is_ipv4() == source.is_ipv4() && address.ip().is_loopback() == source.ip().is_loopback()
        };
        let same_family = |address: &&SocketAddr| address.is_ipv4() == source.is_ipv4();
        let found = ours.iter().find(is_like).or_else(|| ours.iter().find(same_family)).or(ours.first());
        found.copied().unwrap_or_else(|| (Ipv4Addr::UNSPECIFIED, 0).into())
    }
}

/// The ports of every WebRTC call. See the module.
pub struct Gate {
    ways: Arc<Ways>,
    tcp: Option<TcpListener>,
    demux: Arc<Demux>,
    crypto: Arc<CryptoProvider>,
    /// One certificate for all calls of this process: making one takes longer than the rest of an answer.
    certificate: DtlsCert,
    candidates: Vec<Candidate>,
    /// Bytes that strangers sent, less those that they were answered.
    credit: AtomicI64,
}

impl Gate {
    /// Binds both ports, and starts nothing.
    ///
    /// # Errors
    /// A port that is taken, an address that is not ours, or no certificate.
    pub async fn bind(spec: &GateSpec, metrics: Arc<Metrics>) -> io::Result<Arc<Self>> {
        let is_dual = spec.bind.is_none() && spec.public_ips.iter().any(IpAddr::is_ipv6);
        let ip = spec.bind.unwrap_or(if is_dual {
            Ipv6Addr::UNSPECIFIED.into()
        } else {
            Ipv4Addr::UNSPECIFIED.into()
        });
        let udp = UdpSocket::bind((ip, spec.udp_port)).await?;
        let tcp = match spec.tcp_port {
            Some(port) => Some(TcpListener::bind((ip, port)).await?),
            None => None,
        };
        let of = |port: u16| spec.public_ips.iter().map(|ip| SocketAddr::new(*ip, port)).collect::<Vec<_>>();
        let over_udp = of(udp.local_addr()?.port());
        let over_tcp = match &tcp {
            Some(tcp) => of(tcp.local_addr()?.port()),
            None => Vec::new(),
        };
        let candidates = candidates(&over_udp, &over_tcp).map_err(io::Error::other)?;
        let crypto = Arc::new(str0m::crypto::from_feature_flags());
        let certificate = crypto.dtls_provider.generate_certificate();
        let certificate = certificate.ok_or_else(|| io::Error::other("no certificate could be made"))?;
        let ways = Ways { udp, metrics, addresses: [over_udp, over_tcp], is_dual };
        Ok(Arc::new(Self {
            ways: Arc::new(ways),
            tcp,
            demux: Arc::default(),
            crypto,
            certificate,
            candidates,
            credit: AtomicI64::new(CREDIT_MAX),
        }))
    }

    /// Where media goes over UDP.
    #[must_use]
    pub fn udp_addr(&self) -> SocketAddr {
        self.ways.addresses[0].first().copied().unwrap_or_else(|| (Ipv4Addr::UNSPECIFIED, 0).into())
    }

    /// Where media goes over TCP, if it may.
    #[must_use]
    pub fn tcp_addr(&self) -> Option<SocketAddr> {
        self.ways.addresses[1].first().copied()
    }

    /// Looks at an offer before anything is made for it: what its audio would be in.
    ///
    /// # Errors
    /// What is wrong with the offer.
    pub fn look(offer: &str) -> Result<Format, OfferError> {
        look(offer)
    }

    /// Answers the offer for a new call of that id, and gives its transport.
    ///
    /// # Errors
    /// What is wrong with the offer.
    pub fn answer(&self, call: &str, offer: &str) -> Result<(RtcPort, Answer), OfferError> {
        let format = look(offer)?;
        let parsed = str0m::change::SdpOffer::from_sdp_string(&without_candidates(offer))
            .map_err(|error| OfferError::NotSdp(first_line(&error)))?;
        let mut rtc = self.config(format).build(Instant::now());
        for candidate in &self.candidates {
            rtc.add_local_candidate(candidate.clone());
        }
        let accepted = rtc.sdp_api().accept_offer(parsed);
        let answer = accepted.map_err(|error| OfferError::Refused(first_line(&error)))?;
        let ufrag = rtc.direct_api().local_ice_credentials().ufrag;
        let (seat, inbound) = self.demux.seat(call, &ufrag);
        let port = RtcPort::new(rtc, format, Arc::clone(&self.ways), seat, inbound);
        Ok((port, Answer { sdp: finished(&answer.to_sdp_string()), format }))
    }

    /// Answers a new offer for a call that runs: an ICE restart.
    ///
    /// # Errors
    /// What is wrong with the offer, or with the call.
    pub async fn restart(&self, call: &str, offer: &str) -> Result<Answer, OfferError> {
        look(offer)?;
        let answer = self.demux.offer(call, without_candidates(offer)).ok_or(OfferError::Gone)?;
        match tokio::time::timeout(OFFER_WITHIN, answer).await {
            Ok(Ok(answer)) => answer,
            _ => Err(OfferError::Gone),
        }
    }

    /// Calls that have a transport here.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.demux.calls()
    }

    /// Takes what comes, for ever.
    pub async fn run(self: Arc<Self>) {
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&self).run_udp());
        if self.tcp.is_some() {
            tasks.spawn(self.run_tcp());
        }
        while tasks.join_next().await.is_some() {}
    }

    fn config(&self, format: Format) -> RtcConfig {
        let mut extensions = ExtensionMap::empty();
        extensions.set(1, Extension::AudioLevel);
        extensions.set(4, Extension::RtpMid);
        let second = Duration::from_secs(1);
        RtcConfig::new()
            .set_crypto_provider(Arc::clone(&self.crypto))
            .set_dtls_cert(self.certificate.clone())
            .set_ice_lite(true)
            .set_rtp_mode(true)
            .set_extension_map(extensions)
            .set_rtcp_report_interval_audio(second)
            .set_stats_interval(Some(second))
            .set_mtu(MTU..=MTU)
            .clear_codecs()
            .enable_opus(format == Format::OPUS, false)
            .enable_pcmu(format == Format::PCMU, false)
    }

    async fn run_udp(self: Arc<Self>) {
        let mut buffer = [0; DATAGRAM_MAX];
        loop {
            if self.ways.udp.readable().await.is_err() {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
            for _ in 0..BUDGET {
                match self.ways.udp.try_recv_from(&mut buffer) {
                    Ok((DATAGRAM_MAX, _)) => self.ways.metrics.rtc_lost("too_long"),
                    Ok((length, source)) => {
                        let from =
                            (Protocol::Udp, SocketAddr::new(source.ip().to_canonical(), source.port()));
                        self.take(&buffer[..length], from, None);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // A peer's port is closed (ICMP): nothing is wrong with ours.
                    Err(_) => {}
                }
            }
            tokio::task::yield_now().await;
        }
    }

    /// Hands one datagram or frame to its call. Says whether one took it.
    fn take(&self, bytes: &[u8], from: From, link: Option<&Link>) -> bool {
        let now = Instant::now();
        let inbound = || Inbound::Datagram { from, bytes: Bytes::copy_from_slice(bytes), at: now };
        let delivery = match is_stun(bytes).then(|| read(bytes)) {
            Some(Stun::Check(ufrag)) => {
                if let Some(link) = link {
                    let _ = self.demux.check(ufrag, || Inbound::Link(link.clone()));
                }
                self.demux.check(ufrag, inbound)
            }
            Some(Stun::Binding(transaction)) if link.is_none() => {
                self.tell_where(transaction, from.1, bytes.len());
                return false;
            }
            Some(Stun::Other | Stun::Binding(_)) | None => self.demux.media(from, now, inbound),
        };
        match delivery {
            Delivery::Taken => true,
            Delivery::Nobody => {
                self.ways.metrics.rtc_lost("unknown");
                false
            }
            Delivery::Full => {
                self.ways.metrics.rtc_lost("busy");
                true
            }
        }
    }

    /// Answers a plain binding request, if strangers have sent as much as they would then have been sent.
    fn tell_where(&self, transaction: [u8; 12], from: SocketAddr, received: usize) {
        let answer = mapped(transaction, from);
        let bytes = |length: usize| i64::try_from(length).unwrap_or(i64::MAX);
        let credit = self.credit.load(Ordering::Relaxed).saturating_add(bytes(received)).min(CREDIT_MAX);
        let is_covered = credit >= bytes(answer.len());
        // Only this task writes it.
        self.credit.store(if is_covered { credit - bytes(answer.len()) } else { credit }, Ordering::Relaxed);
        if is_covered {
            self.ways.send(&answer, from);
        } else {
            self.ways.metrics.rtc_lost("stun_flood");
        }
    }

    async fn run_tcp(self: Arc<Self>) {
        let Some(listener) = &self.tcp else { return };
        let slots = Arc::new(Semaphore::new(STREAMS_MAX));
        let mut streams = JoinSet::new();
        loop {
            while streams.try_join_next().is_some() {}
            let Ok((stream, peer)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
                self.ways.metrics.rtc_lost("streams_full");
                continue;
            };
            let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
            let (gate, stream) = (Arc::clone(&self), Stream::new(stream, peer));
            streams.spawn(async move {
                if let Ok(stream) = stream {
                    gate.serve(stream).await;
                }
                drop(slot);
            });
        }
    }

    /// One stream, to its end. It is ended when its first frame is for nobody.
    async fn serve(&self, mut stream: Stream) {
        let link = stream.link().clone();
        let mut is_first = true;
        while let Some(frame) = stream.frame().await {
            let is_taken = self.take(frame, link.from(), Some(&link));
            if std::mem::take(&mut is_first) && !is_taken {
                return;
            }
            stream.is_known();
        }
    }
}

fn candidates(
    over_udp: &[SocketAddr],
    over_tcp: &[SocketAddr],
) -> Result<Vec<Candidate>, str0m::error::IceError> {
    let udp = over_udp.iter().map(|address| Candidate::host(*address, Protocol::Udp));
    let tcp = over_tcp
        .iter()
        .map(|address| Candidate::builder().tcp().host(*address).tcptype(TcpType::Passive).build());
    udp.chain(tcp).collect()
}

/// What a parser says, without what it quotes of the offer.
fn first_line(error: &impl std::fmt::Display) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.chars().filter(|c| c.is_ascii_graphic() || *c == ' ').take(120).collect()
}
