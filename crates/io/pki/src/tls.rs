//! TLS configurations: one pair for peers, one for renewal, one for newcomers.

use std::sync::Arc;

use acp_base::Uid;
use rustls::{
    ClientConfig, ServerConfig,
    client::Resumption,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, ServerName},
    server::NoServerSessionStorage,
    version::TLS13,
};

use crate::{
    Fingerprint, Held, PkiError, Trust,
    verify::{Newcomer, Nodes, Purpose},
};

/// Both ends of a kind of connection.
#[derive(Clone, Debug)]
pub struct Side {
    /// For those who accept.
    pub server: Arc<ServerConfig>,
    /// For those who dial.
    pub client: Arc<ClientConfig>,
}

/// Makes aws-lc-rs the process's crypto provider. To be called once, first in `main`; a second call changes nothing.
pub fn install_provider() {
    // Somebody was faster, with the same one: there is no other in the tree.
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
}

/// The name under which a node is dialled: TLS wants one, and ours says whom we expect to meet.
pub fn server_name(node: Uid) -> ServerName<'static> {
    ServerName::try_from(format!("{}.node.acp", node.simple())).expect("hexadecimal digits are a host name")
}

/// Between members: both sides verified in full.
pub fn peers(trust: &Trust, held: &Held, protocols: &[&[u8]]) -> Result<Side, PkiError> {
    side(trust, held, Purpose::Peers, protocols)
}

/// For renewing a certificate: the caller's may have expired, or begin later.
pub fn renewing(trust: &Trust, held: &Held, protocols: &[&[u8]]) -> Result<Side, PkiError> {
    side(trust, held, Purpose::Renewal, protocols)
}

fn side(trust: &Trust, held: &Held, purpose: Purpose, protocols: &[&[u8]]) -> Result<Side, PkiError> {
    let provider = provider();
    let nodes = Arc::new(Nodes::new(trust.clone(), purpose, &provider).map_err(PkiError::crypto)?);
    let builder = ServerConfig::builder_with_provider(provider.clone());
    let builder = builder.with_protocol_versions(&[&TLS13]).map_err(PkiError::crypto)?;
    let server = builder.with_client_cert_verifier(nodes.clone()).with_cert_resolver(held.for_servers());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_protocol_versions(&[&TLS13]).map_err(PkiError::crypto)?;
    let client =
        builder.dangerous().with_custom_certificate_verifier(nodes).with_client_cert_resolver(held.for_clients());
    Ok(Side { server: finish_server(server, protocols), client: finish_client(client, protocols) })
}

/// For members that accept newcomers, who have no certificate yet.
pub fn newcomers(held: &Held, protocols: &[&[u8]]) -> Result<Arc<ServerConfig>, PkiError> {
    let builder = ServerConfig::builder_with_provider(provider());
    let builder = builder.with_protocol_versions(&[&TLS13]).map_err(PkiError::crypto)?;
    Ok(finish_server(builder.with_no_client_auth().with_cert_resolver(held.for_servers()), protocols))
}

/// For newcomers, who know the fingerprint of the authority from a token.
pub fn joining(authority: Fingerprint, protocols: &[&[u8]]) -> Result<Arc<ClientConfig>, PkiError> {
    newcoming(Some(authority), protocols)
}

/// For newcomers who know nothing yet: whoever answers proves to have a certificate of the authority that it shows, and people
/// compare that one's fingerprint ([`authority_shown`]).
pub fn asking(protocols: &[&[u8]]) -> Result<Arc<ClientConfig>, PkiError> {
    newcoming(None, protocols)
}

/// The authority that a peer has shown behind its own certificate, by its fingerprint.
pub fn authority_shown(shown: &[CertificateDer<'_>]) -> Option<Fingerprint> {
    shown.get(1).map(|authority| Fingerprint::of(authority))
}

fn newcoming(authority: Option<Fingerprint>, protocols: &[&[u8]]) -> Result<Arc<ClientConfig>, PkiError> {
    let provider = provider();
    let verifier = Arc::new(Newcomer::new(authority, &provider));
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = builder.with_protocol_versions(&[&TLS13]).map_err(PkiError::crypto)?;
    let client = builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    Ok(finish_client(client, protocols))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// No resumption: a resumed session would not look at the peer's certificate again, so a removed node could come back.
fn finish_server(mut config: ServerConfig, protocols: &[&[u8]]) -> Arc<ServerConfig> {
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Arc::new(config)
}

fn finish_client(mut config: ClientConfig, protocols: &[&[u8]]) -> Arc<ClientConfig> {
    config.resumption = Resumption::disabled();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Arc::new(config)
}
