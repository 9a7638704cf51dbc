//! Where a call goes: the one rule of `(service, node?)`.

/// How many of a service there are in a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// One on each node: a call that names no node is for the node it is made on.
    EveryNode,
    /// On some nodes, any of which will do: a call that names no node goes to this node's if it is one of them, else to one that
    /// answers, and waits for it within its deadline. One that names a node goes to that node's.
    Single,
}

/// Every service that can be called from another node, with its placement.
pub const SERVICES: [(&str, Placement); 9] = [
    ("agent", Placement::EveryNode),
    ("api", Placement::EveryNode),
    ("cluster", Placement::EveryNode),
    ("framework", Placement::EveryNode),
    ("hub", Placement::Single),
    ("hypervisor", Placement::EveryNode),
    ("network", Placement::EveryNode),
    ("storage", Placement::EveryNode),
    ("vmm", Placement::EveryNode),
];

/// The placement of a service; none for what cannot be called from other nodes, like a pool's worker.
pub fn placement(service: &str) -> Option<Placement> {
    SERVICES.iter().find(|(name, _)| *name == service).map(|(_, placement)| *placement)
}

/// Whether a service has instances, each with a socket of its own, as systems' monitors have.
pub fn has_instances(service: &str) -> bool {
    service == "vmm"
}
