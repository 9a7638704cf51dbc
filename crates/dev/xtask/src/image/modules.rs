//! Kernel modules: which others each needs, and the order in which they load.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

/// A module as it lies in the package.
pub(super) struct Module {
    pub(super) name: String,
    pub(super) bytes: Vec<u8>,
}

/// The wanted modules and all they need, each after what it needs.
pub(super) fn in_load_order(root: &Path, wanted: &[&str]) -> Result<Vec<Module>> {
    let mut files = BTreeMap::new();
    collect(root, &mut files)?;
    let mut order = Vec::new();
    for name in wanted {
        add(&normalised(name), &files, &mut order)?;
    }
    Ok(order)
}

/// The kernel takes dash and underscore in module names for the same.
fn normalised(name: &str) -> String {
    name.replace('-', "_")
}

fn collect(dir: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if let Some(name) = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".ko")) {
            files.insert(normalised(name), path.clone());
        }
    }
    Ok(())
}

fn add(name: &str, files: &BTreeMap<String, PathBuf>, order: &mut Vec<Module>) -> Result<()> {
    if order.iter().any(|module| module.name == name) {
        return Ok(());
    }
    let path = files.get(name).with_context(|| format!("the kernel package has no module {name}"))?;
    let bytes = fs::read(path)?;
    for needed in dependencies(&bytes) {
        add(&needed, files, order)?;
    }
    order.push(Module { name: name.to_owned(), bytes });
    Ok(())
}

/// The names after `depends=` in the module's information section.
fn dependencies(module: &[u8]) -> Vec<String> {
    const KEY: &[u8] = b"\0depends=";
    let Some(start) = module.windows(KEY.len()).position(|window| window == KEY).map(|at| at + KEY.len()) else {
        return Vec::new();
    };
    let text: Vec<u8> = module[start..].iter().copied().take_while(|byte| *byte != 0).collect();
    let text = String::from_utf8_lossy(&text).into_owned();
    text.split(',').filter(|name| !name.is_empty()).map(normalised).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_read_from_the_module() {
        assert_eq!(
            dependencies(b"\x7fELF..\0depends=virtio_ring,net-failover\0name=x\0"),
            ["virtio_ring", "net_failover"]
        );
        assert_eq!(dependencies(b"\x7fELF..\0depends=\0name=x\0"), Vec::<String>::new());
    }

    #[test]
    fn what_is_needed_comes_first_and_once() {
        let dir = std::env::temp_dir().join(format!("acp-modules-{}", std::process::id()));
        fs::create_dir_all(&dir).expect("a directory");
        for (name, needs) in [("a", "b,c"), ("b", "c"), ("c", "")] {
            fs::write(dir.join(format!("{name}.ko")), format!("\0depends={needs}\0")).expect("a file");
        }
        let names: Vec<_> = in_load_order(&dir, &["a", "c"]).expect("an order").into_iter().map(|m| m.name).collect();
        fs::remove_dir_all(&dir).expect("cleaned up");
        assert_eq!(names, ["c", "b", "a"]);
    }
}
