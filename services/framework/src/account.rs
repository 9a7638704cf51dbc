//! Who units run as.

use std::{collections::BTreeMap, io};

use acp_io_unit::{group, user};

/// The nouns that have users of their own, with their numbers above the base. A number never changes: files belong to it.
pub(crate) const NOUNS: [(&str, u32); 9] = [
    ("shim", 1),
    ("cluster", 2),
    ("storage", 3),
    ("network", 4),
    ("hypervisor", 5),
    ("dnsmasq", 6),
    ("hub", 8),
    ("agent", 9),
    ("api", 10),
];

/// Daemons that other daemons know by their user (`ACP_IDENTITIES`).
const DAEMONS: [&str; 7] = ["cluster", "storage", "network", "hypervisor", "hub", "agent", "api"];

/// The number of the group for devices, above the base.
const DEVICES: u32 = 7;

/// The number of the first system's user, above the base, and how many there are.
const SYSTEMS: u32 = 1000;
pub(crate) const SYSTEMS_MAX: u32 = 4096;

/// A user with its primary group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Account {
    pub(crate) const ROOT: Self = Self { uid: 0, gid: 0 };
}

/// Every account that does not belong to a system.
#[derive(Clone, Debug)]
pub(crate) struct Accounts {
    base: u32,
    /// The group `acp`: whoever is in it may open the daemons' sockets.
    pub(crate) acp_gid: u32,
    nouns: BTreeMap<&'static str, Account>,
}

impl Accounts {
    /// The distribution's users and groups where there are any, numbers above `base` elsewhere.
    pub(crate) fn open(base: u32) -> io::Result<Self> {
        let acp_gid = acp_gid(base)?;
        let mut nouns = BTreeMap::new();
        for (noun, number) in NOUNS {
            let found = user(&format!("acp-{noun}"))?.map(|user| Account { uid: user.uid, gid: user.gid });
            nouns.insert(noun, found.unwrap_or(Account { uid: base + number, gid: base + number }));
        }
        Ok(Self { base, acp_gid, nouns })
    }

    /// The account of a noun, or root.
    pub(crate) fn named(&self, name: &str) -> Option<Account> {
        if name == "root" { Some(Account::ROOT) } else { self.nouns.get(name).copied() }
    }

    /// The group `acp` or that of a noun.
    pub(crate) fn group_named(&self, name: &str) -> Option<u32> {
        if name == "acp" { Some(self.acp_gid) } else { self.named(name).map(|account| account.gid) }
    }

    /// Whom shims run as. Their files can be read by members of the group `acp`.
    pub(crate) fn shim(&self) -> Account {
        let uid = self.nouns.get("shim").map_or(self.base + 1, |account| account.uid);
        Account { uid, gid: self.acp_gid }
    }

    /// The group of devices that have none of their own.
    pub(crate) fn device_gid(&self) -> io::Result<u32> {
        Ok(group("acp-dev")?.unwrap_or(self.base + DEVICES))
    }

    /// The user of the system with this number, below [`SYSTEMS_MAX`].
    pub(crate) fn system(&self, number: u32) -> Account {
        let uid = self.base + SYSTEMS + number;
        Account { uid, gid: uid }
    }

    /// The value of `ACP_IDENTITIES`.
    pub(crate) fn identities(&self) -> String {
        let daemons = DAEMONS.iter().filter_map(|noun| Some(format!(",{noun}={}", self.nouns.get(noun)?.uid)));
        format!("framework=0{}", daemons.collect::<String>())
    }
}

/// The id of the group `acp`.
pub(crate) fn acp_gid(base: u32) -> io::Result<u32> {
    Ok(group("acp")?.unwrap_or(base))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_promised_where_there_are_no_users() {
        let accounts = Accounts::open(61_000).expect("the account database can be read");
        if group("acp").expect("readable").is_some() || user("acp-cluster").expect("readable").is_some() {
            eprintln!("skipped: this system has users acp-*");
            return;
        }
        assert_eq!(accounts.acp_gid, 61_000);
        assert_eq!(accounts.shim(), Account { uid: 61_001, gid: 61_000 });
        assert_eq!(accounts.named("dnsmasq"), Some(Account { uid: 61_006, gid: 61_006 }));
        assert_eq!(accounts.device_gid().expect("readable"), 61_007);
        assert_eq!(accounts.system(0).uid, 62_000);
        assert_eq!(accounts.system(SYSTEMS_MAX - 1).uid, 66_095);
        let identities =
            "framework=0,cluster=61002,storage=61003,network=61004,hypervisor=61005,hub=61008,agent=61009,api=61010";
        assert_eq!(accounts.identities(), identities);
        let numbers: std::collections::BTreeSet<u32> =
            NOUNS.into_iter().map(|(_, number)| number).chain([DEVICES]).collect();
        assert_eq!(numbers.len(), NOUNS.len() + 1, "no number is used twice");
    }
}
