//! How this node and the others hear each other.

use std::sync::Arc;

use acp_base::Failure;
use acp_io_daemon::Call;
use acp_wire_api::cluster::{Domain, GetDomain};

use super::App;

pub(super) async fn get(app: Arc<App>, _call: Call<GetDomain>) -> Result<Domain, Failure> {
    app.domain.view().await
}
