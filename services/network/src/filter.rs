//! ACP's nftables table.

use std::time::Duration;

use acp_base::Failure;
use acp_core_netplan::{TABLE_FAMILY, TABLE_NAME, TableContent};
use acp_io_failpoint::point;
use acp_io_process::Command;
use serde_json::Value;

use crate::metrics;

/// How long nft may take: it works in milliseconds, but may wait for another nft's transaction.
const NFT_TIME_MAX: Duration = Duration::from_secs(5);

/// How often the table is set in a row while somebody else changes it at the same moment.
const ATTEMPTS_MAX: u32 = 3;

/// Keeps the table what it should be.
#[derive(Debug)]
pub(crate) struct Filter {
    nft: String,
    /// The document that the table was last found to follow.
    set: Option<Value>,
    /// How this version of nft writes what that document says, where it uses other words than ours.
    wording: Option<TableContent>,
}

impl Filter {
    pub(crate) fn new(nft: String) -> Self {
        Self { nft, set: None, wording: None }
    }

    /// Makes the table what `document` says, in one transaction, if it is not. `is_checked`: looks even if the document is
    /// that of last time.
    pub(crate) async fn ensure(&mut self, document: Value, is_checked: bool) -> Result<(), Failure> {
        let is_known = self.set.as_ref() == Some(&document);
        if is_known && !is_checked {
            return Ok(());
        }
        if !is_known {
            self.wording = None;
        }
        self.set = None;
        let wanted = TableContent::of_document(&document);
        let mut found = self.content().await?;
        for _attempt in 0..ATTEMPTS_MAX {
            if found == wanted || self.wording.as_ref() == Some(&found) {
                self.set = Some(document);
                return Ok(());
            }
            self.replace(&document).await?;
            found = self.content().await?;
            self.wording = found.has_shape_of(&wanted).then(|| found.clone());
        }
        Err(Failure::unavailable(format!(
            "somebody else keeps changing the nftables table {TABLE_FAMILY} {TABLE_NAME}, which is ACP's"
        )))
    }

    async fn replace(&self, document: &Value) -> Result<(), Failure> {
        self.command().args(["-j", "-f", "-"]).stdin(document.to_string()).run_ok().await?;
        point("network.filter.replaced")?;
        tracing::info!(family = TABLE_FAMILY, table = TABLE_NAME, "nftables table set");
        metrics::filter_replaced();
        Ok(())
    }

    /// What the kernel says the table holds; nothing if there is none.
    async fn content(&self) -> Result<TableContent, Failure> {
        let output = self.command().args(["-j", "list", "table", TABLE_FAMILY, TABLE_NAME]).run().await?;
        if !output.status.success() && output.stderr.contains("No such file or directory") {
            return Ok(TableContent::default());
        }
        let output = output.success()?;
        let listing = serde_json::from_slice(&output.stdout);
        let listing = listing.map_err(|error| Failure::internal(format!("cannot read what nft lists: {error}")))?;
        Ok(TableContent::of_listing(&listing))
    }

    fn command(&self) -> Command {
        Command::new(&self.nft).time_limit(NFT_TIME_MAX)
    }
}
