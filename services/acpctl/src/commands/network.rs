//! `acpctl network`.

use acp_base::Failure;
use acp_wire_api::network::{CreateNetwork, CreateNetworkRequest, DeleteNetwork, NetworkRequest};
use acp_wire_model::Kind;
use serde_json::json;

use super::{doctor, list, show};
use crate::{args::NetworkVerb, session::Session};

pub(super) async fn run(session: &mut Session, verb: NetworkVerb) -> Result<u8, Failure> {
    match verb {
        NetworkVerb::List => list(session, Kind::Network).await,
        NetworkVerb::Show(network) => show(session, Kind::Network, network.name.as_str()).await,
        NetworkVerb::Create { name, address, no_dhcp, no_nat } => {
            let request =
                CreateNetworkRequest { name: name.clone(), address, dhcp: Some(!no_dhcp), nat: Some(!no_nat) };
            session.call_patiently::<CreateNetwork>("network", request).await?;
            session.out.done(&format!("network {name} is up"), &json!({ "name": name }))?;
            Ok(crate::DONE)
        }
        NetworkVerb::Doctor => doctor::run(session).await,
        NetworkVerb::Delete(network) => {
            let name = network.name;
            session.confirm(&format!("delete network {name}"))?;
            session.call_patiently::<DeleteNetwork>("network", NetworkRequest { name: name.clone() }).await?;
            session.out.done(&format!("network {name} is deleted"), &json!({ "name": name }))?;
            Ok(crate::DONE)
        }
    }
}
