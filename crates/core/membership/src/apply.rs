//! The one place where a command is decided.

use acp_base::{Name, Uid};
use acp_wire_api::Scope;

use crate::{
    Command, Key, NewKey, NewToken, Outcome, Rejection, State,
    limits::{
        CERTIFICATE_LIFETIME_MAX_MS, CLOCK_SLACK_MS, KEY_LIFETIME_MAX_MS, RETIRED_MAX, TOKEN_LIFETIME_MAX_MS,
        TOKEN_USES_MAX, TOKENS_MAX,
    },
    root_key_name,
    state::{Founded, Removed, Token},
};

impl State {
    /// Carries the command out; `now_ms` is in milliseconds since the Unix epoch.
    ///
    /// # Errors
    /// The first reason against it. Nothing was changed then.
    pub fn apply(&mut self, command: Command, now_ms: u64) -> Result<Outcome, Rejection> {
        let outcome = self.decide(command, now_ms)?;
        self.changes += u64::from(outcome == Outcome::Changed);
        Ok(outcome)
    }

    fn decide(&mut self, command: Command, now_ms: u64) -> Result<Outcome, Rejection> {
        match command {
            Command::Init { cluster, name, authority, node } => {
                let first = Some(node.uid);
                self.init(Founded { uid: cluster, name, authority, first }, node, now_ms)
            }
            Command::Join { token, node } => self.join(&token, node, now_ms),
            Command::Ask { request, node, wait_ms } => self.ask(request, node, wait_ms, now_ms),
            Command::Approve { request } => self.approve(request, now_ms),
            Command::Reject { request } => self.reject(request, now_ms),
            Command::Rejoin { token, node } => self.rejoin(&token, node, now_ms),
            Command::Rename { node, to } => self.rename(node, to),
            Command::Readdress { node, address } => self.readdress(node, address),
            Command::AssignDomain { node, domain } => self.assign_domain(node, domain),
            Command::Park { node } => self.park(node, true),
            Command::Unpark { node } => self.park(node, false),
            Command::SetController { node, checkpoint_key } => self.set_controller(node, checkpoint_key),
            Command::SetVoters { wanted } => self.set_voters(wanted),
            Command::SetRole { name, units, nodes } => self.set_role(name, units, nodes),
            Command::SetMetadata { node, set, unset } => self.set_metadata(node, set, &unset),
            Command::Leave { node } => self.leave(node, now_ms),
            Command::Remove { name } => self.remove(name, now_ms),
            Command::CreateToken(token) => self.create_token(&token, now_ms),
            Command::RevokeToken { uid } => self.revoke_token(uid),
            Command::CreateKey(key) => self.create_key(key, now_ms),
            Command::RevokeKey { name } => self.revoke_key(name),
            Command::Prune => Ok(self.prune(now_ms)),
        }
    }

    fn leave(&mut self, node: Uid, now_ms: u64) -> Result<Outcome, Rejection> {
        self.cluster()?;
        if self.is_gone(node) {
            return Ok(Outcome::Unchanged);
        }
        let member = self.members.get(&node).ok_or(Rejection::NoMemberOfId { uid: node })?;
        self.take_out(node, member.name.clone(), now_ms)
    }

    fn remove(&mut self, name: Name, now_ms: u64) -> Result<Outcome, Rejection> {
        self.cluster()?;
        let node = self.member_named(&name)?;
        self.take_out(node, name, now_ms)
    }

    /// Takes a member out, and its root's key with it.
    fn take_out(&mut self, node: Uid, name: Name, now_ms: u64) -> Result<Outcome, Rejection> {
        self.spare(node)?;
        let key = self.members.remove(&node).map(|member| member.key);
        self.keys.remove(&root_key_name(&name));
        let until_ms = now_ms.saturating_add(CERTIFICATE_LIFETIME_MAX_MS + CLOCK_SLACK_MS);
        self.removed.insert(node, Removed { name, until_ms, key });
        self.revision += 1;
        Ok(Outcome::Changed)
    }

    fn create_token(&mut self, new: &NewToken, now_ms: u64) -> Result<Outcome, Rejection> {
        self.cluster()?;
        within("lifetime_ms", new.lifetime_ms, TOKEN_LIFETIME_MAX_MS)?;
        within("uses", u64::from(new.uses), u64::from(TOKEN_USES_MAX))?;
        if self.tokens.contains_key(&new.uid) {
            return Err(Rejection::UidTaken { uid: new.uid });
        }
        if self.has_secret(&new.digest) {
            return Err(Rejection::SecretTaken);
        }
        if self.tokens.values().filter(|token| token.counts(now_ms)).count() >= TOKENS_MAX {
            return Err(Rejection::TokensFull);
        }
        if self.tokens.len() >= TOKENS_MAX {
            // What does not count any more is kept to say why, as long as there is room.
            self.tokens.retain(|_, token| token.counts(now_ms));
        }
        let token = Token {
            digest: new.digest,
            created_ms: now_ms,
            expires_ms: now_ms.saturating_add(new.lifetime_ms),
            uses_left: new.uses,
            no_root_key: new.no_root_key,
        };
        self.tokens.insert(new.uid, token);
        Ok(Outcome::Changed)
    }

    fn revoke_token(&mut self, uid: Uid) -> Result<Outcome, Rejection> {
        self.cluster()?;
        self.tokens.remove(&uid).map(|_token| Outcome::Changed).ok_or(Rejection::NoToken { uid })
    }

    fn create_key(&mut self, new: NewKey, now_ms: u64) -> Result<Outcome, Rejection> {
        self.cluster()?;
        if new.scope == Scope::Internal {
            return Err(Rejection::ScopeInternal);
        }
        if let Some(lifetime_ms) = new.lifetime_ms {
            within("lifetime_ms", lifetime_ms, KEY_LIFETIME_MAX_MS)?;
        }
        if self.keys.contains_key(new.name.as_str()) {
            return Err(Rejection::KeyNameTaken { name: new.name });
        }
        if let Some(clash) = self.key_clash(new.uid, &new.digest) {
            return Err(clash);
        }
        let key = Key {
            uid: new.uid,
            digest: new.digest,
            scope: new.scope,
            created_ms: now_ms,
            expires_ms: new.lifetime_ms.map(|lifetime_ms| now_ms.saturating_add(lifetime_ms)),
        };
        self.keys.insert(new.name.to_string(), key);
        self.revision += 1;
        Ok(Outcome::Changed)
    }

    fn revoke_key(&mut self, name: String) -> Result<Outcome, Rejection> {
        self.cluster()?;
        if self.keys.remove(&name).is_none() {
            return Err(Rejection::NoKey { name });
        }
        self.revision += 1;
        Ok(Outcome::Changed)
    }

    fn prune(&mut self, now_ms: u64) -> Outcome {
        let (tokens, keys, removed) = (self.tokens.len(), self.keys.len(), self.removed.len());
        let requests = self.requests.len();
        self.requests.retain(|_, request| now_ms < request.until_ms);
        self.tokens.retain(|_, token| now_ms < token.expires_ms);
        self.keys.retain(|_, key| key.shown_until_ms().is_none_or(|until_ms| now_ms < until_ms));
        let ended: Vec<Uid> =
            self.removed.iter().filter(|(_, removed)| removed.until_ms <= now_ms).map(|(uid, _)| *uid).collect();
        for node in ended {
            self.removed.remove(&node);
            self.retired.push_back(node);
        }
        while self.retired.len() > RETIRED_MAX {
            self.retired.pop_front();
        }
        let directory = (keys, removed) != (self.keys.len(), self.removed.len());
        self.revision += u64::from(directory);
        let aside = (tokens, requests) != (self.tokens.len(), self.requests.len());
        if directory || aside { Outcome::Changed } else { Outcome::Unchanged }
    }
}

pub(crate) fn within(what: &'static str, given: u64, max: u64) -> Result<(), Rejection> {
    if (1..=max).contains(&given) { Ok(()) } else { Err(Rejection::Range { what, given, max }) }
}
