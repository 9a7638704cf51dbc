//! Who calls, and whether they may.

use std::collections::BTreeMap;

use acp_base::{Code, Failure};
use acp_io_varlink::Peer;
use acp_wire_api::{Access, Scope};

use crate::Fatal;

/// Which user id belongs to which daemon, as the framework says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identities {
    by_uid: BTreeMap<u32, String>,
}

impl Identities {
    /// Reads `noun=uid,noun=uid`.
    pub fn parse(text: &str) -> Result<Self, Fatal> {
        let mut by_uid = BTreeMap::new();
        for pair in text.split(',').filter(|pair| !pair.is_empty()) {
            let parsed = pair.split_once('=').and_then(|(noun, uid)| Some((noun, uid.parse::<u32>().ok()?)));
            let Some((noun, uid)) = parsed else {
                return Err(Fatal::config(format!("ACP_IDENTITIES: {pair:?} is not of the form noun=uid")));
            };
            by_uid.insert(uid, noun.to_owned());
        }
        Ok(Self { by_uid })
    }

    /// The daemon that runs as this user, if any.
    pub fn daemon(&self, uid: u32) -> Option<&str> {
        self.by_uid.get(&uid).map(String::as_str)
    }
}

/// Who made a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The user id the kernel reports for the connection.
    pub uid: u32,
    /// The process id the kernel reports for the connection.
    pub pid: u32,
    daemon: Option<String>,
}

impl Caller {
    pub(crate) fn new(peer: Peer, identities: &Identities) -> Self {
        Self { uid: peer.uid, pid: peer.pid, daemon: identities.daemon(peer.uid).map(str::to_owned) }
    }

    /// The daemon's noun, if it is one of ours that is not root.
    pub fn daemon(&self) -> Option<&str> {
        if self.uid == 0 { None } else { self.daemon.as_deref() }
    }

    /// How the caller is named in the log of entries and in messages: `root`, a daemon's noun, or `uid N`.
    pub fn actor(&self) -> String {
        match (self.uid, &self.daemon) {
            (0, _) => "root".to_owned(),
            (_, Some(noun)) => noun.clone(),
            (uid, None) => format!("uid {uid}"),
        }
    }

    /// Checks a method's access. Policies: `local-root-is-admin`, `local-group-reads` (whoever could open the socket is in
    /// its group), and the daemons that the method names.
    pub(crate) fn check(&self, method: &str, access: Access) -> Result<(), Failure> {
        let named = self.daemon().is_some_and(|noun| access.daemons.contains(&noun));
        if self.uid == 0 || named || access.scope == Scope::Read {
            return Ok(());
        }
        Err(Failure::new(
            Code::PermissionDenied,
            format!("{} may not call {method}: it needs the scope {:?}, call it as root", self.actor(), access.scope),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERNAL: Access = Access { scope: Scope::Internal, daemons: &["hypervisor"] };

    fn caller(uid: u32) -> Caller {
        let identities = Identities::parse("framework=0,hypervisor=61005,network=61004").expect("well-formed");
        Caller::new(Peer { uid, pid: 1 }, &identities)
    }

    #[test]
    fn root_named_daemons_and_readers_pass_and_nobody_else() {
        assert_eq!(caller(0).check("m", INTERNAL), Ok(()));
        assert_eq!(caller(61005).check("m", INTERNAL), Ok(()));
        let read = Access { scope: Scope::Read, daemons: &[] };
        assert_eq!(caller(1000).check("m", read), Ok(()));
        for (uid, scope) in
            [(61004, Scope::Internal), (1000, Scope::Operate), (1000, Scope::Write), (1000, Scope::Admin)]
        {
            let denied = caller(uid).check("m", Access { scope, daemons: &["hypervisor"] }).expect_err("not allowed");
            assert_eq!(denied.code, Code::PermissionDenied);
        }
    }

    #[test]
    fn malformed_identities_are_refused() {
        assert!(Identities::parse("cluster").is_err());
        assert!(Identities::parse("cluster=x").is_err());
        assert_eq!(Identities::parse(""), Ok(Identities::default()));
    }
}
