//! The network between the nodes.

use std::process::{Command, Stdio};

use acp_dev_testkit::namespace::Namespace;
use anyhow::{Context as _, Result, bail};

use crate::member::{Member, gateway};

/// The link by which a node sees the others.
pub(crate) const LINK: &str = "lab0";

/// Makes the fabric's namespace with a bridge for each domain.
pub(crate) fn ensure(fabric: &Namespace, domains: u8) -> Result<()> {
    fabric.ensure()?;
    fabric.run(|| {
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("cannot let the fabric route")?;
        let links = acp_dev_testkit::namespace::links_here()?;
        for domain in 1..=domains {
            let bridge = bridge(domain);
            if !links.contains(&bridge) {
                ip(&["link", "add", &bridge, "type", "bridge", "mcast_snooping", "0"])?;
                ip(&["address", "add", &format!("{}/24", gateway(domain)), "dev", &bridge])?;
                ip(&["link", "set", &bridge, "up"])?;
            }
        }
        Ok(())
    })
}

fn bridge(domain: u8) -> String {
    format!("domain{domain}")
}

/// Connects a node with its domain, unless it is.
pub(crate) fn connect(fabric: &Namespace, member: &Member) -> Result<()> {
    let own = member.layout.namespace();
    own.ensure()?;
    if own.links()?.iter().any(|link| link == LINK) {
        return Ok(());
    }
    let port = member.name.to_string();
    let fabric_path = fabric.path().display().to_string();
    own.run(|| {
        ip(&["link", "add", LINK, "type", "veth", "peer", "name", &port, "netns", &fabric_path])?;
        ip(&["address", "add", &format!("{}/24", member.address()), "dev", LINK])?;
        ip(&["link", "set", LINK, "up"])
    })?;
    fabric.run(|| {
        ip(&["link", "set", &port, "master", &bridge(member.domain)])?;
        ip(&["link", "set", &port, "up"])
    })?;
    own.run(|| ip(&["route", "add", "10.200.0.0/16", "via", &gateway(member.domain).to_string()]))
}

fn ip(arguments: &[&str]) -> Result<()> {
    run(Command::new("ip").args(arguments), None)
}

/// Runs a program of the network's, with a text on its standard input.
pub(crate) fn run(command: &mut Command, input: Option<&str>) -> Result<()> {
    let said = format!("{command:?}");
    let mut child = command
        .stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {said}"))?;
    if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
        std::io::Write::write_all(&mut stdin, input.as_bytes()).with_context(|| said.clone())?;
    }
    let out = child.wait_with_output()?;
    if out.status.success() {
        return Ok(());
    }
    bail!("{said} ended with {}: {}", out.status, String::from_utf8_lossy(&out.stderr).trim_end())
}
