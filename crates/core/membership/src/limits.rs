//! How much of everything there can be.

/// Members: what a directory that every node holds, and that is sent whole, is made for.
pub const MEMBERS_MAX: usize = 1_000;

/// Members and those gone whose certificates may still count, together. A removal is never refused, so it is joining that
/// waits: nobody makes the list of the removed grow without end by joining and leaving.
pub const NODES_MAX: usize = 4_000;

/// Ids of nodes gone for longer, the newest of which are remembered: beyond that, what comes back is a machine out of a very
/// old backup, and nothing that its id was given counts any more.
pub const RETIRED_MAX: usize = 10_000;

/// API keys: the directory carries them all, and each node looks through them.
pub const KEYS_MAX: usize = 1_000;

/// Tokens: one for each batch of nodes that is being set up at a time.
pub const TOKENS_MAX: usize = 256;

/// Nodes that one token admits: as many as there can be.
pub const TOKEN_USES_MAX: u32 = 1_000;

/// How long a token counts at most: 30 days, a roll-out. What admits nodes is not left lying about for longer.
pub const TOKEN_LIFETIME_MAX_MS: u64 = 30 * DAY_MS;

/// How long a key with an end counts at most: ten years, as long as the cluster's authority.
pub const KEY_LIFETIME_MAX_MS: u64 = 10 * 365 * DAY_MS;

/// How long a key is still listed after its end, for whoever looks why it does not work any more.
pub const KEY_SHOWN_MS: u64 = DAY_MS;

/// How long a node's certificate counts at most: a week. For as long a removed node stays listed, whatever its own had.
pub const CERTIFICATE_LIFETIME_MAX_MS: u64 = 7 * DAY_MS;

/// By how much the clock of a node that looks at a certificate may be behind the one of the node that signed it.
pub const CLOCK_SLACK_MS: u64 = 60 * 60 * 1_000;

/// Requests to join that wait: more than an operator looks through, and newcomers prove nothing before they ask.
pub const REQUESTS_MAX: usize = 64;

/// How long a request to join waits at most: an hour, in which an operator either looks or does not.
pub const REQUEST_WAIT_MAX_MS: u64 = 60 * 60 * 1_000;

/// Systems that a node brings along: a full node of today with room. Requests that wait hold their names.
pub const SYSTEMS_MAX: usize = 1_000;

/// Roles: kinds of nodes that an operator tells apart.
pub const ROLES_MAX: usize = 64;

/// Units of one role: several times those that a node has.
pub const ROLE_UNITS_MAX: usize = 32;

/// Values noted of one node: kinds of hardware and places, and not an inventory.
pub const METADATA_MAX: usize = 32;

/// Bytes of a value that is a text: a sentence.
pub const METADATA_TEXT_MAX: usize = 256;

/// Bytes of all names and values noted of all nodes: the directory carries them, is sent whole with every change, and half as
/// large without any. With as many members as there can be, it is 256 for each.
pub const METADATA_BYTES_MAX: usize = 256 * 1024;

/// Conditions on metadata in one filter.
pub const CONDITIONS_MAX: usize = 16;

/// Voters that there can be: 5 survive any two, and each more makes every write wait for more.
pub const VOTERS_MAX: u32 = 5;

const DAY_MS: u64 = 24 * 60 * 60 * 1_000;
