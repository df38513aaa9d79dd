//! As much of STUN (RFC 8489) as a demultiplexer needs: whose check it is, and the answer to a plain binding request.
//! Checks themselves are answered by the call they belong to.

use std::net::{IpAddr, SocketAddr};

const COOKIE: [u8; 4] = [0x21, 0x12, 0xA4, 0x42];
const HEADER: usize = 20;
const BINDING_REQUEST: [u8; 2] = [0x00, 0x01];
const BINDING_SUCCESS: [u8; 2] = [0x01, 0x01];
const USERNAME: u16 = 0x0006;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
/// RFC 8489 §14.3: fewer than 509 bytes.
const USERNAME_MAX: usize = 508;

/// What a datagram that looks like STUN asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stun<'a> {
    /// A check of ICE, for whoever has this ufrag (RFC 8445 §7.2.2: the receiver's comes first).
    Check(&'a str),
    /// "Where do I come from?", with the transaction's id.
    Binding([u8; 12]),
    /// Something else, or nothing that is well-formed.
    Other,
}

/// Whether these bytes are STUN and not DTLS or RTP (RFC 7983 §7).
pub(super) fn is_stun(bytes: &[u8]) -> bool {
    bytes.len() >= HEADER && bytes[0] < 4 && bytes[4..8] == COOKIE
}

/// Reads a message for which [`is_stun`] holds.
pub(super) fn read(bytes: &[u8]) -> Stun<'_> {
    let length = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
    if bytes[..2] != BINDING_REQUEST || HEADER + length != bytes.len() || length % 4 != 0 {
        return Stun::Other;
    }
    let mut rest = &bytes[HEADER..];
    while let [a, b, c, d, value @ ..] = rest {
        let (kind, length) = (u16::from_be_bytes([*a, *b]), usize::from(u16::from_be_bytes([*c, *d])));
        let Some(content) = value.get(..length) else { return Stun::Other };
        if kind == USERNAME {
            return check(content);
        }
        rest = value.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    let mut transaction = [0; 12];
    transaction.copy_from_slice(&bytes[8..HEADER]);
    Stun::Binding(transaction)
}

fn check(username: &[u8]) -> Stun<'_> {
    let text = std::str::from_utf8(username).ok().filter(|text| text.len() <= USERNAME_MAX);
    match text.and_then(|text| text.split_once(':')) {
        Some((ufrag, _)) => Stun::Check(ufrag),
        None => Stun::Other,
    }
}

/// The answer to a plain binding request (RFC 8489 §14.2).
pub(super) fn mapped(transaction: [u8; 12], from: SocketAddr) -> Vec<u8> {
    let mut key = [0; 16];
    key[..4].copy_from_slice(&COOKIE);
    key[4..].copy_from_slice(&transaction);
    let (family, mut address) = match from.ip() {
        IpAddr::V4(ip) => (1, ip.octets().to_vec()),
        IpAddr::V6(ip) => (2, ip.octets().to_vec()),
    };
    address.iter_mut().zip(key).for_each(|(byte, mask)| *byte ^= mask);
    let port = from.port() ^ 0x2112;
    let value = 4 + address.len();
    let mut answer = Vec::with_capacity(HEADER + 4 + value);
    answer.extend_from_slice(&BINDING_SUCCESS);
    answer.extend_from_slice(&u16::try_from(4 + value).unwrap_or(0).to_be_bytes());
    answer.extend_from_slice(&key);
    answer.extend_from_slice(&XOR_MAPPED_ADDRESS.to_be_bytes());
    answer.extend_from_slice(&u16::try_from(value).unwrap_or(0).to_be_bytes());
    answer.extend_from_slice(&[0, family]);
    answer.extend_from_slice(&port.to_be_bytes());
    answer.extend_from_slice(&address);
    answer
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(kind: [u8; 2], attributes: &[u8]) -> Vec<u8> {
        let length = u16::try_from(attributes.len()).unwrap().to_be_bytes();
        [&kind[..], &length, &COOKIE, b"transaction0", attributes].concat()
    }

    #[test]
    fn a_check_is_for_whoever_has_the_first_part_of_its_username() {
        let software = [0x80, 0x22, 0, 3, b'a', b'b', b'c', 0];
        let username = [&[0, 6, 0, 9][..], b"ours:them", &[0; 3]].concat();
        let request = message(BINDING_REQUEST, &[&software[..], &username].concat());
        assert!(is_stun(&request));
        assert_eq!(read(&request), Stun::Check("ours"));
    }

    /// RFC 5769 §2.2 has the address 192.0.2.1:32853 under this transaction.
    #[test]
    fn the_mapped_address_is_that_of_the_test_vectors() {
        let transaction = [0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae];
        let answer = mapped(transaction, "192.0.2.1:32853".parse().unwrap());
        assert_eq!(answer[20..], [0x00, 0x20, 0x00, 0x08, 0x00, 0x01, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43]);
        assert_eq!((answer.len(), usize::from(answer[3])), (32, 12));
        // §2.3: 2001:db8:1234:5678:11:2233:4455:6677, same port.
        let answer = mapped(transaction, "[2001:db8:1234:5678:11:2233:4455:6677]:32853".parse().unwrap());
        assert_eq!(answer[24..32], [0x00, 0x02, 0xa1, 0x47, 0x01, 0x13, 0xa9, 0xfa]);
    }

    #[test]
    fn what_is_not_well_formed_asks_for_nothing() {
        let whole = message(BINDING_REQUEST, &[]);
        assert_eq!(read(&whole), Stun::Binding(*b"transaction0"));
        for broken in [
            message([0x01, 0x01], &[]),
            message(BINDING_REQUEST, &[0, 6, 0, 200, 1, 2, 3, 4]),
            message(BINDING_REQUEST, &[0, 6, 0, 4, b'a', b'b', b'c', b'd']),
            [&whole[..], &[0; 4]].concat(),
        ] {
            assert_eq!(read(&broken), Stun::Other);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, length in 0..300u16) {
            let mut forged = message(BINDING_REQUEST, &bytes);
            forged[2..4].copy_from_slice(&length.to_be_bytes());
            for bytes in [&bytes, &forged] {
                if is_stun(bytes) {
                    let _ = read(bytes);
                }
            }
        }
    }
}
