//! House rules that no compiler knows: each is a function over the files of the workspace that answers what breaks it.

mod code;
mod docs;
mod files;
mod services;

use anyhow::{Result, bail};

pub(crate) use self::files::File;
use crate::{command::workspace, mutants};

/// How many findings are printed; whoever mends them runs it again.
const FINDINGS_MAX: usize = 60;

/// Checks every rule; answers a line of statistics.
pub(crate) fn check() -> Result<String> {
    let files = files::read(&workspace())?;
    let mut findings = Vec::new();
    findings.extend(code::check(&files));
    findings.extend(files::check(&files, &workspace()));
    findings.extend(docs::check(&files));
    findings.extend(services::check(&files));
    findings.extend(mutants::findings()?);
    if !findings.is_empty() {
        findings.sort();
        let more = findings.len().saturating_sub(FINDINGS_MAX);
        findings.truncate(FINDINGS_MAX);
        let tail = if more == 0 { String::new() } else { format!("\nand {more} more") };
        bail!("not tidy:\n{}{tail}", findings.join("\n"));
    }
    Ok(code::statistics(&files))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_workspace_is_tidy() {
        super::check().expect("every house rule holds");
    }
}
