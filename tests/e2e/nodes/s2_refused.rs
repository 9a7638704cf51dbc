//! S2: certificates and keys that do not count: refused, counted, and logged once with the reason.

use std::{collections::BTreeMap, fs, process::Stdio, time::Duration};

use acp_base::Uid;
use acp_io_link::{Class, Link, LinkError};
use acp_io_pki::{Authority, Certificate, NodeIdentity, NodeKey, Validity};
use anyhow::{Context as _, Result, bail, ensure};
use rcgen::{CertificateParams, Issuer, KeyPair, SanType};
use serde_json::{Value, json};
use tokio_rustls::rustls::pki_types::{CertificateDer, UnixTime};

use super::peer::{self, Door, Files, Peer, call, converse, inside, opening};
use crate::{
    cluster::{At, Cluster, denied, granted},
    harness::Case,
    world::LIMIT,
};

/// The cases of this line.
pub(crate) const CASES: &[Case<Cluster>] = &[
    Case { name: "nodes::s2_certificates_that_do_not_count_are_refused_counted_and_logged_once", run: certificates },
    Case { name: "nodes::s2_a_node_that_was_removed_is_cut_off_and_stays_out", run: revoked },
    Case { name: "nodes::s2_tls_1_2_is_not_spoken", run: old_tls },
    Case { name: "nodes::s2_keys_that_do_not_suffice_are_refused_counted_and_logged", run: keys },
];

/// Handshakes and conversations that were refused, by reason.
const REFUSED: &str = "acp_agent_refused_total";
/// How often each is tried: it is logged once all the same.
const TRIES: usize = 5;
const HOUR: Duration = Duration::from_secs(3_600);

fn certificates(cluster: &Cluster) -> Result<()> {
    let door = Door::of(cluster, At::N1)?;
    for (reason, peers) in forge(cluster)? {
        let counted = || cluster.metric(At::N1, "agent", REFUSED, &[&format!("\"{reason}\"")]);
        let before = counted()?;
        inside(cluster, At::N2, async || {
            for (peer, _try) in peers.iter().flat_map(|peer| (0..TRIES).map(move |number| (peer, number))) {
                is_turned_away(peer, &door).await.with_context(|| format!("a certificate of the kind {reason}"))?;
            }
            Ok(())
        })?;
        let tried = (peers.len() * TRIES) as f64;
        acp_dev_testkit::wait_for("the refusals to be counted", LIMIT, || {
            let now = counted().map_err(|error| format!("{error:#}"))?;
            if now - before >= tried { Ok(()) } else { Err(format!("{reason}: {before} and then {now}")) }
        })?;
        is_told_once(cluster, reason, &cluster.member(At::N2).address().to_string())?;
    }
    Ok(())
}

/// n1's agent has told once why whoever is called so was refused.
fn is_told_once(cluster: &Cluster, reason: &str, from: &str) -> Result<()> {
    let log = cluster.log(At::N1, "agent")?;
    let (reason, from) = (format!("\"reason\":\"{reason}\""), format!("\"from\":\"{from}\""));
    let is_told = |line: &&str| line.contains("\"refused\"") && line.contains(&reason) && line.contains(&from);
    let lines: Vec<&str> = log.lines().filter(is_told).collect();
    ensure!(lines.len() == 1, "refusals with {reason} {from} made these lines in the log: {lines:?}");
    Ok(())
}

/// Neither a conversation nor a link comes of it. A TLS 1.3 client learns of its refusal when it reads.
async fn is_turned_away(peer: &Peer, door: &Door) -> Result<()> {
    for class in [Class::Calls, Class::Control] {
        let Ok(link) = peer.link(door, class).await else { continue };
        let opened = converse(&link, &opening("agent", json!({}))).await?;
        match opened {
            Err(LinkError::Unwelcome(_) | LinkError::Closed | LinkError::Handshake(_)) => {}
            other => bail!("it came in with the class {class:?}: {other:?}"),
        }
    }
    Ok(())
}

/// Whoever shows a certificate that must not count, by the label under which they are counted.
fn forge(cluster: &Cluster) -> Result<BTreeMap<&'static str, Vec<Peer>>> {
    let files = Files::of(cluster.member(At::N1))?;
    let (ours, node) = (files.certificate.identity.cluster, Files::of(cluster.member(At::N3))?.node);
    let copy = copied_authority(cluster)?;
    let real = Authority::ensure(&copy, ours, UnixTime::now())?;
    let foreign_dir = cluster.scratch("foreign-authority")?;
    let foreign = Authority::ensure(&foreign_dir, ours, UnixTime::now())?;
    let other_dir = cluster.scratch("other-authority")?;
    let elsewhere = Authority::ensure(&other_dir, Uid::from_u128(7), UnixTime::now())?;
    let signed = |authority: &Authority, from: Duration, life: Duration| -> Result<(NodeKey, Certificate)> {
        let key = NodeKey::generate()?;
        let now = UnixTime::since_unix_epoch(from);
        let certificate = authority.sign(&key.request()?, node, Validity { now, life })?;
        Ok((key, certificate))
    };
    let now = Duration::from_secs(UnixTime::now().as_secs());
    let other_cluster = NodeIdentity { cluster: Uid::from_u128(8), node };
    let itself = NodeIdentity { cluster: ours, node };
    let all = [
        ("expired", signed(&real, now - 2 * HOUR, HOUR)?),
        ("early", signed(&real, now + HOUR, HOUR)?),
        ("issuer", signed(&foreign, now, HOUR)?),
        ("issuer", signed(&elsewhere, now, HOUR)?),
        ("issuer", by_hand(cluster, "self-signed", itself, None)?),
        ("cluster", by_hand(cluster, "misnamed", other_cluster, Some((&copy, real.certificate())))?),
    ];
    let mut forged = BTreeMap::<_, Vec<Peer>>::new();
    for (reason, (key, certificate)) in all {
        forged.entry(reason).or_default().push(Peer::showing(key, certificate, ours, &files.authority)?);
    }
    Ok(forged)
}

/// The key of the cluster's authority in a directory of ours: whoever signs with it is believed.
fn copied_authority(cluster: &Cluster) -> Result<std::path::PathBuf> {
    let (from, to) = (cluster.layout(At::N1).state().join("hub"), cluster.scratch("authority")?);
    for name in ["authority.key", "authority.crt"] {
        fs::copy(from.join(name), to.join(name)).with_context(|| format!("cannot copy {name}"))?;
    }
    Ok(to)
}

/// A certificate as our own code would not make it: signed by itself, or by the authority for another cluster.
fn by_hand(
    cluster: &Cluster,
    name: &str,
    identity: NodeIdentity,
    authority: Option<(&std::path::Path, &CertificateDer<'static>)>,
) -> Result<(NodeKey, Certificate)> {
    let path = cluster.scratch(name)?.join("node.key");
    let key = NodeKey::ensure(&path)?;
    let pair = KeyPair::from_pem(&fs::read_to_string(&path)?)?;
    let mut params = CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(identity.to_string().try_into()?)];
    let certificate = match authority {
        None => params.self_signed(&pair)?,
        Some((dir, der)) => {
            let signer = KeyPair::from_pem(&fs::read_to_string(dir.join("authority.key"))?)?;
            params.signed_by(&pair, &Issuer::from_ca_cert_der(der, signer)?)?
        }
    };
    Ok((key, Certificate::read(certificate.der().clone())?))
}

/// A member that joined with a token is accepted, and from its removal on neither its link nor its certificate counts.
fn revoked(cluster: &Cluster) -> Result<()> {
    let door = Door::of(cluster, At::N1)?;
    let (uid, key) = (Uid::from_u128(0x0107_0000_0000_7000_8000_0000_0000_0009), NodeKey::generate()?);
    let token = cluster.json(At::N1, &["node", "token", "create"])?;
    let text = token["text"].as_str().context("a token has a text")?.to_owned();
    let admitted = inside(cluster, At::N2, async || join(&door, &text, uid, &key).await)?;
    let certificate = peer::bytes(&admitted["certificate"])?;
    let authority = peer::bytes(&admitted["directory"]["authority"])?;
    let stranger = Peer::new(key, Certificate::read(certificate.into())?, &authority.into())?;
    let counted = || cluster.metric(At::N1, "agent", REFUSED, &["\"revoked\""]);
    let before = counted()?;
    inside(cluster, At::N2, async || {
        let link = stranger.link(&door, Class::Calls).await?;
        let mut agent = converse(&link, &opening("agent", json!({}))).await??;
        granted(call(&mut agent, "acp.daemon.GetHealth", json!({})).await?)?;
        has_a_members_rights_alone(&link, &door).await?;
        cluster.run(At::N1, &["--yes", "node", "remove", "n9"])?;
        acp_dev_wait::wait_for_async("the removed node's link to be cut", LIMIT, async || {
            if link.is_open() { Err("it is open".to_owned()) } else { Ok(()) }
        })
        .await?;
        is_turned_away(&stranger, &door).await.context("a removed node")
    })?;
    ensure!(counted()? > before, "the refusal was not counted");
    ensure!(!cluster.run(At::N2, &["node", "list"])?.contains("n9"), "n2 lists a node that was removed");
    Ok(())
}

/// A member that is no controller can have nothing ordered but what is its own, and makes nobody a voter.
async fn has_a_members_rights_alone(link: &Link, door: &Door) -> Result<()> {
    let mut hub = converse(link, &opening("hub", json!({}))).await??;
    let epoch = granted(call(&mut hub, "acp.hub.GetQuorum", json!({})).await?)?["epoch"].clone();
    let ours = granted(call(&mut hub, "acp.hub.GetStatus", json!({})).await?)?["cluster"]["uid"].clone();
    let spec = json!({ "driver": "directory", "node": "n1" });
    let pool = json!({ "type": "create", "kind": "pool", "name": "foreign", "uid": Uid::from_u128(0x0001_0007), "spec": spec });
    let horizon = json!({ "type": "horizon", "epoch": epoch, "reason": "recover" });
    for action in [pool, horizon] {
        let entry = json!({ "actor": "root", "request": "", "action": action });
        let reply = granted(call(&mut hub, "acp.hub.Propose", json!({ "entries": [entry] })).await?)?;
        let outcome = &reply["outcomes"][0];
        let is_refused = outcome["index"] == 0 && outcome["refused"].is_string();
        ensure!(is_refused, "{action} was ordered for a node that is no controller: {reply}");
    }
    let prepare = json!({ "cluster": ours, "epoch": epoch, "node": door.node, "authority": "" });
    let readdress = json!({ "name": "n2", "address": "10.200.1.9:9932" });
    for (method, asked) in [("acp.hub.Prepare", prepare), ("acp.hub.Readdress", readdress)] {
        denied(call(&mut hub, method, asked).await?, "PermissionDenied").with_context(|| method)?;
    }
    Ok(())
}

/// Joins as node n9, as an agent does.
async fn join(door: &Door, text: &str, uid: Uid, key: &NodeKey) -> Result<Value> {
    let mut parts = text.split('.').skip(1);
    let fingerprint = parts.next().and_then(acp_io_pki::Fingerprint::parse).context("a token has a fingerprint")?;
    let secret = parts.next().context("a token has a secret")?;
    let stream = acp_io_link::dial_to_join(door.address, fingerprint).await?;
    let link = Link::over(stream, &acp_io_daemon::Tasks::default()).await?;
    let mut hub = converse(&link, &opening("hub", json!({}))).await??;
    let request = acp_base::to_hex(key.request()?.der());
    let node = json!({ "uid": uid, "name": "n9", "address": "10.200.1.9:9932", "signing_request": request });
    for wrong in [json!({ "token": "0".repeat(64), "node": node }), json!({ "token": "", "node": node })] {
        ensure!(call(&mut hub, "acp.hub.Join", wrong).await?.is_err(), "a wrong token was taken");
    }
    granted(call(&mut hub, "acp.hub.Join", json!({ "token": secret, "node": node })).await?)
}

/// OpenSSL speaks TLS 1.2 if that is all it may; with 1.3 the same command gets a connection.
fn old_tls(cluster: &Cluster) -> Result<()> {
    let shake = |version: &str| -> Result<String> {
        let words = format!(
            "openssl s_client -connect {}:{} {version} -alpn acp-join/1 </dev/null 2>&1; true",
            cluster.member(At::N1).address(),
            crate::cluster::AGENT_PORT
        );
        let run = || Ok(std::process::Command::new("sh").args(["-c", &words]).stdin(Stdio::null()).output()?);
        let out = cluster.layout(At::N2).namespace().run(run)?;
        Ok(String::from_utf8_lossy(&out.stdout).into_owned())
    };
    let new = shake("-tls1_3")?;
    ensure!(new.contains("TLSv1.3") && new.contains("BEGIN CERTIFICATE"), "TLS 1.3 is not spoken: {new}");
    for version in ["-tls1_2", "-tls1_1"] {
        let old = shake(version)?;
        ensure!(!old.contains("BEGIN CERTIFICATE"), "{version} is spoken: {old}");
        ensure!(old.contains("alert") || old.contains("no protocols"), "{version} was refused without a word: {old}");
    }
    Ok(())
}

/// A key as it is tried, and what comes of it.
fn keys(cluster: &Cluster) -> Result<()> {
    let made = |name: &str, scope: &str, more: &[&str]| -> Result<String> {
        let made = cluster.json(At::N1, &[&["key", "create", name, "--scope", scope], more].concat())?;
        Ok(made["secret"].as_str().context("a key has a secret")?.to_owned())
    };
    let reader = made("reader", "read", &[])?;
    let brief = made("brief", "admin", &["--lifetime", "1s"])?;
    let ended = made("ended", "admin", &[])?;
    cluster.run(At::N1, &["--yes", "key", "revoke", "ended"])?;
    let wrong = format!("acpk.{}", "0".repeat(64));
    for (key, reason) in [
        (wrong.as_str(), "key_unknown"),
        (&ended, "key_unknown"),
        ("acpk.", "key_malformed"),
        ("root", "key_malformed"),
    ] {
        let counted = || cluster.metric(At::N1, "agent", REFUSED, &[&format!("\"{reason}\"")]);
        let before = counted()?;
        let asked = json!({ "service": "cluster", "node": "n1", "key": key });
        // A key that was revoked or expires is so everywhere a moment later.
        acp_dev_testkit::wait_for(&format!("{reason}: the key to be refused"), LIMIT, || {
            let opened = cluster.ask_to_open(At::N2, &asked).map_err(|error| format!("{error:#}"))?;
            match opened {
                Err(refused) if refused.code == "PermissionDenied" => Ok(()),
                Err(other) => Err(format!("{other:?}")),
                Ok(_open) => Err("it was taken".to_owned()),
            }
        })?;
        ensure!(counted()? > before, "{reason}: the refusal was not counted");
        is_told_once(cluster, reason, "n2")?;
    }
    // One that has expired is told as such, or as unknown once the control plane has forgotten it.
    let asked = json!({ "service": "cluster", "node": "n1", "key": brief });
    acp_dev_testkit::wait_for("a key that expires to be refused", LIMIT, || {
        match cluster.ask_to_open(At::N2, &asked) {
            Ok(Err(refused)) if refused.code == "PermissionDenied" => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })?;
    under_scoped(cluster, &reader)?;
    without_key(cluster)?;
    let logs = [cluster.log(At::N1, "agent")?, cluster.log(At::N2, "agent")?].concat();
    for secret in [&reader, &brief, &ended, &wrong] {
        ensure!(!logs.contains(secret.as_str()), "a key's secret is in a log");
    }
    cluster.run(At::N1, &["--yes", "key", "revoke", "reader"]).map(drop)
}

/// What a key may do is decided where the call is executed.
fn under_scoped(cluster: &Cluster, reader: &str) -> Result<()> {
    let asked = json!({ "service": "cluster", "node": "n1", "key": reader });
    let opened = cluster.ask_to_open(At::N2, &asked)?;
    let mut conversation = opened.map_err(|refused| anyhow::anyhow!("a key that reads was refused: {refused:?}"))?;
    granted(crate::cluster::answer(conversation.call("acp.cluster.GetStatus", json!({}))?))?;
    let create = json!({ "kind": "pool", "name": "unwanted", "spec": {} });
    let refused = denied(crate::cluster::answer(conversation.call("acp.cluster.Create", create)?), "PermissionDenied")?;
    ensure!(refused.message.contains("key reader"), "it does not say whose call was refused: {}", refused.message);
    ensure!(cluster.log(At::N1, "cluster")?.contains("key reader"), "the log of the service does not name the key");
    Ok(())
}

/// Without a key root of a node is a node, and anybody else on it is nobody.
fn without_key(cluster: &Cluster) -> Result<()> {
    let opened = cluster.ask_to_open(At::N2, &json!({ "service": "cluster", "node": "n1" }))?;
    if let Ok(mut conversation) = opened {
        let reply = conversation.call("acp.cluster.Create", json!({ "kind": "pool", "name": "x", "spec": {} }))?;
        denied(crate::cluster::answer(reply), "PermissionDenied").context("root without a key")?;
    }
    let (bin, run) = (cluster.bin().join("acpctl"), cluster.layout(At::N2).run());
    let words = ["--reuid", "65534", "--regid", "65534", "--groups", "61000", "--"];
    let mut command = std::process::Command::new("setpriv");
    command.args(words).arg(bin).args(["--node", "n1", "pool", "list"]).env("ACP_RUN_DIR", run);
    let out = command.stdin(Stdio::null()).output().context("cannot run setpriv")?;
    let said = String::from_utf8_lossy(&out.stderr);
    ensure!(out.status.code() == Some(77), "a stranger without a key ended with {}: {said}", out.status);
    Ok(())
}
