//! The first start of a node, and the first beside a hub that has no log: the hub begins one.

use std::time::Duration;

use acp_base::Failure;
use acp_core_cdb::Image;
use acp_io_client::Client;
use tokio::time::sleep;

use crate::{
    epoch::Epoch,
    identity::Identity,
    intake::Position,
    moves::{image_text, own_hub},
    service::Handle,
};

/// The pause before the hub is asked again.
const PAUSE: Duration = Duration::from_millis(100);

/// Has this node's hub begin a log, and answers where it begins. Asks until it is done.
pub(crate) async fn found(client: &Client, identity: &Identity) -> Position {
    let mut said = String::new();
    loop {
        match own_hub::found(client, identity.node, &identity.name, None).await {
            Ok(founded) => {
                tracing::info!(cluster = %founded.cluster, node = %identity.name, "this node's hub has founded a cluster");
                return Position::start(founded.cluster, Epoch::parse(&founded.epoch));
            }
            Err(failure) => {
                if failure.message != said {
                    tracing::warn!(reason = %failure.message, "the hub has not founded a cluster yet");
                    said = failure.message;
                }
            }
        }
        sleep(PAUSE).await;
    }
}

/// Gives this node's hub the log that the replica has, if the hub has none. Called where nobody else can have it: the hub of
/// a node with other controllers gets it from them.
pub(crate) async fn hand_over(client: &Client, identity: &Identity, database: &Handle) -> Result<(), Failure> {
    if own_hub::epoch(client).await?.is_some() {
        return Ok(());
    }
    let image = database.image().await?.ok_or_else(|| Failure::internal("there is no state to hand over"))?;
    let index = image.index();
    let encoded = tokio::task::spawn_blocking(|| Image::encode(image)).await;
    let bytes = encoded.map_err(|error| Failure::internal(error.to_string()))?;
    own_hub::found(client, identity.node, &identity.name, Some(image_text(&bytes)?)).await?;
    tracing::info!(index, "this node's hub goes on with the log that was kept here");
    Ok(())
}
