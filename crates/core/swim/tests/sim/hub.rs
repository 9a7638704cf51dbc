//! The hub: verdicts, and the driver around them.

use acp_base::Uid;
use acp_core_swim::{Effect, Verdict, Verdicts, rings::assign};

use crate::{
    node::{Word, instant},
    world::{SECOND_US, Us},
};

/// When the hub's side of a connection gives it up.
const SESSION_US: Us = 5 * SECOND_US;

#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) verdicts: Verdicts,
    heard: Vec<Us>,
    connected: Vec<bool>,
    /// Each verdict, when and on whom.
    pub(crate) said: Vec<(Us, Uid, Verdict)>,
    pub(crate) asked: u64,
}

impl Hub {
    pub(crate) fn new(nodes: &[Uid], effects: &mut Vec<Effect>) -> Self {
        let mut verdicts = Verdicts::default();
        let rings = assign("home", nodes);
        verdicts.set_rings(instant(0), rings.iter().map(|ring| &ring.members[..]), effects);
        let (heard, connected) = (vec![0; nodes.len()], vec![false; nodes.len()]);
        Self { verdicts, heard, connected, said: Vec::new(), asked: 0 }
    }

    pub(crate) const fn count(&self) -> usize {
        self.connected.len()
    }

    pub(crate) fn hear(&mut self, now: Us, index: usize, by: Uid, word: &Word, effects: &mut Vec<Effect>) {
        self.heard[index] = now;
        if !std::mem::replace(&mut self.connected[index], true) {
            self.verdicts.session(instant(now), by, true, effects);
        }
        self.verdicts.heard(instant(now), by, instant(now), effects);
        if let Word::Holds { node, state } = word {
            self.verdicts.report(instant(now), by, *node, *state, effects);
        }
    }

    pub(crate) fn end_session(&mut self, now: Us, index: usize, node: Uid, effects: &mut Vec<Effect>) {
        self.connected[index] = false;
        self.verdicts.session(instant(now), node, false, effects);
    }

    /// Ends the session of a node from which nothing has come for long.
    pub(crate) fn look(&mut self, now: Us, index: usize, node: Uid, effects: &mut Vec<Effect>) {
        if self.connected[index] && now - self.heard[index] > SESSION_US {
            self.end_session(now, index, node, effects);
        }
    }

    /// When a node that crashed or was cut off at `since` was first called dead after that.
    pub(crate) fn called_down(&self, node: Uid, since: Us) -> Option<Us> {
        let mut said = self.said.iter().filter(|(at, whom, _)| *at >= since && *whom == node);
        said.find(|(_, _, verdict)| *verdict == Verdict::Down).map(|(at, _, _)| at - since)
    }

    pub(crate) fn downs(&self) -> usize {
        self.said.iter().filter(|(_, _, verdict)| *verdict == Verdict::Down).count()
    }
}
