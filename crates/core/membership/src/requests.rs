//! How nodes come in that have no token, and how those come back that were members.
//!
//! Whoever asks has proved nothing yet, so what a request takes is bounded in number and in time, and an operator who approves
//! it compares the key's fingerprint. **Invariant**: a node comes back under its id only with the key it had, and only by a
//! token or an approved request: an operator has said so.

use acp_base::Uid;

use crate::{
    Digest, NewNode, Outcome, Rejection, Request, RootKey, State,
    admission::Plan,
    apply::within,
    limits::{REQUEST_WAIT_MAX_MS, REQUESTS_MAX},
};

impl State {
    /// Says what asking would be answered with, and changes nothing: nothing stands against a member that asks again.
    pub fn plan_ask(&self, node: &NewNode) -> Plan {
        match self.member_again(node) {
            Some(member) => self.plan_again(member, node),
            None => {
                let clashes = self.clashes_coming(node, node.root_key);
                Plan { again: false, root_key: node.root_key.is_some(), clashes }
            }
        }
    }

    pub(crate) fn ask(&mut self, request: Uid, node: NewNode, wait: u64, now_ms: u64) -> Result<Outcome, Rejection> {
        self.cluster()?;
        within("wait_ms", wait, REQUEST_WAIT_MAX_MS)?;
        let plan = self.plan_ask(&node);
        if let Some(clash) = plan.clashes.into_iter().next() {
            return Err(clash);
        }
        if plan.again {
            return Ok(Outcome::Unchanged);
        }
        let until_ms = now_ms.saturating_add(wait);
        if let Some(known) = self.requests.values_mut().find(|known| is_same(&known.node, &node)) {
            known.node = node;
            known.until_ms = until_ms;
            return Ok(Outcome::Changed);
        }
        if self.requests.contains_key(&request) {
            return Err(Rejection::UidTaken { uid: request });
        }
        if self.requests.values().filter(|known| now_ms < known.until_ms).count() >= REQUESTS_MAX {
            return Err(Rejection::RequestsFull);
        }
        self.requests.retain(|_, known| now_ms < known.until_ms);
        self.requests.insert(request, Request { node, asked_ms: now_ms, until_ms });
        Ok(Outcome::Changed)
    }

    /// The node that waits with this request.
    ///
    /// # Errors
    /// Nobody waits with it.
    pub fn asked(&self, request: Uid, now_ms: u64) -> Result<&NewNode, Rejection> {
        self.cluster()?;
        let waiting = self.requests.get(&request).filter(|known| now_ms < known.until_ms);
        waiting.map(|known| &known.node).ok_or(Rejection::NoRequest { uid: request })
    }

    pub(crate) fn approve(&mut self, request: Uid, now_ms: u64) -> Result<Outcome, Rejection> {
        let node = self.asked(request, now_ms)?.clone();
        let plan = self.plan_ask(&node);
        if let Some(clash) = plan.clashes.into_iter().next() {
            return Err(clash);
        }
        self.requests.remove(&request);
        if !plan.again {
            self.removed.remove(&node.uid);
            self.admit(node, None, now_ms);
        }
        Ok(Outcome::Changed)
    }

    pub(crate) fn reject(&mut self, request: Uid, now_ms: u64) -> Result<Outcome, Rejection> {
        self.asked(request, now_ms)?;
        self.requests.remove(&request);
        Ok(Outcome::Changed)
    }

    /// Says what coming back would do, and changes nothing.
    ///
    /// # Errors
    /// Who has no good token is told nothing else.
    pub fn plan_rejoin(&self, token: &Digest, node: &NewNode, now_ms: u64) -> Result<Plan, Rejection> {
        if !self.is_gone(node.uid) {
            return self.plan_join(token, node, now_ms);
        }
        self.cluster()?;
        let known = self.good_token(token, now_ms)?;
        let root_key = node.root_key.filter(|_| !known.no_root_key);
        Ok(Plan { again: false, root_key: root_key.is_some(), clashes: self.clashes_coming(node, root_key) })
    }

    /// What stands against a node that comes for the first time, or back with the key it had.
    fn clashes_coming(&self, node: &NewNode, root_key: Option<RootKey>) -> Vec<Rejection> {
        let had = self.removed.get(&node.uid).and_then(|removed| removed.key);
        let is_other = self.is_gone(node.uid) && had != Some(node.key);
        let key = is_other.then_some(Rejection::OtherKey { uid: node.uid });
        key.into_iter().chain(self.clashes_but_gone(node, root_key)).collect()
    }

    pub(crate) fn rejoin(&mut self, token: &Digest, node: NewNode, now_ms: u64) -> Result<Outcome, Rejection> {
        if !self.is_gone(node.uid) {
            return self.join(token, node, now_ms);
        }
        let plan = self.plan_rejoin(token, &node, now_ms)?;
        if let Some(clash) = plan.clashes.into_iter().next() {
            return Err(clash);
        }
        self.use_token(token);
        self.removed.remove(&node.uid);
        let root_key = node.root_key.filter(|_| plan.root_key);
        self.admit(NewNode { root_key, ..node }, Some(*token), now_ms);
        Ok(Outcome::Changed)
    }
}

/// Whether one node has asked twice.
fn is_same(one: &NewNode, other: &NewNode) -> bool {
    (one.uid, one.key) == (other.uid, other.key)
}
