//! What operators note of members, and whom filters find by it.

use std::collections::BTreeSet;

use acp_core_membership::{Command, Filter, FilterError, Outcome, Rejection, State, limits};
use acp_wire_api::{
    cluster::SelectorOp,
    hub::{MetaCondition, MetaValue, Metadata, NodeFilter, NodePresence, Verdict},
};

use crate::model::{HOUR, NOW, cluster, done, join, name, node, refused, token, uid};

pub(crate) fn set(number: u128, values: &[(&str, MetaValue)], unset: &[&str]) -> Command {
    let set = Metadata(values.iter().map(|(key, value)| (name(key), value.clone())).collect());
    Command::SetMetadata { node: uid(number), set, unset: unset.iter().map(|key| name(key)).collect() }
}

fn text(text: &str) -> MetaValue {
    MetaValue::Text(text.to_owned())
}

/// What is noted of the member of this id.
fn noted(state: &State, number: u128) -> String {
    let directory = state.directory().expect("a cluster");
    let member = directory.nodes.into_iter().find(|member| member.uid == uid(number));
    member.expect("a member").metadata.to_string()
}

#[test]
fn values_are_noted_and_forgotten_and_the_directory_tells_them() {
    let mut state = cluster();
    done(&mut state, join("t", node(2)));
    let revision = state.revision();
    let command =
        set(2, &[("zone", text("a")), ("rack", MetaValue::Number(12)), ("ssd", MetaValue::Flag(true))], &["gone"]);
    assert_eq!(done(&mut state, command.clone()), Outcome::Changed);
    assert_eq!((noted(&state, 2).as_str(), noted(&state, 1).as_str()), ("rack=12 ssd=true zone=a", ""));
    assert_eq!(done(&mut state, command), Outcome::Unchanged);
    assert_eq!(state.revision(), revision + 1, "once for all values");
    done(&mut state, set(2, &[("zone", text("12")), ("disks", MetaValue::Number(2))], &["rack"]));
    assert_eq!(noted(&state, 2), "disks=2 ssd=true zone=\"12\"");
    assert_eq!(done(&mut state, set(2, &[], &["rack"])), Outcome::Unchanged, "it is forgotten already");
    assert_eq!(refused(&mut state, set(7, &[], &[])), Rejection::NoMemberOfId { uid: uid(7) });
}

#[test]
fn what_is_noted_stays_with_the_member_until_it_goes() {
    let mut state = cluster();
    done(&mut state, join("t", node(2)));
    done(&mut state, set(2, &[("zone", text("a"))], &[]));
    done(&mut state, Command::Rename { node: uid(2), to: name("west") });
    done(&mut state, Command::Park { node: uid(2) });
    assert_eq!(noted(&state, 2), "zone=a");
    done(&mut state, Command::Unpark { node: uid(2) });
    let again = acp_core_membership::NewNode { name: name("west"), ..node(2) };
    done(&mut state, Command::Rejoin { token: crate::model::digest("t"), node: again });
    assert_eq!(noted(&state, 2), "zone=a", "it has lost its place and taken it again");
    done(&mut state, Command::Remove { name: name("west") });
    done(&mut state, Command::Rejoin { token: crate::model::digest("t"), node: node(2) });
    assert_eq!(noted(&state, 2), "", "it was removed");
}

#[test]
fn values_are_bounded_and_refused_precisely() {
    let mut state = cluster();
    let long = "x".repeat(limits::METADATA_TEXT_MAX + 1);
    assert_eq!(
        refused(&mut state, set(1, &[("a", text("x")), ("note", text(&long))], &[])),
        Rejection::MetadataLong { key: name("note"), bytes: 257 }
    );
    let control = refused(&mut state, set(1, &[("note", text("a\u{1b}[2J"))], &[]));
    assert_eq!(control, Rejection::MetadataControl { key: name("note") });
    let both = refused(&mut state, set(1, &[("a", text("x"))], &["b", "a"]));
    assert_eq!(both, Rejection::MetadataBoth { key: name("a") });
    let numbered = |numbers: std::ops::RangeInclusive<usize>| {
        let keys: Vec<String> = numbers.map(|number| format!("k{number}")).collect();
        let values: Vec<(&str, MetaValue)> = keys.iter().map(|key| (key.as_str(), MetaValue::Flag(false))).collect();
        set(1, &values, &[])
    };
    done(&mut state, numbered(1..=limits::METADATA_MAX));
    let many = refused(&mut state, numbered(33..=33));
    assert_eq!(many, Rejection::MetadataMany { node: name("n1"), given: 33 });
    assert!(many.to_string().contains("33") && many.to_string().contains("32"), "{many}");
    done(&mut state, numbered(32..=32));
    done(&mut state, set(1, &[("other", MetaValue::Number(1))], &["k1"]));
}

#[test]
fn all_nodes_together_are_bounded_so_that_the_directory_can_be_sent() {
    let mut state = cluster();
    done(&mut state, token("many", HOUR, limits::TOKEN_USES_MAX));
    for number in 2..=u16::try_from(limits::MEMBERS_MAX).expect("a small number") {
        state.apply(join("many", node(number)), NOW).expect("there is room");
    }
    let keys: Vec<String> = (0..limits::METADATA_MAX).map(|number| format!("{number:0>32}")).collect();
    let longest = text(&"\"".repeat(limits::METADATA_TEXT_MAX));
    let values: Vec<(&str, MetaValue)> = keys.iter().map(|key| (key.as_str(), longest.clone())).collect();
    let fitting = limits::METADATA_BYTES_MAX / (limits::METADATA_MAX * (32 + limits::METADATA_TEXT_MAX));
    for number in 1..=fitting {
        done(&mut state, set(u128::try_from(number).expect("small"), &values, &[]));
    }
    let one_more = set(1_000, &values, &[]);
    let bytes = (fitting + 1) * limits::METADATA_MAX * (32 + limits::METADATA_TEXT_MAX);
    assert_eq!(refused(&mut state, one_more.clone()), Rejection::MetadataFull { bytes });
    let written = serde_json::to_string(&state.directory().expect("a cluster")).expect("JSON");
    assert!(written.len() < 1024 * 1024, "{} bytes are more than a directory is made for", written.len());
    done(&mut state, Command::Remove { name: name("n2") });
    done(&mut state, one_more);
}

#[test]
fn a_state_with_more_than_there_can_be_is_seen() {
    let mut state = cluster();
    done(&mut state, set(1, &[("zone", text("a"))], &[]));
    let mut value = serde_json::to_value(&state).expect("JSON");
    value["members"][uid(1).to_string()]["metadata"]["zone"] = "x".repeat(257).into();
    let damaged: State = serde_json::from_value(value).expect("it has the right shape");
    assert_eq!(damaged.verify().expect_err("damaged").to_string(), "a list is longer than it can be");
}

#[test]
fn a_state_of_before_has_no_metadata_and_is_written_as_before() {
    let state = cluster();
    let written = serde_json::to_value(&state).expect("JSON");
    assert_eq!(written["members"][uid(1).to_string()].get("metadata"), None);
    let directory = serde_json::to_value(state.directory()).expect("JSON");
    assert_eq!(directory["nodes"][0].get("metadata"), None, "nodes of before are not told of it");
    assert_eq!(serde_json::from_value::<State>(written).expect("it reads"), state);
}

/// Members n1 (controller, online), n2 (online) and n3 (parked), with what is noted of them.
fn three() -> (State, Vec<NodePresence>) {
    let mut state = cluster();
    done(&mut state, join("t", node(2)));
    done(&mut state, join("t", node(3)));
    done(&mut state, Command::Park { node: uid(3) });
    done(&mut state, set(2, &[("zone", text("a")), ("rack", MetaValue::Number(1))], &[]));
    done(&mut state, set(3, &[("zone", text("b")), ("rack", text("1"))], &[]));
    let role = |units, nodes: &[&str]| Command::SetRole {
        name: name("edge"),
        units: Some(units),
        nodes: Some(nodes.iter().map(|node| name(node)).collect()),
    };
    done(&mut state, role(vec![name("relay"), name("api")], &["n2", "n3"]));
    let directory = state.directory().expect("a cluster");
    let seen = directory.nodes.into_iter().map(|node| {
        let online = node.uid != uid(3);
        NodePresence { node, online, verdict: Verdict::default(), judged: None, for_ms: None }
    });
    let seen = seen.collect();
    (state, seen)
}

fn is(key: &str, op: SelectorOp, value: MetaValue) -> MetaCondition {
    MetaCondition { name: name(key), op, value }
}

#[test]
fn filters_find_the_nodes_for_which_everything_holds() {
    let (state, seen) = three();
    let directory = state.directory().expect("a cluster");
    let found = |filter: NodeFilter| -> String {
        let filter = Filter::new(filter, &directory).expect("it makes sense");
        let found = seen.iter().filter(|node| filter.holds(node, &directory));
        found.map(|node| node.node.name.as_str()).collect::<Vec<_>>().join(" ")
    };
    let all = NodeFilter::default;
    let noted = |conditions: &[MetaCondition]| NodeFilter { metadata: conditions.to_vec(), ..all() };
    let rack = |value| is("rack", SelectorOp::Eq, value);
    for (filter, expected) in [
        (all(), "n1 n2 n3"),
        (NodeFilter { online: Some(true), ..all() }, "n1 n2"),
        (NodeFilter { online: Some(false), ..all() }, "n3"),
        (NodeFilter { controller: Some(true), ..all() }, "n1"),
        (NodeFilter { controller: Some(false), ..all() }, "n2 n3"),
        (NodeFilter { parked: Some(true), ..all() }, "n3"),
        (NodeFilter { parked: Some(false), ..all() }, "n1 n2"),
        (NodeFilter { role: Some(name("edge")), ..all() }, "n2 n3"),
        (NodeFilter { role: Some(name("controller")), ..all() }, "n1"),
        (NodeFilter { service: Some(name("relay")), ..all() }, "n2 n3"),
        (NodeFilter { service: Some(name("hypervisor")), ..all() }, "n1 n2 n3"),
        (NodeFilter { service: Some(name("hub")), ..all() }, "n1 n2 n3"),
        (noted(&[is("zone", SelectorOp::Eq, text("a"))]), "n2"),
        (noted(&[is("zone", SelectorOp::Ne, text("a"))]), "n1 n3"),
        (noted(&[rack(MetaValue::Number(1))]), "n2"),
        (noted(&[rack(text("1"))]), "n3"),
        (noted(&[rack(text("1")), is("zone", SelectorOp::Eq, text("a"))]), ""),
        (NodeFilter { online: Some(true), role: Some(name("edge")), ..noted(&[rack(MetaValue::Number(1))]) }, "n2"),
    ] {
        assert_eq!(found(filter.clone()), expected, "{filter:?}");
    }
}

#[test]
fn a_filter_that_makes_no_sense_is_refused_precisely() {
    let (state, _seen) = three();
    let directory = state.directory().expect("a cluster");
    let refused = |filter| Filter::new(filter, &directory).expect_err("it makes no sense");
    let all = NodeFilter::default;
    let role = refused(NodeFilter { role: Some(name("edgy")), ..all() });
    assert_eq!(role, FilterError::NoRole { role: name("edgy") });
    let service = refused(NodeFilter { service: Some(name("ape")), ..all() });
    assert_eq!(service, FilterError::NoService { service: name("ape") });
    let condition = is("zone", SelectorOp::Eq, text("a"));
    let many = refused(NodeFilter { metadata: vec![condition; limits::CONDITIONS_MAX + 1], ..all() });
    assert_eq!(many, FilterError::ConditionsMany { given: 17 });
    let long = is("zone", SelectorOp::Ne, text(&"x".repeat(300)));
    assert_eq!(
        refused(NodeFilter { metadata: vec![long], ..all() }),
        FilterError::Long { key: name("zone"), bytes: 300 }
    );
    let codes: BTreeSet<&str> = [role, service, many].iter().map(|error| error.code().name()).collect();
    assert_eq!(codes, BTreeSet::from(["InvalidArgument", "NotFound"]));
}
