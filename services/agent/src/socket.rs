//! The sockets of this node's services.

use std::{io, time::Instant};

use acp_base::{Code, Failure};
use acp_io_link::Opening;
use acp_wire_api::{
    daemon::{ActFor, ActForRequest},
    principal::Principal,
    routing,
};
use tokio::net::UnixStream;

use crate::{
    limits::{LOOK_PAUSE, SOCKET_LIMIT},
    node::Node,
    speaker::Speaker,
};

/// The longest instance, as the framework takes it.
const INSTANCE_LEN_MAX: usize = 64;

/// Checks that there is such a service, and that the instance is one and nothing else.
pub(crate) fn check(service: &str, instance: Option<&str>) -> Result<(), Failure> {
    if routing::placement(service).is_none() {
        return Err(Failure::not_found(format!("there is no service {service:?} that can be called on a node")));
    }
    match (instance, routing::has_instances(service)) {
        (None, false) => Ok(()),
        (None, true) => Err(Failure::invalid(format!("{service} has several instances on a node: name one"))),
        (Some(_), false) => Err(Failure::invalid(format!("{service} has no instances"))),
        (Some(instance), true) if is_instance(instance) => Ok(()),
        (Some(instance), true) => Err(Failure::invalid(format!("{instance:?} is no instance"))),
    }
}

/// As the framework names units: nothing in it leads to another place.
fn is_instance(text: &str) -> bool {
    let is_good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !text.is_empty() && text.len() <= INSTANCE_LEN_MAX && !text.starts_with('.') && text.chars().all(is_good)
}

/// A connection to a service of this node with this agent's own rights. A service that is starting is waited for.
pub(crate) async fn connect(node: &Node, service: &str, instance: Option<&str>) -> Result<Speaker, Failure> {
    check(service, instance)?;
    let run = &node.context.paths.run;
    let (path, peer) = match instance {
        None => (run.join(format!("{service}.sock")), service.to_owned()),
        Some(instance) => (run.join(service).join(format!("{instance}.sock")), format!("{service}@{instance}")),
    };
    let started = Instant::now();
    loop {
        let error = match UnixStream::connect(&path).await {
            Ok(stream) => return Ok(Speaker::on(stream, &peer)),
            Err(error) => error,
        };
        let here = &node.context.node;
        match error.kind() {
            io::ErrorKind::NotFound if instance.is_some() => {
                return Err(Failure::not_found(format!("{peer} does not run on node {here}")));
            }
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused | io::ErrorKind::WouldBlock
                if started.elapsed() < SOCKET_LIMIT =>
            {
                tokio::time::sleep(LOOK_PAUSE).await;
            }
            _ => return Err(Failure::unavailable(format!("{peer} does not answer on node {here}: {error}"))),
        }
    }
}

/// A connection to the service of this opening on which every call is the principal's.
pub(crate) async fn connect_for(
    node: &Node,
    opening: &Opening,
    principal: Principal,
    id: &str,
) -> Result<Speaker, Failure> {
    let mut speaker = connect(node, &opening.service, opening.instance.as_deref()).await?;
    let request = ActForRequest { principal };
    speaker.call::<ActFor>(&request, id, SOCKET_LIMIT).await.map_err(|failure| {
        // The caller has called nothing yet.
        let code = if failure.code == Code::Unavailable { Code::Unavailable } else { Code::Internal };
        Failure::new(code, format!("{} does not take the caller's name from the agent: {failure}", opening.service))
    })?;
    Ok(speaker)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_leads_nowhere_else() {
        check("vmm", Some("a_b-c.d")).expect("a good one");
        check("storage", None).expect("one on each node");
        for bad in ["", "..", ".x", "a/b", "../hub", "a\0", "é", &"x".repeat(65)] {
            assert_eq!(check("vmm", Some(bad)).expect_err(bad).code, Code::InvalidArgument);
        }
        for (service, instance, code) in [
            ("vmm", None, Code::InvalidArgument),
            ("hub", Some("a"), Code::InvalidArgument),
            ("storage-worker", Some("a"), Code::NotFound),
            ("../hub", None, Code::NotFound),
            ("", None, Code::NotFound),
        ] {
            assert_eq!(check(service, instance).expect_err(service).code, code);
        }
    }
}
