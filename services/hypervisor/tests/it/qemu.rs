//! The command line in the hands of a real QEMU, sandboxed as the unit's template does, every file an inherited descriptor.

use std::{
    fs::OpenOptions,
    io::{BufRead, BufReader, Write},
    os::{
        fd::OwnedFd,
        unix::net::{UnixListener, UnixStream},
    },
    path::Path,
};

use acp_base::{ByteSize, Uid};
use acp_core_system::command_line::{self, Accelerator, DiskLayer, FD_CONSOLE, FD_CONSOLE_LOG, FD_QMP, Machine};
use acp_io_process::Command;
use acp_wire_model::{image::DiskFormat, system::SystemSpec};

/// More than fit into one slot of the PCI bus.
const DISKS: usize = 9;

const TEMPLATE: [&str; 4] = [
    "-no-user-config",
    "-nodefaults",
    "-sandbox",
    "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
];

/// A disk that is a qcow2 layer above a raw one, as descriptors from the top down.
async fn disk(directory: &Path, index: usize) -> Vec<OwnedFd> {
    let (base, top) = (directory.join(format!("{index}.raw")), directory.join(format!("{index}.qcow2")));
    std::fs::File::create(&base).and_then(|file| file.set_len(1 << 20)).expect("a raw disk");
    Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"])
        .arg(&base)
        .arg(&top)
        .run_ok()
        .await
        .expect("a linked clone");
    let writable = OpenOptions::new().read(true).write(true).open(&top).expect("the clone");
    let readable = OpenOptions::new().read(true).open(&base).expect("its base");
    vec![writable.into(), readable.into()]
}

fn execute(qmp: &mut BufReader<UnixStream>, command: &str) -> serde_json::Value {
    qmp.get_mut().write_all(format!("{{\"execute\":\"{command}\"}}\n").as_bytes()).expect("QMP takes commands");
    loop {
        let mut line = String::new();
        assert!(qmp.read_line(&mut line).expect("QMP answers") > 0, "QMP ended");
        let answer: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        if answer.get("return").is_some() || answer.get("error").is_some() {
            return answer;
        }
    }
}

#[tokio::test]
async fn a_real_qemu_takes_the_command_line() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let layers = [
        DiskLayer { format: DiskFormat::Qcow2, writable: true },
        DiskLayer { format: DiskFormat::Raw, writable: false },
    ];
    let mut fds: Vec<(String, OwnedFd)> = Vec::new();
    for index in 0..DISKS {
        let opened = disk(directory.path(), index).await;
        fds.extend(opened.into_iter().enumerate().map(|(layer, fd)| (command_line::disk_fd(index, layer), fd)));
    }
    let listen = |name: &str| UnixListener::bind(directory.path().join(name)).expect("a free path");
    let log = OpenOptions::new().append(true).create(true).open(directory.path().join("log")).expect("a log");
    fds.push((FD_QMP.to_owned(), listen("qmp").into()));
    fds.push((FD_CONSOLE.to_owned(), listen("console").into()));
    fds.push((FD_CONSOLE_LOG.to_owned(), log.into()));
    let machine = Machine {
        name: &"demo".parse().expect("a name"),
        uid: Uid::from_u128(7),
        spec: &SystemSpec {
            node: "n1".parse().expect("a name"),
            cpus: 2,
            memory_bytes: ByteSize::mib(64),
            disks: Vec::new(),
            nics: Vec::new(),
            autostart: false,
            floating: false,
        },
        accelerator: Accelerator::Tcg,
        disks: &vec![layers.to_vec(); DISKS],
        macs: &[],
    };
    let mut arguments = command_line::arguments(&machine);
    let mut command = Command::new("qemu-system-x86_64").args(TEMPLATE);
    for (name, fd) in fds {
        let number = command.inherit(fd).to_string();
        for argument in &mut arguments {
            *argument = argument.replace(&format!("{{fd:{name}}}"), &number);
        }
    }
    let process = command.args(arguments).start().expect("QEMU is installed");
    let path = directory.path().join("qmp");
    let asked = tokio::task::spawn_blocking(move || {
        let mut qmp = BufReader::new(UnixStream::connect(path).expect("the socket listens"));
        let mut greeting = String::new();
        let greeted = qmp.read_line(&mut greeting).expect("QMP greets");
        if greeted == 0 {
            return None;
        }
        execute(&mut qmp, "qmp_capabilities");
        let status = execute(&mut qmp, "query-status");
        let name = execute(&mut qmp, "query-name");
        let blocks = execute(&mut qmp, "query-block");
        execute(&mut qmp, "quit");
        Some((status, name, blocks))
    });
    let (asked, output) = tokio::join!(asked, process.finish());
    let output = output.expect("QEMU ends within its time limit");
    let asked = asked.expect("the questions were asked");
    let (status, name, blocks) = asked.unwrap_or_else(|| panic!("QEMU refused: {}", output.stderr));
    assert_eq!(status["return"]["status"], "prelaunch");
    assert_eq!(name["return"]["name"], "demo");
    assert_eq!(blocks["return"].as_array().map(Vec::len), Some(DISKS));
    assert!(output.status.success(), "{}", output.stderr);
    assert_eq!(output.stderr, "", "QEMU warns of nothing");
}
