//! What `cargo metadata` says of the workspace.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use crate::command::{cargo, output, workspace};

/// Every package of the dependency graph.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
    workspace_members: BTreeSet<String>,
    resolve: Resolve,
}

/// One package.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) source: Option<String>,
    pub(crate) license: Option<String>,
    pub(crate) dependencies: Vec<Dependency>,
    manifest_path: String,
}

/// A dependency as declared.
#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    pub(crate) kind: Option<String>,
    pub(crate) path: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Debug, Deserialize)]
struct Node {
    id: String,
}

impl Metadata {
    /// Asks cargo; the lock file is taken as it is.
    pub(crate) fn load() -> Result<Self> {
        let platform = "--filter-platform=x86_64-unknown-linux-gnu";
        let text = output(&mut cargo(&["metadata", "--format-version=1", "--locked", platform]))?;
        serde_json::from_str(&text).context("`cargo metadata` answers in an unknown form")
    }

    /// The packages of the workspace.
    pub(crate) fn own(&self) -> impl Iterator<Item = &Package> {
        self.packages.iter().filter(|package| self.workspace_members.contains(&package.id))
    }

    /// The packages of others that are built for this platform.
    pub(crate) fn foreign(&self) -> impl Iterator<Item = &Package> {
        let used: BTreeSet<&str> = self.resolve.nodes.iter().map(|node| node.id.as_str()).collect();
        self.packages
            .iter()
            .filter(move |package| used.contains(package.id.as_str()) && !self.workspace_members.contains(&package.id))
    }

    /// A package's folder, relative to the workspace.
    pub(crate) fn folder(&self, package: &Package) -> String {
        let root = workspace();
        let manifest = std::path::Path::new(&package.manifest_path);
        let folder = manifest.parent().unwrap_or(manifest);
        folder.strip_prefix(&root).unwrap_or(folder).display().to_string()
    }
}
