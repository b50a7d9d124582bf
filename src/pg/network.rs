//! Addresses and networks, as types inet and cidr hold them.

use crate::pg::datum::{bytes, Datum};
use std::fmt;
use std::net::IpAddr;

/// What inet and cidr begin with for IPv4: PostgreSQL's own number, on every platform.
const IPV4: u8 = 2;

/// A network: its first address, and how many of its bits are fixed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    address: IpAddr,
    bits: u8,
}

/// An address, perhaps with the length of its network after a slash, in a form that type inet accepts; None for any other
/// text.
pub fn address(text: &str) -> Option<String> {
    let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
    let address: IpAddr = address.parse().ok()?;
    let most = if address.is_ipv4() { 32 } else { 128 };
    match bits.map(str::parse::<u8>) {
        None => Some(address.to_string()),
        Some(Ok(bits)) if bits <= most => Some(format!("{address}/{bits}")),
        Some(_) => None,
    }
}

impl Network {
    /// The network in a cidr; None for damaged bytes.
    pub fn read(datum: Datum) -> Option<Network> {
        let (family, rest) = bytes(datum).split_first()?;
        let (bits, address) = rest.split_first()?;
        let address = match *family {
            IPV4 => IpAddr::from(*address.first_chunk::<4>()?),
            _ => IpAddr::from(*address.first_chunk::<16>()?),
        };
        let most = if address.is_ipv4() { 32 } else { 128 };
        (*bits <= most).then_some(Network { address, bits: *bits })
    }

    /// Whether an address is in the network. An IPv4 address that is written as one of IPv6 counts
    /// as what it is.
    pub fn contains(&self, address: IpAddr) -> bool {
        let (own, other) = match (self.address, address.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (u128::from(u32::from(own)) << 96, u128::from(u32::from(other)) << 96)
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => (u128::from(own), u128::from(other)),
            _ => return false,
        };
        let host_bits = 128 - u32::from(self.bits);
        (own ^ other).checked_shr(host_bits).unwrap_or(0) == 0
    }
}

impl fmt::Display for Network {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.address, self.bits)
    }
}
