//! `[webrtc]`: where browsers reach the media of their calls.

use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

use super::section::Section;
use crate::transport::GateSpec;

/// The port that STUN and TURN have (RFC 8489 §18.4), and firewalls let through most often.
const PORT: u16 = 3478;

/// Where WebRTC's media goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WebRtc {
    /// Whether there is WebRTC at all.
    pub enabled: bool,
    /// Of every call's UDP; `None`: 3478, or on loopback any that is free.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub udp_port: Option<u16>,
    /// Of every call's TCP; 0: none. `None`: as UDP's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_port: Option<u16>,
    /// By which browsers reach this machine.
    pub public_ips: Vec<IpAddr>,
    /// The local address of both sockets; `None`: every one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bind: Option<IpAddr>,
}

impl WebRtc {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let address = |text: &str| text.trim().parse::<IpAddr>().ok();
        let mut public_ips = Vec::new();
        for text in section.texts("public_ips", "203.0.113.7") {
            match address(&text.value) {
                Some(ip) => public_ips.push(ip),
                None => section.fault(
                    &text.place,
                    "`webrtc.public_ips` holds something that is no IP address",
                    "write public_ips = [\"203.0.113.7\"]",
                ),
            }
        }
        let wrong = || ("is no IP address".to_owned(), "write bind = \"0.0.0.0\"".to_owned());
        let bind = section.parsed("bind", "0.0.0.0", |text| address(text).ok_or_else(wrong));
        let mut port = |key| section.integer(key, 0..=65_535).and_then(|port| u16::try_from(port).ok());
        Self {
            udp_port: port("udp_port"),
            tcp_port: port("tcp_port"),
            enabled: section.switch("enabled").unwrap_or(true),
            public_ips,
            bind: bind.map(|bind| bind.value),
        }
    }

    /// What to bind, for a public listener that is bound there. Nothing when it is off, or when nobody says by which address
    /// browsers come; on loopback they come from this machine.
    #[must_use]
    pub fn spec(&self, public: SocketAddr) -> Option<GateSpec> {
        if !self.enabled {
            return None;
        }
        if !self.public_ips.is_empty() {
            let tcp_port = self.tcp_port.unwrap_or(PORT);
            return Some(GateSpec {
                public_ips: self.public_ips.clone(),
                udp_port: self.udp_port.unwrap_or(PORT),
                tcp_port: (tcp_port != 0).then_some(tcp_port),
                bind: self.bind,
            });
        }
        let local = GateSpec::local();
        public.ip().is_loopback().then(|| GateSpec {
            udp_port: self.udp_port.unwrap_or(0),
            tcp_port: self.tcp_port.map_or(Some(0), |port| (port != 0).then_some(port)),
            bind: self.bind,
            ..local
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Sources};

    fn webrtc(list: &[(&str, &str)]) -> Result<WebRtc, String> {
        let mut sources = Sources::default();
        sources.set("PATCHBAY__PROVIDERS__PARROT__KIND", "parrot");
        for (name, value) in list {
            sources.set(name, value);
        }
        Config::parse(&sources).map(|config| config.webrtc).map_err(|faults| faults.to_string())
    }

    #[test]
    fn on_loopback_any_free_port_serves_this_machine() {
        let spec = webrtc(&[]).unwrap().spec("127.0.0.1:8080".parse().unwrap()).unwrap();
        assert_eq!((spec.udp_port, spec.tcp_port), (0, Some(0)));
        assert!(spec.public_ips[0].is_loopback());
    }

    #[test]
    fn a_public_machine_says_where_it_is_or_has_none() {
        let public = "0.0.0.0:8080".parse().unwrap();
        assert_eq!(webrtc(&[]).unwrap().spec(public), None);
        let said = [("PATCHBAY__WEBRTC__PUBLIC_IPS", "203.0.113.7"), ("PATCHBAY__WEBRTC__TCP_PORT", "443")];
        let spec = webrtc(&said).unwrap().spec(public).unwrap();
        assert_eq!((spec.udp_port, spec.tcp_port), (3478, Some(443)));
        assert_eq!(spec.public_ips, ["203.0.113.7".parse::<IpAddr>().unwrap()]);
        let off = [said[0], ("PATCHBAY__WEBRTC__ENABLED", "false")];
        assert_eq!(webrtc(&off).unwrap().spec(public), None);
    }

    #[test]
    fn what_is_no_address_is_told() {
        let fault = webrtc(&[("PATCHBAY__WEBRTC__PUBLIC_IPS", "gateway.example")]).unwrap_err();
        assert!(fault.contains("`webrtc.public_ips` holds something that is no IP address"), "{fault}");
    }
}
