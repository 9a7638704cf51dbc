//! The bare peer of links between nodes: tokio-rustls between two processes, TLS 1.3, both sides verified, and nothing above.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use acp_dev_testkit::{namespace::Namespace, wait_for};
use anyhow::{Context as _, Result};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
    server::WebPkiClientVerifier,
    version::TLS13,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector, client::TlsStream};

use crate::{
    block_on,
    programs::{Running, own},
};

/// The role of this program that is the far side.
pub const ROLE: &str = "tls-server";
/// The environment in which the far side is told its address and the directory of the certificates.
const ENVIRONMENT: [&str; 2] = ["ACP_BENCH_ADDRESS", "ACP_BENCH_CERTIFICATES"];
/// The name in every certificate.
pub(crate) const NAME: &str = "bench";
/// Bytes moved at once by a stream, as between agents.
const CHUNK_BYTES: usize = 64 << 10;
/// How long the far side may take to listen.
const LISTEN_LIMIT: Duration = Duration::from_secs(10);

/// A directory with an authority and one certificate that both sides show, as PEM files.
#[derive(Clone, Debug)]
pub(crate) struct Certificates(PathBuf);

impl Certificates {
    /// Makes them in a directory.
    pub(crate) fn make(dir: &Path) -> Result<Self> {
        std::fs::create_dir_all(dir)?;
        let mut params = CertificateParams::new(Vec::new())?;
        // Both would have the same name otherwise, and a certificate of its own name counts as self-signed.
        params.distinguished_name.push(DnType::CommonName, "authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority_key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let authority = params.self_signed(&authority_key)?;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let issuer = Issuer::new(params, authority_key);
        let certificate = CertificateParams::new(vec![NAME.to_owned()])?.signed_by(&key, &issuer)?;
        let this = Self(dir.to_owned());
        std::fs::write(this.authority(), authority.pem())?;
        std::fs::write(this.certificate(), certificate.pem())?;
        std::fs::write(this.key(), key.serialize_pem())?;
        Ok(this)
    }

    pub(crate) fn authority(&self) -> PathBuf {
        self.0.join("authority.pem")
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.0.join("node.pem")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.0.join("node.key")
    }

    fn load(&self) -> Result<(Arc<RootCertStore>, Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(self.authority())?)?;
        let chain = vec![CertificateDer::from_pem_file(self.certificate())?];
        Ok((Arc::new(roots), chain, PrivateKeyDer::from_pem_file(self.key())?))
    }

    fn acceptor(&self) -> Result<TlsAcceptor> {
        let (roots, chain, key) = self.load()?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider)).build()?;
        let builder = ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13])?;
        let mut config = builder.with_client_cert_verifier(verifier).with_single_cert(chain, key)?;
        config.send_tls13_tickets = 0;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    fn connector(&self) -> Result<TlsConnector> {
        let (roots, chain, key) = self.load()?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13])?;
        let mut config = builder.with_root_certificates(roots).with_client_auth_cert(chain, key)?;
        config.resumption = rustls::client::Resumption::disabled();
        Ok(TlsConnector::from(Arc::new(config)))
    }
}

/// The far side, as a process in a namespace.
pub(crate) struct Server {
    pub(crate) process: Running,
    address: SocketAddr,
    connector: TlsConnector,
}

impl Server {
    pub(crate) fn start(certificates: &Certificates, namespace: &Namespace, address: SocketAddr) -> Result<Self> {
        let [address_name, certificates_name] = ENVIRONMENT;
        let mut command = own(ROLE)?;
        command.env(address_name, address.to_string()).env(certificates_name, &certificates.0);
        let process = namespace.run(|| Running::start(&mut command))?;
        wait_for("the bare TLS server", LISTEN_LIMIT, || {
            namespace.run(|| std::net::TcpStream::connect(address).map(drop).context("it does not listen"))
        })?;
        Ok(Self { process, address, connector: certificates.connector()? })
    }

    /// Connects from the namespace of the calling thread.
    pub(crate) async fn connect(&self) -> Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(self.address).await?;
        tcp.set_nodelay(true)?;
        Ok(self.connector.connect(ServerName::try_from(NAME)?, tcp).await?)
    }

    /// A connection on which so many bytes are answered with so many, again and again.
    pub(crate) async fn ping_pong(&self, request: usize, reply: usize) -> Result<PingPong> {
        let mut stream = self.connect().await?;
        Order { request: u64::try_from(request)?, reply: u64::try_from(reply)? }.send(&mut stream).await?;
        Ok(PingPong { stream, request: vec![b'x'; request], reply: vec![0; reply] })
    }

    /// Sends so many bytes and is sent so many.
    pub(crate) async fn transfer(&self, sent: u64, received: u64) -> Result<()> {
        let mut stream = self.connect().await?;
        Order { request: sent, reply: received }.send(&mut stream).await?;
        send(&mut stream, sent).await?;
        receive(&mut stream, received).await
    }
}

/// An open connection to the far side.
pub(crate) struct PingPong {
    stream: TlsStream<TcpStream>,
    request: Vec<u8>,
    reply: Vec<u8>,
}

impl PingPong {
    pub(crate) async fn exchange(&mut self) -> Result<()> {
        self.stream.write_all(&self.request).await?;
        self.stream.flush().await?;
        self.stream.read_exact(&mut self.reply).await?;
        Ok(())
    }
}

/// What the far side is to do, again and again until the connection ends: to take so many bytes, and to send so many.
#[derive(Clone, Copy)]
struct Order {
    request: u64,
    reply: u64,
}

impl Order {
    async fn send(self, stream: &mut (impl AsyncWrite + Unpin)) -> Result<()> {
        stream.write_u64(self.request).await?;
        stream.write_u64(self.reply).await?;
        stream.flush().await?;
        Ok(())
    }

    async fn receive(stream: &mut (impl AsyncRead + Unpin)) -> Result<Self> {
        Ok(Self { request: stream.read_u64().await?, reply: stream.read_u64().await? })
    }
}

/// Sends so many bytes.
pub(crate) async fn send(stream: &mut (impl AsyncWrite + Unpin), mut bytes: u64) -> Result<()> {
    let chunk = vec![b'x'; CHUNK_BYTES];
    while bytes > 0 {
        let length = usize::try_from(bytes).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES));
        stream.write_all(&chunk[..length]).await?;
        bytes -= u64::try_from(length)?;
    }
    stream.flush().await?;
    Ok(())
}

/// Takes so many bytes and throws them away.
pub(crate) async fn receive(stream: &mut (impl AsyncRead + Unpin), mut bytes: u64) -> Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    while bytes > 0 {
        let length = usize::try_from(bytes).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES));
        let count = stream.read(&mut chunk[..length]).await?;
        anyhow::ensure!(count > 0, "the stream ended with {bytes} bytes to come");
        bytes -= u64::try_from(count)?;
    }
    Ok(())
}

/// The far side, until it is killed.
pub fn serve() -> Result<()> {
    let setting = |name: &str| std::env::var(name).with_context(|| format!("{name} is not set"));
    let [address, certificates] = ENVIRONMENT;
    let (address, certificates) = (setting(address)?, Certificates(setting(certificates)?.into()));
    block_on(async move {
        let acceptor = certificates.acceptor()?;
        let listener = TcpListener::bind(address).await?;
        let mut connections = tokio::task::JoinSet::new();
        loop {
            let (tcp, _from) = listener.accept().await?;
            let acceptor = acceptor.clone();
            connections.spawn(async move { answer(acceptor, tcp).await });
            while connections.try_join_next().is_some() {}
        }
    })
}

async fn answer(acceptor: TlsAcceptor, tcp: TcpStream) -> Result<()> {
    tcp.set_nodelay(true)?;
    let mut stream = acceptor.accept(tcp).await?;
    let Order { request, reply } = Order::receive(&mut stream).await?;
    loop {
        receive(&mut stream, request).await?;
        send(&mut stream, reply).await?;
    }
}
