//! The names and marks by which ACP knows its own links.

use std::{fmt, str::FromStr};

use acp_base::Uid;

/// The longest link name the kernel takes, in bytes (`IFNAMSIZ` without the terminator).
pub const LINK_NAME_LEN_MAX: usize = 15;

/// Network interfaces a system can have: one hexadecimal digit in the tap's name.
pub const NIC_COUNT_MAX: u32 = 16;

/// Digits of the uid in a link's name: 40 random bits, what is left of 15 bytes beside the prefix and the NIC's digit.
const UID_DIGITS: usize = 10;

/// The link name of a network's bridge.
pub fn bridge_link(network: Uid) -> String {
    format!("acpb{}", network.tail(UID_DIGITS))
}

/// The link name of a system's tap; absent if a system cannot have so many interfaces.
pub fn tap_link(system: Uid, nic: u32) -> Option<String> {
    (nic < NIC_COUNT_MAX).then(|| format!("acpt{}{nic:x}", system.tail(UID_DIGITS)))
}

/// The MAC address of a network's bridge: locally administered, from the network's uid. A bridge without one of its own
/// takes the lowest of its ports', so the guests' gateway would change its address whenever a system starts. It also
/// marks a bridge as ours between its creation and its alias, which the kernel does not take in one step.
pub fn bridge_mac(network: Uid) -> Mac {
    let bits = network.as_u128().to_be_bytes();
    Mac([0x02, bits[11], bits[12], bits[13], bits[14], bits[15]])
}

/// The mark that a link is ours, kept in its alias (`IFLA_IFALIAS`) as `acp:<uid>`: of the network for a bridge, of the
/// system for a tap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alias(pub Uid);

impl Alias {
    const PREFIX: &'static str = "acp:";

    /// The mark in a link's alias, if it is one.
    pub fn parse(text: &str) -> Option<Self> {
        text.strip_prefix(Self::PREFIX)?.parse().ok().map(Self)
    }
}

impl fmt::Display for Alias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", Self::PREFIX, self.0)
    }
}

/// A MAC address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

/// A text that is no MAC address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no MAC address: write six bytes in hexadecimal, like 52:54:00:12:34:56")]
pub struct MacError(String);

impl FromStr for Mac {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Self, MacError> {
        let error = || MacError(text.to_owned());
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let digits = parts.next().filter(|part| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit()));
            *byte = u8::from_str_radix(digits.ok_or_else(error)?, 16).map_err(|_digits| error())?;
        }
        if parts.next().is_none() { Ok(Self(bytes)) } else { Err(error()) }
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: Uid = Uid::from_u128(0x0192_3456_789a_7bcd_8ef0_1234_5678_9abc);

    #[test]
    fn names_fit_and_are_fixed() {
        assert_eq!(bridge_link(UID), "acpb3456789abc");
        assert_eq!(tap_link(UID, 0).as_deref(), Some("acpt3456789abc0"));
        assert_eq!(tap_link(UID, 15).as_deref(), Some("acpt3456789abcf"));
        assert_eq!(tap_link(UID, 16), None);
        assert!(tap_link(UID, 15).is_some_and(|name| name.len() <= LINK_NAME_LEN_MAX));
    }

    #[test]
    fn an_alias_reads_back() {
        let alias = Alias(UID).to_string();
        assert_eq!(alias, "acp:01923456-789a-7bcd-8ef0-123456789abc");
        assert_eq!(Alias::parse(&alias), Some(Alias(UID)));
        for foreign in ["", "acp:", "acp:demo", "01923456-789a-7bcd-8ef0-123456789abc", "uplink"] {
            assert_eq!(Alias::parse(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn a_bridge_has_a_local_unicast_address() {
        assert_eq!(bridge_mac(UID).to_string(), "02:34:56:78:9a:bc");
        assert_eq!(bridge_mac(UID).0[0] & 0b11, 0b10);
    }

    #[test]
    fn macs_read_back_or_are_refused() {
        assert_eq!("52:54:00:AB:cd:0f".parse::<Mac>().map(|mac| mac.to_string()), Ok("52:54:00:ab:cd:0f".to_owned()));
        for bad in
            ["", "52:54:00:ab:cd", "52:54:00:ab:cd:0f:00", "52:54:00:ab:cd:g0", "5254:00:ab:cd:0f", "52:54:00:ab:cd:+f"]
        {
            assert_eq!(bad.parse::<Mac>(), Err(MacError(bad.to_owned())));
        }
    }
}
