//! How this node is called now.

use std::time::Duration;

use acp_base::Name;
use acp_wire_api::{Empty, cluster::GetStatus};

use crate::Client;

/// How long the cluster service may take to say it: whoever asks is ready only then.
const LIMIT: Duration = Duration::from_secs(2);

/// What the objects of this node call it, as its cluster service has them; none if that does not say it in time.
///
/// A daemon is told a name when it is started, and the node may have got another one since. By the name of before, nothing that
/// is on the node would be its own.
pub async fn node_name(client: &Client) -> Option<Name> {
    client.own("cluster").deadline(LIMIT).call::<GetStatus>(Empty {}).await.ok().map(|status| status.node)
}
