//! What this node asks of its own hub.

use std::time::Duration;

use acp_base::{Code, Failure, Name, Uid};
use acp_io_client::Client;
use acp_wire_api::{
    Empty,
    hub::{Found, FoundReply, FoundRequest, GetQuorum, Retire},
};

use crate::epoch::Epoch;

/// How long the hub may take: it opens a log and becomes its leader.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// How long it may take to say whether it has a log.
const STATUS_MAX: Duration = Duration::from_secs(2);

/// In which epoch this node's hub has a part in a log; none if it has no part in any.
pub(crate) async fn epoch(client: &Client) -> Result<Option<String>, Failure> {
    match client.own("hub").deadline(STATUS_MAX).call::<GetQuorum>(Empty {}).await {
        Ok(quorum) => Ok(Some(quorum.epoch).filter(|epoch| !epoch.is_empty())),
        Err(failure) if failure.code == Code::FailedPrecondition => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// Begins a log, empty or with the state of an image.
pub(crate) async fn found(
    client: &Client,
    node: Uid,
    name: &Name,
    image: Option<String>,
) -> Result<FoundReply, Failure> {
    let request = FoundRequest { node, name: name.clone(), image };
    client.own("hub").deadline(ANSWER_MAX).call::<Found>(request).await
}

/// Begins a log of this epoch with an image, in the place of any other one.
pub(super) async fn begin(
    client: &Client,
    node: Uid,
    name: &Name,
    image: String,
    wanted: &Epoch,
) -> Result<(), Failure> {
    match epoch(client).await? {
        Some(epoch) if epoch == wanted.as_str() => return Ok(()),
        Some(_) => drop(client.own("hub").deadline(ANSWER_MAX).call::<Retire>(Empty {}).await?),
        None => {}
    }
    found(client, node, name, Some(image)).await.map(drop)
}

/// Has the hub forget the log of an epoch that was left. One that has a part in another log by now keeps it.
pub(super) async fn retire(client: &Client, left: &str) -> Result<(), Failure> {
    if epoch(client).await?.as_deref() == Some(left) {
        client.own("hub").deadline(ANSWER_MAX).call::<Retire>(Empty {}).await?;
    }
    Ok(())
}
