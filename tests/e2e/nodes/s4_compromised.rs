//! S4: somebody has the certificate and the key of n3, and speaks as they like.

use std::collections::{BTreeMap, BTreeSet};

use acp_io_link::{Class, Link, LinkError, Opening};
use acp_wire_api::MethodDescription;
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::peer::{Door, Files, Peer, call, converse, inside, opening};
use crate::{
    cluster::{At, Cluster, denied},
    harness::Case,
};

/// The cases of this line.
pub(crate) const CASES: &[Case<Cluster>] = &[
    Case { name: "nodes::s4_a_nodes_certificate_opens_the_methods_that_name_nodes_and_no_other", run: every_method },
    Case { name: "nodes::s4_what_a_peer_says_of_itself_is_not_believed", run: forged_contexts },
];

/// What node-only callers are called in the list of a method's callers.
const NODE: &str = "node";
/// What is none of [`acp_wire_api::routing::SERVICES`]: sockets of a node that other nodes do not reach, and nonsense.
const CLOSED: [&str; 4] = ["storage-worker", "qemu", "../agent", ""];

/// How a service answered a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    /// It is not served there.
    Unknown,
    /// The caller may not.
    Denied,
    /// The caller may: the parameters, which fit no method, were looked at.
    Allowed,
}

/// Every method of every service, with parameters that no method takes: what may be called is refused for them, and changes
/// nothing.
fn every_method(cluster: &Cluster) -> Result<()> {
    let peer = Peer::with_files_of(cluster.member(At::N3))?;
    let door = Door::of(cluster, At::N1)?;
    let monitor = cluster.guest()?.instance;
    let seen = inside(cluster, At::N3, async || try_all(&peer, &door, &monitor).await)?;
    let interfaces = acp_wire_api::all();
    let methods: Vec<&MethodDescription> = interfaces.iter().flat_map(|interface| &interface.methods).collect();
    for method in &methods {
        let verdicts = seen.get(method.name).cloned().unwrap_or_default();
        let wanted = if method.access.callers.contains(&NODE) { Verdict::Allowed } else { Verdict::Denied };
        let unexpected: Vec<_> =
            verdicts.iter().filter(|(_, verdict)| **verdict != wanted && **verdict != Verdict::Unknown).collect();
        ensure!(unexpected.is_empty(), "{} is to be {wanted:?} and was {unexpected:?}", method.name);
        let is_served = verdicts.values().any(|verdict| *verdict == wanted);
        // Workers of storage are behind no conversation at all.
        ensure!(
            is_served || method.name.starts_with("acp.storage.worker."),
            "no service was found that knows {}: {verdicts:?}",
            method.name
        );
    }
    let names = methods.iter().filter(|method| method.access.callers.contains(&NODE)).count();
    ensure!(names >= 5, "only {names} methods name nodes: the list is not what was tried");
    Ok(())
}

type Seen = BTreeMap<&'static str, BTreeMap<&'static str, Verdict>>;

async fn try_all(peer: &Peer, door: &Door, monitor: &str) -> Result<Seen> {
    let (calls, control) = (peer.link(door, Class::Calls).await?, peer.link(door, Class::Control).await?);
    for closed in CLOSED {
        ensure!(converse(&calls, &opening(closed, json!({}))).await?.is_err(), "{closed:?} was opened");
    }
    let mut seen = Seen::new();
    for (service, _placement) in acp_wire_api::routing::SERVICES {
        let instance = acp_wire_api::routing::has_instances(service).then(|| monitor.to_owned());
        let opening = Opening { instance, ..opening(service, json!({})) };
        let of_calls = try_methods(&calls, &opening).await.with_context(|| service)?;
        if service == "hub" {
            let of_control = try_methods(&control, &opening).await?;
            ensure!(of_control == of_calls, "what may be called depends on the class of the link");
        } else {
            ensure!(converse(&control, &opening).await?.is_err(), "{service} was opened over a control link");
        }
        for (method, verdict) in of_calls {
            seen.entry(method).or_default().insert(service, verdict);
        }
    }
    Ok(seen)
}

/// Tries every method, each in a conversation of its own.
async fn try_methods(link: &Link, opening: &Opening) -> Result<BTreeMap<&'static str, Verdict>> {
    let mut verdicts = BTreeMap::new();
    for method in acp_wire_api::all().iter().flat_map(|interface| &interface.methods) {
        let mut conversation = converse(link, opening).await??;
        let answer = call(&mut conversation, method.name, json!({ "no_such_key": 1 })).await?;
        let verdict = match answer.as_ref().map_err(|refused| refused.code.as_str()) {
            Err("PermissionDenied") => Verdict::Denied,
            Err(unknown) if unknown.starts_with("org.varlink.service.") => Verdict::Unknown,
            Ok(_) | Err(_) => Verdict::Allowed,
        };
        verdicts.insert(method.name, verdict);
    }
    Ok(verdicts)
}

/// Names, keys and principals that a peer makes up have no effect, on whatever way they are said.
fn forged_contexts(cluster: &Cluster) -> Result<()> {
    let peer = Peer::with_files_of(cluster.member(At::N3))?;
    let door = Door::of(cluster, At::N1)?;
    let other = Files::of(cluster.member(At::N2))?;
    let admin = json!({ "kind": "key", "name": "root", "scope": "admin" });
    let forged: [Value; 11] = [
        json!({ "node": other.node }),
        json!({ "node": other.node, "relayed": true }),
        json!({ "newcomer": true }),
        json!({ "node": "n2" }),
        json!({ "principal": admin }),
        json!({ "caller": "root", "uid": 0 }),
        json!({ "relayed": true }),
        json!({ "key": format!("acpk.{}", "0".repeat(64)) }),
        json!({ "key": hash_of_a_key(&other.directory)? }),
        json!({ "key": "" }),
        json!("admin"),
    ];
    let before = cluster.names(At::N1, "pool")?;
    inside(cluster, At::N3, async || {
        let link = peer.link(&door, Class::Calls).await?;
        for context in &forged {
            stays_powerless(&link, context).await.with_context(|| format!("with the context {context}"))?;
        }
        let mut conversation = converse(&link, &opening("cluster", json!({}))).await??;
        let act = json!({ "principal": admin });
        let acted = call(&mut conversation, "acp.daemon.ActFor", act).await?;
        denied(acted, "PermissionDenied").context("a peer named a principal itself")?;
        denied(call(&mut conversation, "acp.cluster.Create", create()).await?, "PermissionDenied").map(drop)
    })?;
    ensure!(cluster.names(At::N1, "pool")? == before, "a pool was made");
    renewal_is_for_oneself(cluster, &peer, &door)
}

/// Whatever a conversation is opened with: either it is turned away, or it can do no more than a node.
async fn stays_powerless(link: &Link, context: &Value) -> Result<()> {
    let opened = converse(link, &opening("cluster", context.clone())).await?;
    match opened {
        Err(LinkError::Denied(_) | LinkError::Garbage) => Ok(()),
        Err(other) => Err(other).context("it was not turned away in words"),
        Ok(mut conversation) => {
            denied(call(&mut conversation, "acp.cluster.Create", create()).await?, "PermissionDenied").map(drop)
        }
    }
}

fn create() -> Value {
    json!({ "kind": "pool", "name": "forged", "spec": {} })
}

/// What a directory says of a key is not the key.
fn hash_of_a_key(directory: &Value) -> Result<String> {
    let hashes: BTreeSet<&str> =
        directory["keys"].as_array().context("keys")?.iter().filter_map(|key| key["hash"].as_str()).collect();
    Ok(format!("acpk.{}", hashes.first().context("the cluster has keys of its roots")?))
}

/// A member gets certificates of its own node and for its own key alone.
fn renewal_is_for_oneself(cluster: &Cluster, peer: &Peer, door: &Door) -> Result<()> {
    let foreign = acp_io_pki::NodeKey::generate()?.request()?;
    inside(cluster, At::N3, async || {
        let link = peer.link(door, Class::Control).await?;
        let mut hub = converse(&link, &opening("hub", json!({}))).await??;
        let request = json!({ "signing_request": acp_base::to_hex(foreign.der()) });
        let signed = call(&mut hub, "acp.hub.RenewCertificate", request).await?;
        ensure!(signed.is_err(), "another key was certified: {signed:?}");
        let request = json!({ "signing_request": acp_base::to_hex(peer.key.request()?.der()) });
        let mut hub = converse(&link, &opening("hub", json!({}))).await??;
        let signed = call(&mut hub, "acp.hub.RenewCertificate", request).await?;
        let signed = crate::cluster::granted(signed)?;
        let der = super::peer::bytes(&signed["certificate"])?;
        let certificate = acp_io_pki::Certificate::read(der.into())?;
        ensure!(certificate.identity.node == peer.uid, "it names another node: {:?}", certificate.identity);
        Ok(())
    })
}
