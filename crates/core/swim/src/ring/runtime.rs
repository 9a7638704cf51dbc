//! How foca is set up, and what it asks for.

use std::{
    num::{NonZeroU8, NonZeroUsize},
    time::Duration,
};

use acp_base::Uid;
use foca::{Config, Notification, PeriodicParams, Timer};

use super::ENVELOPE_BYTES;
use crate::{
    Identity,
    timing::{DATAGRAM_BYTES_MAX, GOSSIP_PERIOD, INDIRECT_PROBES, PROBE_PERIOD, PROBE_RTT, SUSPICION, TRANSMISSIONS},
};

/// What foca asks for during one call.
#[derive(Default)]
pub(super) struct Asked {
    pub(super) sends: Vec<(Uid, Vec<u8>)>,
    pub(super) timers: Vec<(Timer<Identity>, Duration)>,
    pub(super) rejoined: bool,
}

impl foca::Runtime<Identity> for Asked {
    fn notify(&mut self, notification: Notification<'_, Identity>) {
        self.rejoined |= matches!(notification, Notification::Rejoin(_));
    }

    fn send_to(&mut self, to: Identity, data: &[u8]) {
        self.sends.push((to.node, data.to_vec()));
    }

    fn submit_after(&mut self, event: Timer<Identity>, after: Duration) {
        self.timers.push((event, after));
    }
}

pub(super) fn config() -> Config {
    let members = NonZeroUsize::new(INDIRECT_PROBES).unwrap_or(NonZeroUsize::MIN);
    Config {
        probe_period: PROBE_PERIOD,
        probe_rtt: PROBE_RTT,
        num_indirect_probes: members,
        max_transmissions: NonZeroU8::new(TRANSMISSIONS).unwrap_or(NonZeroU8::MIN),
        suspect_to_down_after: SUSPICION,
        // A node comes back under a later identity, so the dead ones need not be forgotten: there is one entry a member.
        remove_down_after: None,
        max_packet_size: NonZeroUsize::new(DATAGRAM_BYTES_MAX - ENVELOPE_BYTES).unwrap_or(NonZeroUsize::MIN),
        notify_down_members: true,
        // The driver calls those who are lost, since it knows those of whom foca has never heard as well.
        periodic_announce: None,
        periodic_announce_to_down_members: None,
        periodic_gossip: Some(PeriodicParams { frequency: GOSSIP_PERIOD, num_members: members }),
    }
}
