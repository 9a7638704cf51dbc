//! ACP's nftables table.

use std::time::Duration;

use acp_base::Failure;
use acp_core_netplan::{TABLE_FAMILY, TABLE_NAME};
use acp_io_process::{Command, ProcessError};
use serde_json::Value;

use crate::metrics;

/// How long nft may take: it works in milliseconds, but may wait for another nft's transaction.
const NFT_TIME_MAX: Duration = Duration::from_secs(5);

/// The table as it was set last.
#[derive(Debug)]
pub(crate) struct Filter {
    nft: String,
    set: Option<TableSet>,
}

#[derive(Debug)]
struct TableSet {
    document: Value,
    /// What the kernel then said the table is; absent: there is none.
    listing: Option<Vec<u8>>,
}

impl Filter {
    pub(crate) fn new(nft: String) -> Self {
        Self { nft, set: None }
    }

    /// Makes the table what `document` says, in one transaction. `is_checked`: looks whether somebody changed it meanwhile.
    pub(crate) async fn ensure(&mut self, document: Value, is_checked: bool) -> Result<(), Failure> {
        if let Some(set) = self.set.as_ref().filter(|set| set.document == document) {
            if !is_checked || self.listing().await? == set.listing {
                return Ok(());
            }
            tracing::warn!(table = TABLE_NAME, "the nftables table was changed by somebody else and is set again");
        }
        self.set = None;
        let input = document.to_string();
        self.command().args(["-j", "-f", "-"]).stdin(input).run_ok().await?;
        metrics::filter_replaced();
        let listing = self.listing().await?;
        self.set = Some(TableSet { document, listing });
        Ok(())
    }

    async fn listing(&self) -> Result<Option<Vec<u8>>, ProcessError> {
        let output = self.command().args(["-j", "list", "table", TABLE_FAMILY, TABLE_NAME]).run().await?;
        Ok(output.status.success().then_some(output.stdout))
    }

    fn command(&self) -> Command {
        Command::new(&self.nft).time_limit(NFT_TIME_MAX)
    }
}
