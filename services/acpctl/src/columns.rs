//! The columns of each kind's table.

use acp_wire_model::Kind;

use crate::output::{
    Column,
    Style::{Age, Bytes, Count, CpuTime, Digest, Each, Percent, Plain, Since, State},
};

const NAME: Column = Column("NAME", "/name", Plain);
const STATE: Column = Column("STATE", "/status/state", State);
const AGE: Column = Column("AGE", "/age_ms", Age);
const REASON: Column = Column("REASON", "/status/reason", Plain);

const NODE: &[Column] = &[
    NAME,
    Column("CPUS", "/status/cpus", Plain),
    Column("MEMORY", "/status/memory_bytes", Bytes),
    Column("ACCEL", "/status/accelerator", Plain),
    Column("CPU", "/stats/cpu_percent", Percent),
    Column("AVAILABLE", "/stats/memory_available_bytes", Bytes),
    Column("KERNEL", "/status/kernel", Plain),
    Column("QEMU", "/status/qemu", Plain),
    AGE,
];

const SYSTEM: &[Column] = &[
    NAME,
    STATE,
    Column("CPUS", "/spec/cpus", Plain),
    Column("MEMORY", "/spec/memory_bytes", Bytes),
    Column("CPU", "/stats/cpu_percent", Percent),
    Column("NETWORKS", "/spec/nics", Each("network")),
    Column("ADDRESSES", "/spec/nics", Each("address")),
    Column("NODE", "/spec/node", Plain),
    Column("SINCE", "/status/since_ms", Since),
    AGE,
    REASON,
];

const NETWORK: &[Column] = &[
    NAME,
    STATE,
    Column("ADDRESS", "/spec/address", Plain),
    Column("DHCP", "/spec/dhcp", Plain),
    Column("NAT", "/spec/nat", Plain),
    Column("LINK", "/status/link", Plain),
    Column("TAPS", "/status/taps", Count),
    Column("NODE", "/spec/node", Plain),
    AGE,
    REASON,
];

const POOL: &[Column] = &[
    NAME,
    STATE,
    Column("DRIVER", "/spec/driver", Plain),
    Column("CAPACITY", "/stats/capacity_bytes", Bytes),
    Column("FREE", "/stats/free_bytes", Bytes),
    Column("VOLUMES", "/stats/volumes", Plain),
    Column("IMAGES", "/stats/images", Plain),
    Column("NODE", "/spec/node", Plain),
    AGE,
    REASON,
];

const IMAGE: &[Column] = &[
    NAME,
    Column("POOL", "/spec/pool", Plain),
    Column("FORMAT", "/spec/format", Plain),
    Column("DISK", "/spec/virtual_size_bytes", Bytes),
    Column("FILE", "/spec/size_bytes", Bytes),
    Column("SHA256", "/spec/sha256", Digest),
    Column("PRESENT", "/status/present", Plain),
    Column("NODE", "/spec/node", Plain),
    AGE,
    REASON,
];

const VOLUME: &[Column] = &[
    NAME,
    Column("FORMAT", "/status/format", Plain),
    Column("SIZE", "/status/size_bytes", Bytes),
    Column("ALLOCATED", "/status/allocated_bytes", Bytes),
    Column("BACKING", "/status/backing/name", Plain),
    AGE,
    REASON,
];

const SERVICE: &[Column] = &[
    NAME,
    STATE,
    Column("PID", "/status/pid", Plain),
    Column("USER", "/status/uid", Plain),
    Column("RESTARTS", "/status/restarts", Plain),
    Column("CPU", "/stats/cpu_ms", CpuTime),
    Column("MEMORY", "/stats/memory_bytes", Bytes),
    Column("LOG", "/stats/log_bytes", Bytes),
    Column("SINCE", "/status/since_ms", Since),
    AGE,
    REASON,
];

const JOB: &[Column] = &[
    Column("ID", "/name", Plain),
    Column("VERB", "/status/verb", Plain),
    Column("KIND", "/status/object_kind", Plain),
    Column("OBJECT", "/status/object_name", Plain),
    STATE,
    Column("STEP", "/status/step", Plain),
    Column("DONE", "/status/percent", Percent),
    Column("STARTED", "/status/started_ms", Since),
    AGE,
    Column("ERROR", "/status/error/message", Plain),
];

/// The columns of this kind.
pub(crate) fn of(kind: Kind) -> &'static [Column] {
    match kind {
        Kind::Node => NODE,
        Kind::System => SYSTEM,
        Kind::Network => NETWORK,
        Kind::Pool => POOL,
        Kind::Image => IMAGE,
        Kind::Volume => VOLUME,
        Kind::Service => SERVICE,
        Kind::Job => JOB,
    }
}

/// The columns of what was asked in the past: how things were then, nobody has kept.
pub(crate) fn of_past(kind: Kind) -> Vec<Column> {
    let asked = of(kind).iter().filter(|column| column.1 == NAME.1 || column.1.starts_with("/spec/"));
    asked.copied().chain([Column("VERSION", "/version", Plain), Column("ID", "/uid", Plain)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_past_has_no_states() {
        let headings = |kind| of_past(kind).iter().map(|column| column.0).collect::<Vec<_>>();
        assert_eq!(headings(Kind::Network), ["NAME", "ADDRESS", "DHCP", "NAT", "NODE", "VERSION", "ID"]);
        assert_eq!(headings(Kind::Node), ["NAME", "VERSION", "ID"]);
    }

    #[test]
    fn every_table_begins_with_the_name_and_shows_the_age() {
        for kind in Kind::ALL {
            assert_eq!(of(kind)[0].1, "/name", "{kind}");
            assert!(of(kind).iter().any(|column| column.2 == Age), "{kind}");
        }
    }
}
