//! Who calls, and whether they may.

use std::collections::BTreeMap;

use acp_base::{Code, Failure, Uid};
use acp_io_varlink::Peer;
use acp_wire_api::{
    Access, Scope,
    principal::{Principal, PrincipalKind},
};

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
    principal: Option<Principal>,
}

impl Caller {
    pub(crate) fn new(peer: Peer, identities: &Identities) -> Self {
        let daemon = identities.daemon(peer.uid).map(str::to_owned);
        Self { uid: peer.uid, pid: peer.pid, daemon, principal: None }
    }

    /// The daemon's noun, if it is one of ours that is not root and speaks for itself.
    pub fn daemon(&self) -> Option<&str> {
        if self.uid == 0 || self.principal.is_some() { None } else { self.daemon.as_deref() }
    }

    /// On whose behalf the call is made, if it came through an agent or with a key.
    pub fn principal(&self) -> Option<&Principal> {
        self.principal.as_ref()
    }

    /// The member that calls as itself, by its certificate. For a renewal its certificate may have expired.
    pub fn node(&self) -> Option<Uid> {
        let principal = self.principal.as_ref()?;
        matches!(principal.kind, PrincipalKind::Node | PrincipalKind::Renewal).then_some(principal.uid).flatten()
    }

    /// From now on this connection's calls are the principal's, and have its rights alone.
    pub(crate) fn act_for(&mut self, principal: Principal) -> Result<(), Failure> {
        if self.principal.is_some() {
            return Err(Failure::precondition("this connection acts for somebody already"));
        }
        if principal.kind == PrincipalKind::Key && principal.scope.is_none() {
            return Err(Failure::invalid("principal.scope: a key has one"));
        }
        self.principal = Some(principal);
        Ok(())
    }

    /// How the caller is named in the log of entries and in messages: `root`, a daemon's noun, `key NAME`, `node NAME`, or
    /// `uid N`.
    pub fn actor(&self) -> String {
        if let Some(principal) = &self.principal {
            return actor_of(principal);
        }
        match (self.uid, &self.daemon) {
            (0, _) => "root".to_owned(),
            (_, Some(noun)) => noun.clone(),
            (uid, None) => format!("uid {uid}"),
        }
    }

    /// Checks a method's access. Policies: `local-root-is-admin`, `local-group-reads` (whoever could open the socket is in
    /// its group), and the callers that the method names. A principal has its own rights and none of the agent's.
    pub(crate) fn check(&self, method: &str, access: Access) -> Result<(), Failure> {
        let is_allowed = match &self.principal {
            Some(principal) => allows(principal, access),
            None => {
                let named = self.daemon().is_some_and(|noun| access.callers.contains(&noun));
                self.uid == 0 || named || access.scope == Scope::Read
            }
        };
        if is_allowed {
            return Ok(());
        }
        let remedy = if self.principal.is_some() { "use a key that has it" } else { "call it as root" };
        let text = format!("{} may not call {method}: it needs the scope {:?}, {remedy}", self.actor(), access.scope);
        Err(Failure::new(Code::PermissionDenied, text))
    }
}

fn actor_of(principal: &Principal) -> String {
    let name = principal
        .name
        .as_ref()
        .map_or_else(|| principal.uid.as_ref().map(ToString::to_string).unwrap_or_default(), |name| name.to_string());
    match principal.kind {
        PrincipalKind::Key => format!("key {name}"),
        PrincipalKind::Node | PrincipalKind::Renewal => format!("node {name}"),
        PrincipalKind::Newcomer => "newcomer".to_owned(),
    }
}

/// A key may do what its scope includes; the others what names them.
fn allows(principal: &Principal, access: Access) -> bool {
    let word = match principal.kind {
        PrincipalKind::Key => {
            let scope = principal.scope.unwrap_or(Scope::Read);
            return access.scope != Scope::Internal && access.scope <= scope;
        }
        PrincipalKind::Node => "node",
        PrincipalKind::Renewal => "renewal",
        PrincipalKind::Newcomer => "newcomer",
    };
    access.callers.contains(&word)
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERNAL: Access = Access { scope: Scope::Internal, callers: &["hypervisor"] };

    fn caller(uid: u32) -> Caller {
        let identities = Identities::parse("framework=0,hypervisor=61005,network=61004").expect("well-formed");
        Caller::new(Peer { uid, pid: 1 }, &identities)
    }

    #[test]
    fn root_named_daemons_and_readers_pass_and_nobody_else() {
        assert_eq!(caller(0).check("m", INTERNAL), Ok(()));
        assert_eq!(caller(61005).check("m", INTERNAL), Ok(()));
        let read = Access { scope: Scope::Read, callers: &[] };
        assert_eq!(caller(1000).check("m", read), Ok(()));
        for (uid, scope) in
            [(61004, Scope::Internal), (1000, Scope::Operate), (1000, Scope::Write), (1000, Scope::Admin)]
        {
            let denied = caller(uid).check("m", Access { scope, callers: &["hypervisor"] }).expect_err("not allowed");
            assert_eq!(denied.code, Code::PermissionDenied);
        }
    }

    fn principal(kind: PrincipalKind, scope: Option<Scope>) -> Caller {
        let mut caller = caller(0);
        let uid = Some(Uid::from_u128(7));
        let principal = Principal { kind, uid, name: "n3".parse().ok(), scope, via: uid, fingerprint: None };
        caller.act_for(principal).expect("nobody before");
        caller
    }

    #[test]
    fn a_principal_has_its_own_rights_and_none_of_who_names_it() {
        const SCOPES: [Scope; 5] = [Scope::Read, Scope::Operate, Scope::Write, Scope::Admin, Scope::Internal];
        for (has, needs) in SCOPES.iter().flat_map(|has| SCOPES.iter().map(move |needs| (*has, *needs))) {
            let key = principal(PrincipalKind::Key, Some(has));
            let may = key.check("m", Access { scope: needs, callers: &["hypervisor", "node", "agent"] }).is_ok();
            assert_eq!(may, needs <= has && needs != Scope::Internal, "{has:?} against {needs:?}");
        }
        let kinds =
            [("node", PrincipalKind::Node), ("renewal", PrincipalKind::Renewal), ("newcomer", PrincipalKind::Newcomer)];
        for ((named, _), (word, kind)) in kinds.iter().flat_map(|named| kinds.iter().map(move |kind| (named, kind))) {
            for scope in SCOPES {
                let callers: &'static [&'static str] = match *named {
                    "node" => &["node"],
                    "renewal" => &["renewal"],
                    _ => &["newcomer"],
                };
                let may = principal(*kind, None).check("m", Access { scope, callers }).is_ok();
                assert_eq!(may, named == word, "{word} where {named} may, {scope:?}");
            }
        }
        assert!(
            principal(PrincipalKind::Newcomer, None)
                .act_for(Principal {
                    kind: PrincipalKind::Key,
                    uid: None,
                    name: None,
                    scope: Some(Scope::Admin),
                    via: None,
                    fingerprint: None
                })
                .is_err(),
            "nobody changes sides"
        );
    }

    #[test]
    fn malformed_identities_are_refused() {
        assert!(Identities::parse("cluster").is_err());
        assert!(Identities::parse("cluster=x").is_err());
        assert_eq!(Identities::parse(""), Ok(Identities::default()));
    }
}
