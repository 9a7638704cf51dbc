//! What the members were last taken for.
//!
//! Deliberately not here: how the leader comes to it, and whether it still holds, which only the leader knows.
//!
//! **Invariant**: a change is told once: an entry that says what the log says already is refused, whichever leader it is of.

use acp_base::{Code, Uid};
use acp_wire_model::entry::NodeStanding;

use super::{Done, State};
use crate::{admit, refusal::Refusal};

impl State {
    /// What the log last said of a member. One of which it said nothing is online.
    pub fn verdict(&self, node: Uid) -> NodeStanding {
        self.verdicts.get(&node).copied().unwrap_or(NodeStanding::Online)
    }

    pub(super) fn judge(&mut self, node: Uid, standing: NodeStanding, evidence: &str) -> Result<Done, Refusal> {
        admit::text("evidence", evidence)?;
        if !self.members.members().contains_key(&node) {
            return Err(Refusal::new(Code::NotFound, format!("no member with the uid {node}")));
        }
        if self.verdict(node) == standing {
            let (name, word) = (self.describe(node), standing.word());
            return Err(Refusal::new(Code::Conflict, format!("{name} is taken for {word} already")));
        }
        match standing {
            NodeStanding::Online => self.verdicts.remove(&node),
            other => self.verdicts.insert(node, other),
        };
        Ok(Done::none())
    }

    /// Whether each verdict is on a member, and none says what goes without saying.
    pub(super) fn verdicts_are_on_members(&self) -> Result<(), String> {
        let is_off = |(node, standing): &(&Uid, &NodeStanding)| {
            **standing == NodeStanding::Online || !self.members.members().contains_key(node)
        };
        match self.verdicts.iter().find(is_off) {
            None => Ok(()),
            Some((node, standing)) => Err(format!("the verdict {} on {node} is on no member", standing.word())),
        }
    }
}
