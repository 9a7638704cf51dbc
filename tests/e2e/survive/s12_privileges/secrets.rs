//! The one secret that ACP is ever given: a password in the URL of an image.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::Duration,
};

use acp_dev_testkit::{node, process, wait_for};
use anyhow::{Context as _, Result, ensure};
use serde_json::json;

use crate::world::{LIMIT, World};

/// What must be seen nowhere. The second is no credential by its form, and one all the same.
const PASSWORD: &str = "Zwiebelfisch";
const TOKEN: &str = "Schusterjunge";
/// The head of a request is a few hundred bytes.
const REQUEST_BYTES_MAX: usize = 8 << 10;
/// How long a client may take to send or receive.
const PEER_LIMIT: Duration = Duration::from_secs(30);

/// A web server for one request that holds its answer back until it is told to go on.
struct Server {
    port: u16,
    asked: Receiver<String>,
    go_on: Sender<()>,
    thread: thread::JoinHandle<Result<()>>,
}

impl Server {
    /// In the node's network.
    fn start(world: &World, status: &'static str, body: PathBuf) -> Result<Self> {
        let listener = world.node.layout().namespace().run(|| Ok(TcpListener::bind("127.0.0.1:0")?))?;
        let port = listener.local_addr()?.port();
        let ((say_asked, asked), (go_on, may_go_on)) = (mpsc::channel(), mpsc::channel());
        let thread = thread::spawn(move || {
            let (mut stream, _peer) = listener.accept()?;
            stream.set_read_timeout(Some(PEER_LIMIT))?;
            stream.set_write_timeout(Some(PEER_LIMIT))?;
            say_asked.send(read_head(&mut stream)?)?;
            may_go_on.recv_timeout(PEER_LIMIT).context("nobody lets the server go on")?;
            let mut file = File::open(body)?;
            write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                file.metadata()?.len()
            )?;
            std::io::copy(&mut file, &mut stream)?;
            Ok(())
        });
        Ok(Self { port, asked, go_on, thread })
    }

    fn url(&self) -> String {
        format!("http://me:{PASSWORD}@127.0.0.1:{}/demo.qcow2?token={TOKEN}", self.port)
    }

    fn end(self) -> Result<()> {
        self.go_on.send(()).context("the server has ended")?;
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

fn read_head(stream: &mut TcpStream) -> Result<String> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") && head.len() < REQUEST_BYTES_MAX {
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

pub(super) fn password(world: &World) -> Result<()> {
    let said = world.refused(&["image", "import", "hidden", &format!("http://me:{PASSWORD}@127.0.0.1/x")], 64)?;
    ensure!(said.contains("standard input") && !said.contains(PASSWORD), "a password on a command line: {said:?}");

    let (status, said) = import(world, "404 Not Found", true)?;
    ensure!(status != 0 && said.contains("404"), "an image that is not there: {status} {said}");
    ensure!(!holds_secret(said.as_bytes()), "the failure tells the secret: {said}");
    nothing_tells(world, &[])?;

    let (status, said) = import(world, "200 OK", false)?;
    ensure!(status == 0, "the import failed: {said}");
    let image = world.call("cluster", "acp.cluster.Get", json!({ "kind": "image", "name": "hidden" }))?;
    let source = image["object"]["spec"]["source"].as_str().unwrap_or_default().to_owned();
    ensure!(source.starts_with("http://127.0.0.1:"), "the image does not say where it comes from: {source:?}");
    nothing_tells(world, &[])?;
    world.node.run(&["--yes", "image", "delete", "hidden"]).map(drop)
}

/// Imports an image from a URL with secrets and looks around while it is fetched; answers how the command ended.
fn import(world: &World, status: &'static str, is_empty: bool) -> Result<(i32, String)> {
    let body = if is_empty { PathBuf::from("/dev/null") } else { world.image.clone() };
    let server = Server::start(world, status, body)?;
    let mut command = node::acpctl_command(world.node.layout());
    command.args(["image", "import", "hidden", "-", "--wait"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let mut stdin = child.stdin.take().context("it was asked for")?;
    writeln!(stdin, "{}", server.url())?;
    drop(stdin);
    let asked = server.asked.recv_timeout(PEER_LIMIT).context("the image is not fetched")?;
    ensure!(
        asked.contains("Authorization: Basic ") && asked.contains(TOKEN),
        "the secrets did not come along: {asked}"
    );
    // Whoever resumes the job after a crash has to know the URL; the file is for the storage service alone.
    let jobs = world.node.layout().state().join("storage/jobs");
    let looked = nothing_tells(world, &[&jobs]);
    let kept = files_that_tell(&jobs)?;
    server.end()?;
    let (status, said) = ended(child)?;
    looked?;
    ensure!(kept.len() == 1, "the search finds no secret where one is: {kept:?}");
    Ok((status, said))
}

fn ended(child: Child) -> Result<(i32, String)> {
    let output = child.wait_with_output()?;
    let said = [output.stdout, output.stderr].concat();
    Ok((output.status.code().unwrap_or(-1), String::from_utf8_lossy(&said).into_owned()))
}

fn holds_secret(bytes: &[u8]) -> bool {
    [PASSWORD, TOKEN].iter().any(|secret| bytes.windows(secret.len()).any(|window| window == secret.as_bytes()))
}

/// Neither command lines nor environments of any process, nor replies, nor files hold a secret, except below these paths.
fn nothing_tells(world: &World, except: &[&Path]) -> Result<()> {
    let own = i32::try_from(std::process::id())?;
    for pid in process::all().into_iter().filter(|pid| *pid != own) {
        for file in ["cmdline", "environ"] {
            let text = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            ensure!(!holds_secret(&text), "the {file} of {} tells it", process::name(pid));
        }
    }
    for (noun, method) in [("storage", "acp.jobs.List"), ("hypervisor", "acp.jobs.List")] {
        let reply = world.call(noun, method, json!({}))?.to_string();
        ensure!(!holds_secret(reply.as_bytes()), "{method} of {noun} tells it");
    }
    for kind in ["job", "image", "volume", "pool", "service"] {
        let list = world.node.run(&["-o", "json", "object", "list", kind])?;
        ensure!(!holds_secret(list.as_bytes()), "the list of {kind}s tells it");
    }
    let layout = world.node.layout();
    // A line that was just written comes into its log within a moment.
    wait_for("no file to hold a secret", LIMIT, || {
        let mut telling = Vec::new();
        for place in [layout.run(), layout.state(), layout.log(), layout.etc()] {
            telling.extend(files_that_tell(&place).map_err(|error| format!("{error:#}"))?);
        }
        telling.retain(|path| !except.iter().any(|except| path.starts_with(except)));
        if telling.is_empty() { Ok(()) } else { Err(format!("{telling:?}")) }
    })
}

/// The files below a directory that hold a secret.
fn files_that_tell(directory: &Path) -> Result<Vec<PathBuf>> {
    let mut grep = Command::new("grep");
    // Binary files, too; neither sockets nor complaints about files that go meanwhile.
    grep.args(["--recursive", "--files-with-matches", "--binary-files=text", "--devices=skip", "--no-messages"]);
    let out = grep.args(["--fixed-strings", "-e", PASSWORD, "-e", TOKEN, "--"]).arg(directory).output()?;
    ensure!(out.stderr.is_empty(), "grep: {}", String::from_utf8_lossy(&out.stderr));
    Ok(String::from_utf8_lossy(&out.stdout).lines().map(PathBuf::from).collect())
}
