//! S6: certificates are renewed under load.

use std::{fs, time::Duration};

use acp_dev_testkit::wait_for;
use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use super::traffic::Traffic;
use crate::{
    cluster::{At, Cluster, answer, granted},
    harness::Case,
    world::LIMIT,
};

/// The cases of this line.
pub(crate) const CASES: &[Case<Cluster>] =
    &[Case { name: "nodes::s6_certificates_rotate_under_load_and_no_call_fails", run: rotate }];

/// How long n3's certificates live meanwhile: each is renewed at half of it.
const LIFETIME: Duration = Duration::from_secs(10);
/// Certificates that are seen one after the other.
const ROTATIONS: usize = 3;
/// What a certificate has of its 48 hours at least when it is new.
const LONG_MS: u64 = 47 * 3_600 * 1_000;

/// n3 joins anew under a control plane that signs for seconds, and is called and calls all the while.
fn rotate(cluster: &Cluster) -> Result<()> {
    sign_for(cluster, Some(LIFETIME))?;
    let rotated = under_load(cluster);
    // Long certificates again, whatever came of it: n3 gets one at its next renewal.
    sign_for(cluster, None)?;
    rotated?;
    wait_for("n3 to have a certificate of days again", LIMIT, || {
        let status = cluster.status(At::N3).map_err(|error| format!("{error:#}"))?;
        let now = std::time::UNIX_EPOCH.elapsed().map_err(|error| error.to_string())?.as_millis();
        let until = u128::from(status["certificate_until_ms"].as_u64().unwrap_or_default());
        if until > now + u128::from(LONG_MS) { Ok(()) } else { Err(status.to_string()) }
    })
}

fn under_load(cluster: &Cluster) -> Result<()> {
    super::members::leave(cluster, At::N3)?;
    super::members::join(cluster, At::N3)?;
    let mut kept = cluster.open(At::N1, At::N3, "cluster")?;
    let (to, from) = (Traffic::new(cluster, At::N1, At::N3), Traffic::new(cluster, At::N3, At::N2));
    let (((), calling), called) = to.beside(|| {
        from.beside(|| {
            wait_renewals(cluster)?;
            granted(answer(kept.call("acp.cluster.GetStatus", json!({}))?))
                .context("a conversation that was opened before the first renewal")?;
            to.wait_answers(10)
        })
    })?;
    called.is_unharmed().context("calls to n3")?;
    calling.is_unharmed().context("calls from n3")
}

fn wait_renewals(cluster: &Cluster) -> Result<()> {
    let mut until = Vec::new();
    wait_for("certificates to be renewed", LIMIT, || {
        let status = cluster.status(At::N3).map_err(|error| format!("{error:#}"))?;
        let now = status["certificate_until_ms"].as_u64().ok_or_else(|| status.to_string())?;
        if until.last() != Some(&now) {
            until.push(now);
        }
        if until.len() > ROTATIONS { Ok(()) } else { Err(format!("{until:?}")) }
    })
}

/// Configures how long certificates live that are signed from now on: any of the controllers may be asked.
fn sign_for(cluster: &Cluster, lifetime: Option<Duration>) -> Result<()> {
    for at in At::ALL {
        let path = cluster.layout(at).etc().join("hub.toml");
        match lifetime {
            Some(lifetime) => fs::write(&path, format!("certificate_lifetime_s = {}\n", lifetime.as_secs()))?,
            None => fs::remove_file(&path)?,
        }
        let old = cluster.unit(at, "hub")?;
        cluster.run(at, &["service", "restart", "hub"])?;
        ensure!(cluster.unit(at, "hub")? != old, "the hub of {at:?} was not started anew");
    }
    cluster.wait_united()
}
