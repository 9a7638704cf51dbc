//! What a ring knows of one other member, beside what foca knows.

use acp_base::BootInstant;
use foca::State;

use crate::{
    Identity,
    loss::{Loss, Window},
};

/// Another member.
#[derive(Debug)]
pub(crate) struct Peer {
    /// The last that foca held of it, to see what changes.
    pub(crate) state: Option<State>,
    pub(crate) heard: Option<BootInstant>,
    /// The number of the last datagram to it.
    pub(crate) sent: u32,
    /// How much of what it sends is lost.
    pub(crate) loss: Loss,
    incarnation: u64,
    window: Window,
}

impl Peer {
    pub(crate) const fn new() -> Self {
        let window = Window::empty();
        Self { state: None, heard: None, sent: 0, loss: Loss::of_peer(), incarnation: 0, window }
    }

    /// Takes a copy of a datagram; true: it is the first one. `ring` is the estimate for all peers.
    pub(crate) fn take(&mut self, sender: &Identity, number: u32, copies: u8, ring: &mut Loss) -> bool {
        if sender.incarnation != self.incarnation {
            // Another life counts anew.
            (self.incarnation, self.window) = (sender.incarnation, Window::empty());
        }
        let loss = &mut self.loss;
        self.window.take(number, copies, |lost| {
            loss.record(lost);
            ring.record(lost);
        })
    }
}
