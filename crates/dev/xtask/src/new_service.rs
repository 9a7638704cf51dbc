//! `new-service`: the folder of a daemon with the anatomy that every service has, ready to compile.

use std::fs;

use anyhow::{Context as _, Result, bail, ensure};

use crate::{command::workspace, out};

/// The files, with `@noun@`, `@Noun@` where the service's own noun belongs.
const TEMPLATE: [(&str, &str); 7] = [
    ("Cargo.toml", include_str!("../templates/service/Cargo.toml.in")),
    ("README.md", include_str!("../templates/service/README.md.in")),
    ("src/main.rs", include_str!("../templates/service/main.rs.in")),
    ("src/lib.rs", include_str!("../templates/service/lib.rs.in")),
    ("src/config.rs", include_str!("../templates/service/config.rs.in")),
    ("src/service.rs", include_str!("../templates/service/service.rs.in")),
    ("tests/it/main.rs", include_str!("../templates/service/it.rs.in")),
];

/// The longest noun: sockets and users are named after it.
const NOUN_BYTES_MAX: usize = 16;

/// Makes `services/<noun>`.
pub(crate) fn make(noun: &str) -> Result<()> {
    let good = !noun.is_empty() && noun.len() <= NOUN_BYTES_MAX && noun.bytes().all(|byte| byte.is_ascii_lowercase());
    ensure!(good, "{noun:?} is no noun for a service: use 1 to {NOUN_BYTES_MAX} small letters");
    let folder = workspace().join("services").join(noun);
    if folder.exists() {
        bail!("{} is there already", folder.display());
    }
    for (path, template) in TEMPLATE {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().expect("a file lies in a folder"))?;
        fs::write(&path, fill(template, noun)).with_context(|| format!("cannot write {}", path.display()))?;
    }
    out::line(format_args!(
        "services/{noun} is there and compiles; docs/checklists/new-service.md says what comes next"
    ));
    Ok(())
}

fn fill(template: &str, noun: &str) -> String {
    let (first, rest) = noun.split_at(1);
    template.replace("@noun@", noun).replace("@Noun@", &(first.to_ascii_uppercase() + rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_template_is_left_open() {
        for (path, template) in TEMPLATE {
            let filled = fill(template, "mirror");
            assert!(!filled.contains('@') && filled.ends_with('\n'), "{path}:\n{filled}");
        }
    }

    #[test]
    fn a_noun_is_small_letters() {
        for bad in ["", "Mirror", "a-b", "../x", "mirrormirrormirror"] {
            assert!(make(bad).is_err(), "{bad}");
        }
    }
}
