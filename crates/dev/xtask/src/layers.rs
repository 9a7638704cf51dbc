//! The direction in which crates may depend on each other.
//!
//! `base` <- `wire` <- `core`, `wire` <- `io` <- `client`; services use all five and never each other; `dev` is used by tests
//! alone.

use std::fmt::Write as _;

use anyhow::{Result, bail};

use crate::metadata::{Metadata, Package};

/// A folder of the workspace and what may be used from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layer {
    Base,
    Wire,
    Core,
    Io,
    Client,
    Dev,
    Service,
    Test,
}

impl Layer {
    fn of(path: &str) -> Option<Self> {
        let mut parts = path.split('/');
        match (parts.next(), parts.next()) {
            (Some("crates"), Some("base")) => Some(Self::Base),
            (Some("crates"), Some("wire")) => Some(Self::Wire),
            (Some("crates"), Some("core")) => Some(Self::Core),
            (Some("crates"), Some("io")) => Some(Self::Io),
            (Some("crates"), Some("client")) => Some(Self::Client),
            (Some("crates"), Some("dev")) => Some(Self::Dev),
            (Some("services"), Some(_)) => Some(Self::Service),
            (Some("tests"), Some(_)) => Some(Self::Test),
            _ => None,
        }
    }

    /// Whether a crate of this layer may use one of `other`. Crates of wire, core, io and dev may use their neighbours.
    const fn may_use(self, other: Self) -> bool {
        match self {
            Self::Base => false,
            Self::Wire => matches!(other, Self::Base | Self::Wire),
            Self::Core => matches!(other, Self::Base | Self::Wire | Self::Core),
            Self::Io => matches!(other, Self::Base | Self::Wire | Self::Io),
            Self::Client => matches!(other, Self::Base | Self::Wire | Self::Io),
            Self::Service => matches!(other, Self::Base | Self::Wire | Self::Core | Self::Io | Self::Client),
            Self::Dev | Self::Test => !matches!(other, Self::Service | Self::Test),
        }
    }
}

/// Fails with every dependency that goes the wrong way and every package whose name is not its path.
pub(crate) fn check(metadata: &Metadata) -> Result<()> {
    let mut wrong = String::new();
    for package in metadata.own() {
        let path = metadata.folder(package);
        let Some(layer) = Layer::of(&path) else {
            writeln!(wrong, "{path} lies in no layer")?;
            continue;
        };
        if package.name != expected_name(&path) {
            writeln!(wrong, "{path} is called {} and ought to be called {}", package.name, expected_name(&path))?;
        }
        for used in dependencies(metadata, package) {
            let target = metadata.folder(used.package);
            let allowed = Layer::of(&target)
                .is_some_and(|other| layer.may_use(other) || (used.for_tests && matches!(other, Layer::Dev)));
            if !allowed {
                writeln!(wrong, "{path} must not use {target}")?;
            }
        }
    }
    if wrong.is_empty() { Ok(()) } else { bail!("dependencies against the layers:\n{wrong}") }
}

struct Used<'a> {
    package: &'a Package,
    for_tests: bool,
}

fn dependencies<'a>(metadata: &'a Metadata, package: &'a Package) -> impl Iterator<Item = Used<'a>> {
    package.dependencies.iter().filter(|dependency| dependency.path.is_some()).filter_map(|dependency| {
        let used = metadata.own().find(|candidate| candidate.name == dependency.name)?;
        Some(Used { package: used, for_tests: dependency.kind.as_deref() == Some("dev") })
    })
}

/// `crates/core/cdb` is `acp-core-cdb`, `services/network` is `acp-network`; a command of its own keeps its own name.
fn expected_name(path: &str) -> String {
    match path {
        "crates/dev/xtask" => "xtask".to_owned(),
        "services/acpctl" => "acpctl".to_owned(),
        _ => {
            let short =
                ["crates/", "services/", "tests/"].iter().find_map(|prefix| path.strip_prefix(prefix)).unwrap_or(path);
            format!("acp-{}", short.replace('/', "-"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn core_and_io_never_see_each_other() {
        assert!(!Layer::Core.may_use(Layer::Io) && !Layer::Io.may_use(Layer::Core));
        assert!(!Layer::Service.may_use(Layer::Service) && !Layer::Service.may_use(Layer::Dev));
        assert!(Layer::Service.may_use(Layer::Core) && Layer::Core.may_use(Layer::Wire));
        assert!(Layer::Service.may_use(Layer::Client) && Layer::Client.may_use(Layer::Io));
        assert!(!Layer::Io.may_use(Layer::Client) && !Layer::Client.may_use(Layer::Core));
        assert!(!Layer::Wire.may_use(Layer::Core) && !Layer::Base.may_use(Layer::Wire));
    }

    #[test]
    fn names_follow_from_paths() {
        assert_eq!(expected_name("crates/core/cdb"), "acp-core-cdb");
        assert_eq!(expected_name("crates/client"), "acp-client");
        assert_eq!(expected_name("services/network"), "acp-network");
        assert_eq!(expected_name("services/acpctl"), "acpctl");
        assert_eq!(expected_name("tests/e2e"), "acp-e2e");
    }
}
