//! Entering a cluster and leaving one, as the agent asks for it.

use std::sync::Arc;

use acp_base::{Change, Failure};
use acp_io_daemon::Call;
use acp_wire_api::cluster::{Enter, EnterReply, Part};
use tokio::sync::oneshot;

use super::App;
use crate::moves::{Answer, Switch};

pub(super) async fn enter(app: Arc<App>, call: Call<Enter>) -> Result<EnterReply, Failure> {
    let request = call.request;
    app.switch(|answer| Switch::Enter { request, answer }).await
}

pub(super) async fn part(app: Arc<App>, _call: Call<Part>) -> Result<EnterReply, Failure> {
    app.switch(|answer| Switch::Part { answer }).await
}

impl App {
    async fn switch(&self, switch: impl FnOnce(Answer) -> Switch) -> Result<EnterReply, Failure> {
        let (answer, done) = oneshot::channel();
        let ending = || Failure::unavailable("the cluster service is ending");
        self.switches.send(switch(answer)).await.map_err(|_unsent| ending())?;
        let given_up = || Failure::unavailable("a newer call has taken this one's place").changed(Change::Unknown);
        done.await.map_err(|_dropped| given_up())?
    }
}
