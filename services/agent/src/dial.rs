//! Calling a member at its address.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use acp_base::{Code, Failure};
use acp_io_daemon::Tasks;
use acp_io_link::{Class, Link, LinkError};
use acp_wire_api::hub;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::{config::PORT_DEFAULT, limits::PAUSE_MAX, member::Member};

/// Why a member was not reached.
#[derive(Clone, Debug)]
pub(crate) struct Unreached {
    pub(crate) failure: Failure,
    /// Whether nobody answers there, so that another way to the node is worth trying; not so if it was met and refused.
    pub(crate) is_away: bool,
    /// Whether it was met and says that this node was removed.
    pub(crate) is_removed: bool,
}

impl Unreached {
    /// Of what a link says, with the address at which it was tried.
    pub(crate) fn of(error: LinkError, to: &hub::Member) -> Self {
        let is_away = matches!(
            error,
            LinkError::Unreachable(_) | LinkError::TimedOut(_) | LinkError::Closed | LinkError::Handshake(_)
        );
        let is_removed = matches!(error, LinkError::Unwelcome(acp_io_link::Unwelcome::Removed));
        let mut failure = error.failure(&format!("{} at {}", to.name, to.address));
        if is_away {
            // Nothing was executed, and it was not the caller's time that ran out.
            failure.code = Code::Unavailable;
        }
        Self { failure, is_away, is_removed }
    }
}

/// The class in words.
pub(crate) const fn word(class: Class) -> &'static str {
    match class {
        Class::Control => "control",
        Class::Calls => "calls",
        Class::Reverse => "reverse",
        Class::Bulk => "bulk",
        Class::Renewal => "renewal",
        Class::Join => "join",
    }
}

/// A connection to this member.
pub(crate) async fn stream(member: &Member, to: &hub::Member, class: Class) -> Result<TlsStream<TcpStream>, Unreached> {
    let address = to.address.parse::<SocketAddr>().map_err(|error| Unreached {
        failure: Failure::internal(format!("node {}: {:?} is no address: {error}", to.name, to.address)),
        is_away: false,
        is_removed: false,
    })?;
    metrics::counter!("acp_agent_dials_total", "class" => word(class)).increment(1);
    member.dialer.dial(address, to.uid, class).await.map_err(|error| Unreached::of(error, to))
}

/// A link to this member on which this node opens conversations.
pub(crate) async fn link(member: &Member, to: &hub::Member, class: Class, tasks: &Tasks) -> Result<Link, Unreached> {
    let stream = stream(member, to, class).await?;
    let link = Link::over(stream, tasks).await.map_err(|error| Unreached::of(error, to))?;
    tracing::info!(node = %to.name, address = to.address, class = word(class), "link opened");
    Ok(link)
}

/// An address given as `IP` or `IP:PORT`.
pub(crate) fn parse(text: &str) -> Result<SocketAddr, Failure> {
    let bare = |text: &str| text.trim_matches(['[', ']']).parse::<IpAddr>().ok();
    text.parse::<SocketAddr>().ok().or_else(|| bare(text).map(|ip| SocketAddr::new(ip, PORT_DEFAULT))).ok_or_else(
        || Failure::invalid(format!("{text:?} is no address: give IP or IP:PORT, like 10.0.0.1:{PORT_DEFAULT}")),
    )
}

/// A pause of this length, more or less by a quarter, so that nodes which lost the same peer do not all come at once.
pub(crate) async fn pause(length: Duration) {
    let chance = acp_io_daemon::new_uid().as_u128() & 0xff;
    let share = u32::try_from(chance).unwrap_or(0);
    tokio::time::sleep(length * 3 / 4 + length / 512 * share).await;
}

/// The pause after this one.
pub(crate) fn longer(pause: Duration) -> Duration {
    (pause * 2).min(PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_port_whether_or_not_it_is_given() {
        for (text, address) in [
            ("10.0.0.1", "10.0.0.1:9932"),
            ("10.0.0.1:1", "10.0.0.1:1"),
            ("fe80::1", "[fe80::1]:9932"),
            ("[fe80::1]", "[fe80::1]:9932"),
            ("[fe80::1]:7", "[fe80::1]:7"),
        ] {
            assert_eq!(parse(text).expect(text).to_string(), address);
        }
        for bad in ["", "n1", "10.0.0.1:", "10.0.0:1", "10.0.0.1:99999"] {
            assert_eq!(parse(bad).expect_err(bad).code, Code::InvalidArgument);
        }
    }
}
