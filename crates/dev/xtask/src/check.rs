//! The gate without tests (`check`) and its writing counterpart (`fix`).

use anyhow::{Result, bail};

use crate::{
    command::{cargo, run},
    deny, layers,
    metadata::Metadata,
    out, tidy,
};

/// One check and how it is run.
type Check = (&'static str, fn(&mut String) -> Result<()>);

/// In the order of their cost.
const CHECKS: [Check; 5] = [
    ("fmt", |_note| run(&mut cargo(&["fmt", "--all", "--check"]))),
    ("tidy", |note| {
        *note = tidy::check()?;
        Ok(())
    }),
    ("layers", |_note| layers::check(&Metadata::load()?)),
    ("deny", |note| {
        *note = deny::check(&Metadata::load()?)?;
        Ok(())
    }),
    ("clippy", |_note| {
        run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "--deny", "warnings"]))
    }),
];

/// Runs every check, also after one failed; answers the names of those that failed.
pub(crate) fn failed() -> Vec<&'static str> {
    let failed = CHECKS.iter().filter(|(name, check)| {
        let result = out::noisy_step(name, check);
        if let Err(error) = &result {
            out::line(format_args!("{error:#}"));
        }
        result.is_err()
    });
    failed.map(|(name, _)| *name).collect()
}

/// Runs every check and fails if any failed.
pub(crate) fn check() -> Result<()> {
    let failed = failed();
    if failed.is_empty() { Ok(()) } else { bail!("failed: {}", failed.join(", ")) }
}

/// Mends what machines can mend: format, simple lints, generated pages.
pub(crate) fn fix() -> Result<()> {
    out::noisy_step("clippy --fix", |_note| {
        run(&mut cargo(&["clippy", "--fix", "--allow-dirty", "--allow-staged", "--workspace", "--all-targets"]))
    })?;
    out::noisy_step("fmt", |_note| run(&mut cargo(&["fmt", "--all"])))?;
    out::noisy_step("generated files", |_note| {
        run(cargo(&["test", "--quiet", "--package", "acp-contract"]).env("ACP_BLESS", "1"))
    })
}
