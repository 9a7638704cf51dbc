//! Every template, checked, and the names of units.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    str::FromStr,
    sync::Arc,
};

use acp_base::Failure;
use acp_core_supervise::start_order;
use acp_io_unit::capability::Capability;

use crate::{
    account::NOUNS,
    config::Config,
    template::{self, Template},
};

/// The name of the framework's own control group, which no unit may have.
pub(crate) const OWN_GROUP: &str = "framework";

/// The longest instance.
const INSTANCE_LEN_MAX: usize = 64;

/// The name of a unit: `<template>` or `<template>@<instance>`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct UnitName {
    pub(crate) template: String,
    pub(crate) instance: Option<String>,
}

impl UnitName {
    /// The name of an instance.
    pub(crate) fn of(template: &str, instance: &str) -> Result<Self, Failure> {
        let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if instance.is_empty()
            || instance.len() > INSTANCE_LEN_MAX
            || instance.starts_with('.')
            || !instance.chars().all(is_good)
        {
            return Err(Failure::invalid(format!(
                "{instance:?} is no instance: 1 to {INSTANCE_LEN_MAX} letters, digits, dots, underscores and dashes, not beginning with a dot"
            )));
        }
        Ok(Self { template: template.to_owned(), instance: Some(instance.to_owned()) })
    }
}

impl FromStr for UnitName {
    type Err = Failure;

    fn from_str(text: &str) -> Result<Self, Failure> {
        let (template, instance) = text.split_once('@').map_or((text, None), |(template, rest)| (template, Some(rest)));
        if let Err(error) = template.parse::<acp_base::Name>() {
            return Err(Failure::invalid(format!("{text:?} is no unit's name: {error}")));
        }
        match instance {
            Some(instance) => Self::of(template, instance),
            None => Ok(Self { template: template.to_owned(), instance: None }),
        }
    }
}

impl fmt::Display for UnitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.instance {
            Some(instance) => write!(f, "{}@{instance}", self.template),
            None => f.write_str(&self.template),
        }
    }
}

/// What of a template says that it needs another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Edges {
    /// What it cannot run without.
    Requires,
    /// Also what it starts after.
    All,
}

/// Every template in force.
#[derive(Clone, Debug)]
pub(crate) struct Catalog {
    templates: BTreeMap<String, Arc<Template>>,
    order: Vec<String>,
}

impl Catalog {
    /// The shipped templates with those of the configuration laid over them.
    pub(crate) fn new(config: &Config) -> Result<Self, String> {
        let mut templates = Config::shipped()?.template;
        templates.extend(config.template.clone());
        for (name, template) in &templates {
            check(name, template).map_err(|why| format!("template.{name}.{why}"))?;
        }
        let edges = templates.iter().map(|(name, template)| {
            let owners = template.owners.iter().filter(|owner| templates.contains_key(*owner));
            (name.clone(), template.requires.iter().chain(&template.after).chain(owners).cloned().collect())
        });
        let order = start_order(&edges.collect()).map_err(|error| error.to_string())?;
        for (name, template) in &templates {
            for (field, units) in [("requires", &template.requires), ("after", &template.after)] {
                let is_boot = |needed: &&String| templates.get(*needed).is_some_and(|needed| needed.boot);
                if let Some(needed) = units.iter().find(|needed| !is_boot(needed)) {
                    return Err(format!("template.{name}.{field}: {needed} is not started with the framework"));
                }
            }
            // Whether it is started here does not matter: what is not, is gone before everything.
            if let Some(other) = template.stops_before.iter().find(|other| !templates.contains_key(*other)) {
                return Err(format!("template.{name}.stops_before: there is no template {other}"));
            }
        }
        let templates = templates.into_iter().map(|(name, template)| (name, Arc::new(template))).collect();
        let catalog = Self { templates, order };
        let names = || catalog.templates.keys();
        let stops = names()
            .map(|name| (name.clone(), names().filter(|other| catalog.stops_before(name, other)).cloned().collect()));
        start_order(&stops.collect()).map_err(|error| format!("stops_before leaves no unit to stop first: {error}"))?;
        Ok(catalog)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Arc<Template>> {
        self.templates.get(name)
    }

    /// The place of a template in the start order.
    pub(crate) fn position(&self, template: &str) -> usize {
        self.order.iter().position(|name| name == template).unwrap_or(self.order.len())
    }

    /// The templates of the units that are started with the framework, in start order.
    pub(crate) fn boot(&self) -> impl Iterator<Item = (&str, &Arc<Template>)> {
        let all =
            self.order.iter().filter_map(|name| self.templates.get(name).map(|template| (name.as_str(), template)));
        all.filter(|(_, template)| template.boot)
    }

    /// A template with everything that it needs, and what that needs.
    pub(crate) fn needs<'a>(&'a self, name: &'a str, edges: Edges) -> BTreeSet<&'a str> {
        let (mut all, mut next) = (BTreeSet::new(), vec![name]);
        while let Some(name) = next.pop() {
            if let Some(template) = self.get(name).filter(|_template| all.insert(name)) {
                let after = template.after.iter().filter(|_name| edges == Edges::All);
                next.extend(template.requires.iter().chain(after).map(String::as_str));
            }
        }
        all
    }

    /// Whether units of `first` have to be gone before units of `second` are stopped, when everything stops: what requires
    /// `second` goes first; owners go before what they own, or they would mend what is being stopped; and what they own goes
    /// before what the owners require, or a guest would lose its disks while it runs. What a template says of it goes first.
    pub(crate) fn stops_before(&self, first: &str, second: &str) -> bool {
        let (Some(first_template), Some(second_template)) = (self.get(first), self.get(second)) else { return false };
        let says = |template: &Template, other: &str| template.stops_before.iter().any(|name| name == other);
        if says(first_template, second) || says(second_template, first) {
            return says(first_template, second);
        }
        let requires =
            |template: &Template| template.requires.iter().chain(&template.after).any(|needed| needed == second);
        let owners = first_template.owners.iter().filter_map(|owner| self.get(owner));
        requires(first_template)
            || second_template.owners.iter().any(|owner| owner == first)
            || owners.into_iter().any(|owner| requires(owner))
    }
}

/// Weights that the kernel takes.
const CPU_WEIGHTS: std::ops::RangeInclusive<u32> = 1..=10_000;

fn check(name: &str, template: &Template) -> Result<(), String> {
    if name.parse::<acp_base::Name>().is_err() || name == OWN_GROUP {
        return Err("the template's name cannot be one of a unit".to_owned());
    }
    let account = |field: &str, text: &str, also: &[&str]| {
        let nouns = NOUNS.map(|(noun, _number)| noun);
        let is_known = nouns.contains(&text) || also.contains(&text);
        if is_known {
            Ok(())
        } else {
            Err(format!("{field}: {text:?} is none of {}, {}", nouns.join(", "), also.join(", ")))
        }
    };
    account("user", &template.user, &["system", "root"])?;
    if template.user == "system" && template.boot {
        return Err("user: a unit without instances has no system".to_owned());
    }
    template.groups.iter().try_for_each(|group| account("groups", group, &["acp"]))?;
    for capability in &template.capabilities {
        capability.parse::<Capability>().map_err(|error| format!("capabilities: {error}"))?;
    }
    for socket in &template.sockets {
        account("sockets.owner", &socket.owner, &["root", "self"])?;
        account("sockets.group", &socket.group, &["root", "self", "acp"])?;
        template::mode(&socket.mode).map_err(|why| format!("sockets.mode: {why}"))?;
    }
    for directory in &template.directories {
        account("directories.owner", &directory.owner, &["root", "self"])?;
        template::mode(&directory.mode).map_err(|why| format!("directories.mode: {why}"))?;
    }
    let names: Vec<&String> =
        template.sockets.iter().map(|socket| &socket.name).chain(template.logs.iter().map(|log| &log.name)).collect();
    if names.iter().collect::<BTreeSet<_>>().len() < names.len() {
        return Err("sockets, logs: two have the same name".to_owned());
    }
    if template.watchdog_s == Some(0) || template.start_timeout_s == 0 || template.stop_timeout_s == 0 {
        return Err("watchdog_s, start_timeout_s, stop_timeout_s: zero seconds are no time".to_owned());
    }
    if template.limits.cpu_weight.is_some_and(|weight| !CPU_WEIGHTS.contains(&weight)) {
        return Err(format!("limits.cpu_weight: it is not within {CPU_WEIGHTS:?}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog(text: &str) -> Result<Catalog, String> {
        let config: Config = toml::from_str(text).map_err(|error| error.to_string())?;
        Catalog::new(&config)
    }

    #[test]
    fn names_of_units_are_read_and_written() {
        for text in ["network", "vmm@0123abcd", "storage-worker@fast.1"] {
            assert_eq!(text.parse::<UnitName>().expect(text).to_string(), text);
        }
        for text in ["", "@x", "vmm@", "vmm@../x", "vmm@a/b", "a b", "../x", "vmm@.x"] {
            assert!(text.parse::<UnitName>().is_err(), "{text}");
        }
    }

    #[test]
    fn the_shipped_templates_have_an_order() {
        let catalog = catalog("").expect("they are good");
        let boot: Vec<&str> = catalog.boot().map(|(name, _)| name).collect();
        assert_eq!(boot, ["hub", "cluster", "agent", "api", "network", "storage", "hypervisor"]);
        assert!(catalog.position("qemu") > catalog.position("hypervisor"));
    }

    #[test]
    fn everything_stops_in_an_order_that_hurts_nobody() {
        let catalog = catalog("").expect("they are good");
        let pairs = [
            ("hypervisor", "qemu"),
            ("hypervisor", "vmm"),
            ("qemu", "storage"),
            ("qemu", "network"),
            ("vmm", "cluster"),
            ("storage", "storage-worker"),
            ("network", "dnsmasq"),
            ("storage-worker", "cluster"),
            ("storage", "cluster"),
            ("cluster", "hub"),
            ("cluster", "agent"),
            // A leader hands over to another node's hub, and the agent has the way there.
            ("hub", "agent"),
            ("api", "agent"),
        ];
        for (first, second) in pairs {
            assert!(catalog.stops_before(first, second), "{first} before {second}");
            assert!(!catalog.stops_before(second, first), "not {second} before {first}");
        }
        assert!(!catalog.stops_before("qemu", "vmm"));
    }

    #[test]
    fn bad_templates_are_refused_by_name() {
        let refused = |text: &str| catalog(text).map(drop).expect_err("it is bad");
        let user = refused("[template.x]\nprogram = \"x\"\nuser = \"nobody\"");
        assert!(user.starts_with("template.x.user: \"nobody\" is none of "), "{user}");
        let cycle = refused(
            "[template.a]\nboot = true\nprogram = \"a\"\nuser = \"root\"\nrequires = [\"b\"]\n[template.b]\nboot = true\nprogram = \"b\"\nuser = \"root\"\nrequires = [\"a\"]",
        );
        assert_eq!(cycle, "units require each other: a -> b -> a");
        let capability = refused("[template.x]\nprogram = \"x\"\nuser = \"root\"\ncapabilities = [\"CAP_FLY\"]");
        assert!(capability.starts_with("template.x.capabilities: "), "{capability}");
        let mode = refused(
            "[template.x]\nprogram = \"x\"\nuser = \"root\"\ndirectories = [{ path = \"/x\", mode = \"rwx\" }]",
        );
        assert!(mode.starts_with("template.x.directories.mode: "), "{mode}");
        let circle = refused(
            "[template.a]\nboot = true\nprogram = \"a\"\nuser = \"root\"\nstops_before = [\"b\"]\n[template.b]\nboot = true\nprogram = \"b\"\nuser = \"root\"\nstops_before = [\"a\"]",
        );
        assert!(circle.starts_with("stops_before leaves no unit to stop first: "), "{circle}");
        let nobody = refused("[template.x]\nprogram = \"x\"\nuser = \"root\"\nstops_before = [\"y\"]");
        assert_eq!(nobody, "template.x.stops_before: there is no template y");
        assert!(
            catalog(
                "[template.agent]\nprogram = \"x\"\nuser = \"agent\"\n[template.api]\nprogram = \"x\"\nuser = \"api\""
            )
            .is_ok(),
            "a node without an agent"
        );
        let unknown = refused("[template.x]\nprogram = \"x\"\nuser = \"root\"\nfly = true");
        assert!(unknown.contains("unknown field `fly`"), "{unknown}");
    }

    #[test]
    fn any_configuration_is_taken_or_refused_by_name() {
        acp_dev_fuzz::check(env!("CARGO_MANIFEST_DIR"), "config", |bytes| {
            let Ok(config) = toml::from_str::<Config>(&String::from_utf8_lossy(bytes)) else { return };
            if let Err(why) = config.check() {
                assert!(why.contains(": "), "{why} names no key");
            }
            match Catalog::new(&config) {
                Ok(catalog) => assert!(catalog.boot().all(|(name, _)| catalog.get(name).is_some())),
                Err(why) => assert!(!why.is_empty()),
            }
        });
    }
}
