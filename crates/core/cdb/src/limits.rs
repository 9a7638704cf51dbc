//! Every bound of the database, each with its reason.

use acp_base::ByteSize;

/// Declared objects. Five times what one cluster is built for; 100,000 specs take about 100 MB.
pub const OBJECTS_MAX: usize = 100_000;

/// Identities ever used in an epoch, living and deleted: a deleted one costs 32 bytes until the epoch's horizon.
pub const UIDS_MAX: usize = 1_000_000;

/// Bytes of one entry as encoded. A system with 16 disks and 16 interfaces takes 6 KB; the rest is for growth.
pub const ENTRY_BYTES_MAX: usize = 256 << 10;

/// How deep lists and maps of an entry or a snapshot may lie in each other. A request has at most 128 levels, because that
/// is what the reader of JSON takes; an entry puts it two levels deeper.
pub const DEPTH_MAX: usize = 160;

/// How deep lists and maps of a slot's value may lie in each other. A watch's reply puts it some levels deeper, and its
/// reader takes 128 in all: a reporter must not make replies that nobody can read.
pub const SLOT_DEPTH_MAX: usize = 32;

/// Objects that exist because a reporter says so: volumes, units and jobs of a full cluster.
pub const REPORTED_MAX: usize = 200_000;

/// Slots of all reporters: a meta and a stats slot for every object.
pub const SLOTS_MAX: usize = 600_000;

/// Bytes of one slot's value as JSON: more belongs into a log or a file.
pub const SLOT_BYTES_MAX: usize = 64 << 10;

/// Bytes of all slots' values as JSON, so that a reporter gone wild cannot take the node's memory: a meta and a stats slot of
/// 300 bytes for each of 100,000 objects.
pub const SLOTS_BYTES_MAX: usize = 64 << 20;

/// Reporters known: a dozen services on each of a thousand nodes, with room.
pub const REPORTERS_MAX: usize = 16_384;

/// Slots of this node that wait to be told to others; beyond it everything is told anew, which is less than as many notes.
pub const UNSENT_MAX: usize = 100_000;

/// Slots in one publication: about one message of the bus.
pub const REPORTS_MAX: usize = 1_000;

/// Bytes of a reported object's name: a pool, a slash, a volume, with room for device paths.
pub const REPORTED_NAME_BYTES_MAX: usize = 128;

/// Changes the journal remembers: several seconds of a busy node, 4 MB.
pub const JOURNAL_CHANGES_MAX: usize = 65_536;

/// Bytes of deleted objects the journal keeps for watchers that have not read of their end.
pub const JOURNAL_GONE_BYTES_MAX: usize = 16 << 20;

/// Objects in one batch of a watch or a list: enough to make the cost of a message small, few enough to be read at once.
pub const BATCH_OBJECTS_MAX: usize = 128;

/// Bytes of objects, about, after which a batch is closed: half a socket buffer of today's kernels.
pub const BATCH_BYTES: usize = 100 << 10;

/// Conditions in one request.
pub const SELECTORS_MAX: usize = 16;

/// Virtual processors of a system: what QEMU's q35 machine takes.
pub const CPUS_MAX: u32 = 512;

/// Smallest memory of a system: less boots no kernel.
pub const MEMORY_MIN: ByteSize = ByteSize::mib(32);

/// Largest memory of a system: beyond every machine sold.
pub const MEMORY_MAX: ByteSize = ByteSize::gib(64 << 10);

/// Granularity of a system's memory.
pub const MEMORY_STEP: ByteSize = ByteSize::mib(1);

/// Disks of a system, and network interfaces of one: what fits the machine's PCI topology with the rest of its devices.
pub const DEVICES_MAX: usize = 16;

/// Granularity of a disk's size: a sector.
pub const SECTOR: ByteSize = ByteSize(512);

/// Largest disk: half of what ext4 takes as one file, so that it also fits with the metadata of qcow2.
pub const DISK_MAX: ByteSize = ByteSize::gib(8 << 10);

/// Shortest prefix of a network: a /8 holds 16 million guests.
pub const PREFIX_MIN: u8 = 8;

/// Longest prefix of a network: a /30 holds the bridge and one guest.
pub const PREFIX_MAX: u8 = 30;

/// Bytes of a path: `PATH_MAX` of Linux without the end mark.
pub const PATH_BYTES_MAX: usize = 4_095;

/// Bytes of a free text in a spec.
pub const TEXT_BYTES_MAX: usize = 1_024;
