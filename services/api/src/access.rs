//! Whose key a request shows. What the key may do is not decided here but where a call executes.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use acp_base::{Code, Failure, Uid};
use acp_io_client::Client;
use acp_wire_api::{
    agent::{Authenticate, AuthenticateRequest},
    principal::Principal,
};
use axum::http::{HeaderMap, header};
use sha2::{Digest as _, Sha256};
use tokio::{sync::Semaphore, time::Instant};

use crate::{
    limits::{KNOWN_FOR, KNOWN_MAX, PENALTIES_MAX, PENALTY, REFUSAL_PERIOD},
    metrics,
    problem::Refusal,
    request::RequestId,
};

/// What a key's secret begins with.
const SECRET_PREFIX: &str = "acpk.";
/// How many hexadecimal digits follow.
const SECRET_DIGITS: usize = 64;

/// Whoever shows a key that the agent knows.
pub(crate) struct Identity {
    pub(crate) secret: String,
    pub(crate) principal: Principal,
}

impl Identity {
    /// The key's id, by which shares and kept answers are told apart.
    pub(crate) fn uid(&self) -> Uid {
        self.principal.uid.unwrap_or(Uid::from_u128(0))
    }

    /// How logs name it.
    pub(crate) fn name(&self) -> &str {
        self.principal.name.as_ref().map_or("", |name| name.as_str())
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("principal", &self.principal).finish_non_exhaustive()
    }
}

/// Identities by the hash of their secret, each with until when it is taken for granted.
type Known = BTreeMap<[u8; 32], (Arc<Identity>, Instant)>;

/// Asks the agent whose a key is, remembers that for a moment, and makes guessing slow.
#[derive(Debug)]
pub(crate) struct Authenticator {
    client: Client,
    known: Mutex<Known>,
    penalties: Semaphore,
    refusals: Mutex<BTreeMap<&'static str, Refused>>,
}

/// How often there was one reason since it was logged.
#[derive(Debug)]
struct Refused {
    logged: Instant,
    since: u64,
}

impl Authenticator {
    /// Asks the agent of this client's node.
    pub(crate) fn new(client: Client) -> Self {
        Self { client, known: Mutex::default(), penalties: Semaphore::new(PENALTIES_MAX), refusals: Mutex::default() }
    }

    /// Whose key these headers show, found out in time.
    pub(crate) async fn identify(
        &self,
        headers: &HeaderMap,
        id: &RequestId,
        until: Instant,
    ) -> Result<Arc<Identity>, Refusal> {
        let secret = match secret(headers) {
            Ok(secret) => secret,
            Err(reason) => return Err(self.refuse(reason).await),
        };
        let digest: [u8; 32] = Sha256::digest(secret).into();
        if let Some(identity) = self.remembered(&digest) {
            return Ok(identity);
        }
        let request = AuthenticateRequest { key: secret.to_owned() };
        let left = until.saturating_duration_since(Instant::now());
        let agent = self.client.with_request_id(id.as_str()).service("agent").deadline(left);
        match agent.call::<Authenticate>(request).await {
            Ok(reply) => {
                let identity = Arc::new(Identity { secret: secret.to_owned(), principal: reply.principal });
                self.remember(digest, &identity);
                Ok(identity)
            }
            Err(failure) if failure.code == Code::PermissionDenied => Err(self.refuse(Reason::UNKNOWN).await),
            Err(failure) => Err(Failure { changed: acp_base::Change::None, ..failure }.into()),
        }
    }

    fn remembered(&self, digest: &[u8; 32]) -> Option<Arc<Identity>> {
        let known = lock(&self.known);
        let (identity, until) = known.get(digest)?;
        (*until > Instant::now()).then(|| Arc::clone(identity))
    }

    fn remember(&self, digest: [u8; 32], identity: &Arc<Identity>) {
        let now = Instant::now();
        let mut known = lock(&self.known);
        if known.len() >= KNOWN_MAX {
            known.retain(|_, (_, until)| *until > now);
        }
        if known.len() < KNOWN_MAX {
            known.insert(digest, (Arc::clone(identity), now + KNOWN_FOR));
        }
    }

    /// Counts and logs a refusal, and holds its answer back.
    async fn refuse(&self, reason: Reason) -> Refusal {
        metrics::refused(reason.name);
        self.log(reason);
        let Ok(_penalty) = self.penalties.try_acquire() else { return Refusal::too_many_failures() };
        tokio::time::sleep(PENALTY).await;
        Refusal::unauthenticated(reason.detail)
    }

    fn log(&self, reason: Reason) {
        let now = Instant::now();
        let mut refusals = lock(&self.refusals);
        let unsaid = match refusals.get_mut(reason.name) {
            Some(refused) if now.duration_since(refused.logged) < REFUSAL_PERIOD => {
                refused.since += 1;
                return;
            }
            Some(refused) => std::mem::replace(refused, Refused { logged: now, since: 0 }).since,
            None => {
                refusals.insert(reason.name, Refused { logged: now, since: 0 });
                0
            }
        };
        drop(refusals);
        tracing::warn!(reason = reason.name, unsaid, "a request without a valid key was refused");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why nobody is identified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Reason {
    name: &'static str,
    detail: &'static str,
}

impl Reason {
    const MISSING: Self = Self {
        name: "missing",
        detail: "send the header Authorization: Bearer acpk....; acpctl key create makes a key",
    };
    const MALFORMED: Self = Self {
        name: "malformed",
        detail: "the header Authorization is not of the form: Bearer acpk.<64 hexadecimal digits>",
    };
    const UNKNOWN: Self = Self {
        name: "unknown",
        detail: "the key is unknown, revoked or expired; acpctl key list shows those that count",
    };
}

fn secret(headers: &HeaderMap) -> Result<&str, Reason> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().ok_or(Reason::MISSING)?;
    let text = value.to_str().map_err(|_not_ascii| Reason::MALFORMED)?;
    let (scheme, secret) = text.split_once(' ').ok_or(Reason::MALFORMED)?;
    let digits = secret.strip_prefix(SECRET_PREFIX).ok_or(Reason::MALFORMED)?;
    let is_hex = digits.len() == SECRET_DIGITS && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_alone = values.next().is_none() && scheme.eq_ignore_ascii_case("Bearer");
    if is_hex && is_alone { Ok(secret) } else { Err(Reason::MALFORMED) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        values.iter().map(|value| (header::AUTHORIZATION, value.parse().expect("a value"))).collect()
    }

    #[test]
    fn only_one_well_formed_key_is_looked_up() {
        let good = format!("acpk.{}", "0f".repeat(32));
        assert_eq!(secret(&headers(&[&format!("Bearer {good}")])), Ok(good.as_str()));
        assert_eq!(secret(&headers(&[&format!("bearer {good}")])), Ok(good.as_str()));
        assert_eq!(secret(&headers(&[])), Err(Reason::MISSING));
        let bearer = format!("Bearer {good}");
        for values in [
            vec!["Bearer"],
            vec!["Bearer acpk.00"],
            vec!["Basic acpk.00"],
            vec![good.as_str()],
            vec![bearer.as_str(), bearer.as_str()],
        ] {
            assert_eq!(secret(&headers(&values)), Err(Reason::MALFORMED), "{values:?}");
        }
        assert_eq!(secret(&headers(&[&bearer.replace("0f", "0g")])), Err(Reason::MALFORMED));
    }
}
