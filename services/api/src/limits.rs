//! Every bound of the HTTP side, with its reason.

use std::time::Duration;

/// Connections at once. A browser takes six, a program a handful; beyond, the oldest that serves no key gives way.
pub(crate) const CONNECTIONS_MAX: usize = 256;
/// Bytes of a request's first line and headers together: a key, an id and what a browser adds come to less than 2 KiB.
pub(crate) const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Headers of one request.
pub(crate) const HEADERS_MAX: usize = 64;
/// What one connection buffers for reading and for writing, in bytes each.
pub(crate) const BUFFER_BYTES_MAX: usize = 64 * 1024;
/// What the kernel buffers for a client that reads slowly, in bytes.
pub(crate) const SEND_BUFFER_BYTES: usize = 256 * 1024;
/// How long the head of a request may take, and how long a connection may be idle.
pub(crate) const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Bytes of a request's body: the largest spec is far below.
pub(crate) const BODY_BYTES_MAX: usize = 64 * 1024;
/// How long a request's body may take.
pub(crate) const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may leave what was written to it unread.
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
/// The pause after a failed accept, for example without free file descriptors.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long a request may take that names no time: what acpctl's calls may.
pub(crate) const DEADLINE_DEFAULT: Duration = Duration::from_secs(30);
/// The longest time a request can name, in milliseconds. What takes longer is a job.
pub(crate) const TIMEOUT_MS_MAX: u64 = 600_000;
/// Characters of a request id: ids of common tracing systems fit.
pub(crate) const REQUEST_ID_MAX: usize = 128;

/// Objects in one answer where the request does not say.
pub(crate) const LIMIT_DEFAULT: usize = 100;
/// Objects in one answer: what the cluster service answers in a few batches.
pub(crate) const LIMIT_MAX: usize = 1_000;
/// Characters of a name at which a list continues: that of a volume is twice a name's, with a slash.
pub(crate) const AFTER_MAX: usize = 256;
/// Lines of a log in one answer: what the framework gives at most.
pub(crate) const LINES_MAX: u32 = 10_000;
/// Lines of a log where the request does not say.
pub(crate) const LINES_DEFAULT: u32 = 100;

/// Watches at once, of all keys: below what the cluster service gives one user, which all of them are to it.
pub(crate) const WATCHES_MAX: usize = 64;
/// Watches of one key at once, so that no key takes all.
pub(crate) const WATCHES_PER_KEY_MAX: usize = 16;
/// How long a watch that may have no news is looked at for a refusal before it is answered: later ones are told in the watch.
pub(crate) const REFUSAL_TIMEOUT: Duration = Duration::from_millis(500);
/// How often a watch without news says that it is there: proxies and clients give up silent connections after a minute.
pub(crate) const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Characters of `Last-Event-ID`: a cursor has about a hundred.
pub(crate) const EVENT_ID_MAX: usize = 256;

/// How long the agent's word about a key is taken for granted. What a key may do is checked where a call executes; this is
/// how late a revoked key may be called under-scoped instead of unknown.
pub(crate) const KNOWN_FOR: Duration = Duration::from_secs(1);
/// Keys whose owner is remembered.
pub(crate) const KNOWN_MAX: usize = 256;
/// How long the answer to a request without a valid key is held back.
pub(crate) const PENALTY: Duration = Duration::from_millis(500);
/// Answers that are held back at once; further ones are told to come back later.
pub(crate) const PENALTIES_MAX: usize = 16;
/// A reason for refusing keys is logged once in this time, with the number of refusals since.
pub(crate) const REFUSAL_PERIOD: Duration = Duration::from_secs(60);

/// Characters of an idempotency key: UUIDs and hashes fit.
pub(crate) const IDEMPOTENCY_KEY_MAX: usize = 255;
/// How long an answer is kept for a request that comes again, in milliseconds.
pub(crate) const ANSWER_KEPT_MS: u64 = 24 * 60 * 60 * 1_000;
/// Answers kept: with the largest bodies 32 MiB on disk and, while the API starts, in memory; commonly 2 MiB.
pub(crate) const ANSWERS_MAX: usize = 4_096;
/// Answers kept for one API key, so that none takes all.
pub(crate) const ANSWERS_PER_KEY_MAX: usize = 1_024;
/// Bytes of an answer's body that are kept; of a larger one it is kept that there was one.
pub(crate) const ANSWER_BYTES_MAX: usize = 8 * 1024;
/// How often answers that are no longer kept are looked for, in milliseconds.
pub(crate) const SWEEP_MS: u64 = 10 * 60 * 1_000;

/// How often it is looked whether the agent answers.
pub(crate) const AGENT_CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// How long it may take then.
pub(crate) const AGENT_CHECK_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the control plane may take to say who is online before members are listed without.
pub(crate) const PRESENCE_TIMEOUT: Duration = Duration::from_secs(2);
