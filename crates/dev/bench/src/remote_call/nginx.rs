//! nginx in the agents' place: one beside the caller, one beside the daemon, mutual TLS 1.3 between them.
//!
//! It carries the bytes of the very call to the very daemon, as agents do; a connection of the caller is a TLS connection of
//! its own, which is all that its stream module knows.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use acp_dev_lab::Member;
use acp_dev_testkit::wait_for;
use anyhow::{Context as _, Result};

use crate::{
    bare_tls::{Certificates, NAME},
    programs::{Peers, Running},
};

/// How long it may take to listen.
const LISTEN_LIMIT: Duration = Duration::from_secs(10);
/// Its program and its module for streams, as Debian installs them.
const PROGRAM: &str = "usr/sbin/nginx";
const MODULE: &str = "usr/lib/nginx/modules/ngx_stream_module.so";

/// Both of them, while they run.
pub(super) struct Nginx {
    run_dir: PathBuf,
    _near: Running,
    _far: Running,
}

impl Nginx {
    pub(super) fn start(
        peers: &Peers,
        certificates: &Certificates,
        dir: &Path,
        near: &Member,
        far: &Member,
        port: u16,
        noun: &str,
    ) -> Result<Self> {
        let run_dir = dir.join("nginx");
        std::fs::create_dir_all(&run_dir)?;
        let address = SocketAddr::from((far.address(), port));
        let socket = run_dir.join(format!("{noun}.sock"));
        let (authority, certificate, key) = (certificates.authority(), certificates.certificate(), certificates.key());
        let (authority, certificate, key) = (authority.display(), certificate.display(), key.display());
        let far_server = format!(
            "listen {address} ssl; ssl_protocols TLSv1.3; ssl_certificate {certificate}; ssl_certificate_key {key}; \
             ssl_client_certificate {authority}; ssl_verify_client on; proxy_pass unix:{};",
            far.layout.socket(noun).display()
        );
        let near_server = format!(
            "listen unix:{}; proxy_pass {address}; proxy_ssl on; proxy_ssl_protocols TLSv1.3; proxy_ssl_name {NAME}; \
             proxy_ssl_certificate {certificate}; proxy_ssl_certificate_key {key}; proxy_ssl_verify on; \
             proxy_ssl_trusted_certificate {authority};",
            socket.display()
        );
        let far_process = start(peers, &run_dir.join("far"), far, &far_server)?;
        let near_process = start(peers, &run_dir.join("near"), near, &near_server)?;
        wait_for("nginx", LISTEN_LIMIT, || {
            if !socket.exists() {
                return Err("its socket is not there".to_owned());
            }
            let listening = || std::net::TcpStream::connect(address).map(drop).context("the far one does not listen");
            near.layout.namespace().run(listening).map_err(|error| format!("{error:#}"))
        })?;
        Ok(Self { run_dir, _near: near_process, _far: far_process })
    }

    /// A directory with the socket that leads through both.
    pub(super) fn run_dir(&self) -> &Path {
        &self.run_dir
    }
}

/// Starts one in a node's network: a single process, which ends when it is killed. It is root, whom the daemon answers.
fn start(peers: &Peers, dir: &Path, member: &Member, server: &str) -> Result<Running> {
    std::fs::create_dir_all(dir)?;
    let configuration = format!(
        "user root; daemon off; master_process off; pid {0}/pid; error_log {0}/log; load_module {1};\n\
         events {{}}\nstream {{ server {{ {server} }} }}\n",
        dir.display(),
        peers.file(MODULE)?.display()
    );
    let file = dir.join("nginx.conf");
    std::fs::write(&file, configuration)?;
    let mut command = peers.command(PROGRAM)?;
    command.arg("-p").arg(dir).arg("-e").arg(dir.join("log")).arg("-c").arg(&file);
    member.layout.namespace().run(|| Running::start(&mut command))
}
