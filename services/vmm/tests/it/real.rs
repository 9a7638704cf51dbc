//! Against a real QEMU whose guest is a boot sector that greets, echoes what is typed and powers off at `q`.

use std::{
    io::Write,
    os::{fd::AsRawFd, unix::net::UnixListener},
    path::Path,
    process::Stdio,
};

use acp_wire_api::{
    Empty,
    vmm::{AttachConsoleRequest, MachineState, Reset, Resume},
};
use tokio::process::{Child, Command};

use crate::vmm::{INSTANCE, TestVmm};

/// The firmware boots from no smaller disk.
const DISK_BYTES: usize = 1 << 20;

const PROGRAM: &str = "qemu-system-x86_64";

/// 16-bit code at 0x7c00: writes its message to COM1, then echoes; at `q` it powers off through ACPI.
const GUEST: &[u8] = &[
    0xba, 0xf8, 0x03, // mov dx, 0x3f8
    0xbe, 0x2b, 0x7c, // mov si, message
    0xac, // next: lodsb
    0x84, 0xc0, // test al, al
    0x74, 0x03, // jz echo
    0xee, // out dx, al
    0xeb, 0xf8, // jmp next
    0xba, 0xfd, 0x03, // echo: mov dx, 0x3fd
    0xec, // poll: in al, dx
    0xa8, 0x01, // test al, 1
    0x74, 0xfb, // jz poll
    0xba, 0xf8, 0x03, // mov dx, 0x3f8
    0xec, // in al, dx
    0x3c, b'q', // cmp al, 'q'
    0x74, 0x03, // jz off
    0xee, // out dx, al
    0xeb, 0xed, // jmp echo
    0xba, 0x04, 0x06, // off: mov dx, 0x604
    0xb8, 0x00, 0x20, // mov ax, 0x2000
    0xef, // out dx, ax
    0xf4, // halt: hlt
    0xeb, 0xfd, // jmp halt
    b'g', b'r', b'e', b'e', b't', b'i', b'n', b'g', b'\r', b'\n', 0,
];

/// Starts QEMU on sockets that are bound beforehand and inherited, as the framework does.
pub(crate) fn start(folder: &Path) -> Option<Child> {
    let sockets = folder.join("vmm").join(INSTANCE);
    let state = folder.join("state").join("vmm").join(INSTANCE);
    for folder in [&sockets, &state] {
        std::fs::create_dir_all(folder).expect("a folder");
    }
    let disk = folder.join("disk");
    let mut sector = GUEST.to_vec();
    sector.resize(510, 0);
    sector.extend([0x55, 0xaa]);
    sector.resize(DISK_BYTES, 0);
    std::fs::write(&disk, sector).expect("written");
    let listen = |name: &str| {
        let listener = UnixListener::bind(sockets.join(name)).expect("bound");
        rustix::io::fcntl_setfd(&listener, rustix::io::FdFlags::empty()).expect("inheritable");
        listener
    };
    let (qmp, console) = (listen("qmp.sock"), listen("console.sock"));
    let log = state.join("console.log");
    let child = Command::new(PROGRAM)
        .args(["-M", "q35", "-m", "32", "-accel", "tcg", "-nodefaults", "-no-user-config", "-display", "none", "-S"])
        .args([
            "-chardev",
            &format!("socket,id=qmp,fd={},server=on,wait=off", qmp.as_raw_fd()),
            "-mon",
            "chardev=qmp,mode=control",
        ])
        .args([
            "-chardev",
            &format!(
                "socket,id=con,fd={},server=on,wait=off,logfile={},logappend=on",
                console.as_raw_fd(),
                log.display()
            ),
        ])
        .args(["-device", "isa-serial,chardev=con"])
        .args(["-drive", &format!("file={},format=raw,if=none,id=d0", disk.display()), "-device", "ide-hd,drive=d0"])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn();
    match child {
        Ok(child) => Some(child),
        Err(error) => {
            writeln!(std::io::stderr(), "skipped: {PROGRAM} cannot be run: {error}").expect("stderr is open");
            None
        }
    }
}

#[tokio::test]
async fn a_guest_greets_echoes_is_left_alone_by_a_restart_and_powers_off() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(mut qemu) = start(folder.path()) else { return };
    let vmm = TestVmm::start(folder.path());
    let mut machine = vmm.watch().await;
    machine.until_state(MachineState::Prelaunch).await;
    let status = vmm.service().call::<Resume>(Empty {}).await.expect("resumed");
    assert_eq!((status.state, status.run_state.as_str()), (MachineState::Running, "running"));

    let all = AttachConsoleRequest { backlog_bytes: None, position: None };
    let (_, mut screen) = vmm.attach(all.clone()).await;
    screen.until("greeting\r\n").await;
    screen.type_in("abc").await;
    screen.until("abc").await;
    vmm.service().call::<Reset>(Empty {}).await.expect("reset");
    screen.until("abcgreeting\r\n").await;
    let position = u64::try_from(screen.seen.len()).expect("small");
    vmm.stop().await;

    let vmm = TestVmm::start(folder.path());
    let mut machine = vmm.watch().await;
    machine.until_state(MachineState::Running).await;
    let (reply, mut screen) = vmm.attach(AttachConsoleRequest { backlog_bytes: None, position: Some(position) }).await;
    assert_eq!((reply.position, reply.lost_bytes), (position, 0));
    screen.type_in("still here").await;
    screen.until("still here").await;
    screen.type_in("q").await;
    let gone = machine.until_state(MachineState::Gone).await;
    assert!(gone.guest_shutdown, "the guest itself powered off");
    screen.until_end().await;
    assert!(qemu.wait().await.expect("it ends").success());
    let (_, mut screen) = vmm.attach(all).await;
    screen.until_end().await;
    assert_eq!(screen.seen, "greeting\r\nabcgreeting\r\nstill here");
    vmm.stop().await;
}
