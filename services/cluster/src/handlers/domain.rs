//! How this node and the others hear each other, and what relays of other domains are told.

use std::{sync::Arc, time::Duration};

use acp_base::{Failure, from_base64, to_base64};
use acp_core_sync::limits::Config;
use acp_io_daemon::{Call, Sink};
use acp_wire_api::cluster::{AskRelay, Domain, GetDomain, Relay, RelayReply};
use tokio::time::timeout;

use super::App;

/// How long a stream is silent at most: its hearer goes elsewhere after 2 s.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// Messages in one reply: 60 KB of JSON.
const BATCH_MAX: usize = 32;

pub(super) async fn get(app: Arc<App>, _call: Call<GetDomain>) -> Result<Domain, Failure> {
    app.domain.view().await
}

pub(super) async fn relay(app: Arc<App>, call: Call<Relay>, sink: Sink<Relay>) -> Result<RelayReply, Failure> {
    let _open = app.shares.open_watch(&call.caller)?;
    let most = Config::default().origins_max;
    if call.request.known.len() > most {
        return Err(Failure::invalid(format!("known: it names more than {most} nodes")));
    }
    let mut words = app.domain.relay(call.request).await?;
    loop {
        let mut batch = Vec::new();
        if let Ok(0) = timeout(HEARTBEAT, words.recv_many(&mut batch, BATCH_MAX)).await {
            return Err(Failure::unavailable("this node does not tell of that domain any more"));
        }
        sink.send(reply(&batch)).await?;
    }
}

pub(super) async fn ask_relay(app: Arc<App>, call: Call<AskRelay>) -> Result<RelayReply, Failure> {
    let question = from_base64(&call.request.message);
    let question = question.ok_or_else(|| Failure::invalid("message: it is not in base64"))?;
    Ok(reply(&app.domain.answer(question).await?))
}

fn reply(messages: &[Arc<[u8]>]) -> RelayReply {
    RelayReply { messages: messages.iter().map(|message| to_base64(message)).collect() }
}
