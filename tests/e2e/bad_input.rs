//! Nonsense at the sockets: a precise error, and nothing changed.

use std::collections::BTreeMap;

use acp_dev_testkit::varlink::Conversation;
use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::world::World;

/// The daemons with a socket of their own, and the interfaces they answer beside `acp.daemon`.
const DAEMONS: [(&str, &[&str]); 8] = [
    ("framework", &["acp.framework"]),
    ("cluster", &["acp.cluster"]),
    ("storage", &["acp.storage", "acp.jobs"]),
    ("network", &["acp.network"]),
    ("hypervisor", &["acp.hypervisor", "acp.jobs"]),
    ("hub", &["acp.hub"]),
    ("agent", &["acp.agent"]),
    ("api", &[]),
];
/// A message that no daemon takes.
const OVERSIZED_BYTES: usize = 2 << 20;

/// Runs `work` and verifies that it changed no spec and ended no daemon.
fn changing_nothing(world: &World, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let state = || -> Result<_> {
        // A network's DHCP server may still be replaced because of what earlier cases deleted.
        let mut units = world.units()?;
        units.retain(|unit| unit["meta"]["template"] != "dnsmasq");
        let processes: BTreeMap<String, String> =
            units.iter().map(|unit| (unit["name"].to_string(), unit["meta"]["pid"].to_string())).collect();
        Ok((world.specs()?, processes))
    };
    let before = state()?;
    work()?;
    let after = state()?;
    ensure!(before == after, "something changed: {before:?} {after:?}");
    Ok(())
}

/// The reply must be this error.
fn expect_error(reply: &Value, name: &str, says: &str) -> Result<()> {
    ensure!(reply["error"] == name, "the answer is {reply} and not {name}");
    ensure!(reply["parameters"].to_string().contains(says), "the answer does not name {says:?}: {reply}");
    Ok(())
}

pub(crate) fn unknown_keys(world: &World) -> Result<()> {
    let interfaces = acp_wire_api::all();
    changing_nothing(world, || {
        for (noun, own) in DAEMONS {
            let answered =
                interfaces.iter().filter(|interface| own.contains(&interface.name) || interface.name == "acp.daemon");
            for method in answered.flat_map(|interface| &interface.methods) {
                let mut conversation = Conversation::open(&world.node.socket(noun))?;
                let reply = conversation.call(method.name, json!({ "no_such_key": 1 }))?;
                expect_error(&reply, "acp.error.InvalidArgument", method.name)
                    .with_context(|| format!("{noun} {}", method.name))?;
            }
        }
        Ok(())
    })
}

pub(crate) fn wrong_types(world: &World) -> Result<()> {
    changing_nothing(world, || {
        for (noun, _own) in DAEMONS {
            let mut conversation = Conversation::open(&world.node.socket(noun))?;
            for parameters in [json!([]), json!("x"), json!(7)] {
                let reply = conversation.call("acp.daemon.GetHealth", parameters)?;
                expect_error(&reply, "acp.error.InvalidArgument", "GetHealth")?;
            }
            let reply = conversation.call("acp.daemon.SetLogLevel", json!({ "level": 5 }))?;
            expect_error(&reply, "acp.error.InvalidArgument", "level")?;
            let reply = conversation.call("acp.daemon.Fly", json!({ "height": 3 }))?;
            expect_error(&reply, "org.varlink.service.MethodNotFound", "acp.daemon.Fly")?;
            let reply = conversation.call("acp.nonsense.Fly", json!({}))?;
            expect_error(&reply, "org.varlink.service.InterfaceNotFound", "acp.nonsense")?;
            let reply = conversation.call("acp.daemon.GetHealth", json!({}))?;
            ensure!(reply["parameters"]["ready"] == true, "after all that, the same connection answers {reply}");
        }
        let mut cluster = Conversation::open(&world.node.socket("cluster"))?;
        let reply =
            cluster.call("acp.cluster.Create", json!({ "kind": "system", "name": "x", "spec": { "cpus": "many" } }))?;
        expect_error(&reply, "acp.error.InvalidArgument", "")?;
        let reply = cluster.call("acp.cluster.Get", json!({ "kind": "unicorn", "name": "x" }))?;
        expect_error(&reply, "acp.error.InvalidArgument", "kind")
    })
}

pub(crate) fn oversized_and_cut_off(world: &World) -> Result<()> {
    changing_nothing(world, || {
        for (noun, _own) in DAEMONS {
            let socket = world.node.socket(noun);
            let mut oversized = Conversation::open(&socket)?;
            let filler = "x".repeat(OVERSIZED_BYTES);
            oversized.send(&json!({ "method": "acp.daemon.SetLogLevel", "parameters": { "level": filler } }))?;
            if let Some(reply) = oversized.receive()? {
                ensure!(reply["error"].is_string(), "{noun} took a message of 2 MB: {reply}");
                ensure!(oversized.receive()?.is_none(), "{noun} reads on in the middle of a message");
            }
            let mut cut_off = Conversation::open(&socket)?;
            cut_off.send_raw(b"{\"method\":\"acp.daemon.SetLogLevel\",\"parameters\":{\"level\":\"off\"")?;
            cut_off.finish_sending()?;
            let answer = cut_off.receive()?;
            ensure!(
                answer.as_ref().is_none_or(|answer| answer["error"].is_string()),
                "{noun} acted on half a message: {answer:?}"
            );
            for nonsense in [b"\0".as_slice(), b"{}\0", b"[1,2]\0", b"\xff\xfe\0", b"{\"method\":7}\0"] {
                let mut conversation = Conversation::open(&socket)?;
                conversation.send_raw(nonsense)?;
                conversation.finish_sending()?;
                let answer = conversation.receive()?;
                ensure!(
                    answer.as_ref().is_none_or(|answer| answer["error"].is_string()),
                    "{noun} {nonsense:?}: {answer:?}"
                );
            }
            let reply = Conversation::open(&socket)?.call("acp.daemon.GetHealth", json!({}))?;
            ensure!(reply["parameters"]["ready"] == true, "{noun} does not answer any more: {reply}");
        }
        Ok(())
    })
}

pub(crate) fn names_and_sizes(world: &World) -> Result<()> {
    let refused: [(&str, &str, Value); 11] = [
        ("hypervisor", "acp.hypervisor.CreateSystem", json!({ "name": "../x", "image": "demo" })),
        ("hypervisor", "acp.hypervisor.CreateSystem", json!({ "name": "x", "image": "demo", "memory_bytes": -1 })),
        ("hypervisor", "acp.hypervisor.CreateSystem", json!({ "name": "x", "image": "demo", "cpus": -2 })),
        (
            "hypervisor",
            "acp.hypervisor.CreateSystem",
            json!({ "name": "x", "image": "demo", "memory_bytes": 1_000_001 }),
        ),
        ("hypervisor", "acp.hypervisor.StartSystem", json!({ "name": "a/b" })),
        (
            "storage",
            "acp.storage.CreateVolume",
            json!({ "pool": "default", "volume": "../../etc/x", "size_bytes": 512 }),
        ),
        ("storage", "acp.storage.CreateVolume", json!({ "pool": "default", "volume": "x", "size_bytes": -512 })),
        ("storage", "acp.storage.CreateVolume", json!({ "pool": "default", "volume": "x", "size_bytes": 513 })),
        ("storage", "acp.storage.DeleteImage", json!({ "name": ".." })),
        ("network", "acp.network.CreateNetwork", json!({ "name": "../x", "address": "10.1.0.1/24" })),
        ("network", "acp.network.CreateNetwork", json!({ "name": "x", "address": "10.1.0.1/99" })),
    ];
    changing_nothing(world, || {
        for (noun, method, parameters) in refused {
            let reply = Conversation::open(&world.node.socket(noun))?.call(method, parameters.clone())?;
            expect_error(&reply, "acp.error.InvalidArgument", "").with_context(|| format!("{method} {parameters}"))?;
        }
        Ok(())
    })
}
