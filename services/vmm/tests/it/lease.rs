//! The dead-man timer, against a scripted QEMU and a real one.

use std::{os::unix::process::ExitStatusExt, path::Path, time::Duration};

use acp_base::{Code, Failure};
use acp_io_daemon::boot_now;
use acp_io_unit::{procfs, record::Started};
use acp_wire_api::{
    Empty,
    vmm::{ExtendLease, ExtendLeaseRequest, MachineState, MachineStatus, Resume},
};
use tokio::time::timeout;

use crate::{
    fake::{Monitor, Qemu},
    real,
    vmm::{INSTANCE, LIMIT, TestVmm},
};

fn now_ms() -> u64 {
    boot_now().as_nanos() / 1_000_000
}

/// Extends the lease by so many milliseconds from now.
async fn extend(vmm: &TestVmm, term: u64, pause_ms: u64, kill_ms: u64) -> Result<MachineStatus, Failure> {
    let now = now_ms();
    let request = ExtendLeaseRequest { term, pause_at_ms: now + pause_ms, kill_at_ms: now + kill_ms };
    vmm.service().call::<ExtendLease>(request).await
}

/// Long enough to fail a test rather than to pass it.
const LONG: u64 = 60_000;

async fn stopped(monitor: &mut Monitor) {
    monitor.answer("stop", "{}").await;
    monitor.say("{\"event\": \"STOP\"}").await;
    monitor.stands(false, "paused").await;
}

#[tokio::test]
async fn a_machine_whose_lease_is_not_renewed_is_paused_and_goes_on_when_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let qemu = Qemu::new(folder.path());
    let vmm = TestVmm::start(folder.path());
    let mut machine = vmm.watch().await;
    let mut monitor = qemu.accept_qmp().await;
    monitor.stands(true, "running").await;
    machine.until_state(MachineState::Running).await;

    let before = boot_now();
    extend(&vmm, 3, 50, LONG).await.expect("the first");
    stopped(&mut monitor).await;
    assert!(before + Duration::from_millis(50) <= boot_now(), "not before its time");
    let paused = machine.until("why it is paused", |status| !status.reason.is_empty()).await;
    assert!(paused.reason.contains("lease was not renewed"), "{paused:?}");
    machine.until_state(MachineState::Paused).await;
    let refused = vmm.service().call::<Resume>(Empty {}).await.expect_err("it has no lease");
    assert_eq!(refused.code, Code::FailedPrecondition, "{refused}");

    let older = extend(&vmm, 2, LONG, LONG).await.expect_err("an older term");
    assert_eq!(
        (older.code, older.message.as_str()),
        (Code::Conflict, "term 2 is older than 3, under which the machine runs")
    );
    extend(&vmm, 4, LONG, LONG).await.expect("a newer one");
    monitor.answer("cont", "{}").await;
    monitor.say("{\"event\": \"RESUME\"}").await;
    monitor.stands(true, "running").await;
    let goes_on = |status: &MachineStatus| status.state == MachineState::Running && status.reason.is_empty();
    machine.until("that it goes on", goes_on).await;
    vmm.stop().await;
}

/// The renewal comes after QEMU has stopped the processors and before it has said so.
#[tokio::test]
async fn a_machine_whose_pause_is_heard_of_after_the_renewal_goes_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let qemu = Qemu::new(folder.path());
    let vmm = TestVmm::start(folder.path());
    let mut machine = vmm.watch().await;
    let mut monitor = qemu.accept_qmp().await;
    monitor.stands(true, "running").await;
    machine.until_state(MachineState::Running).await;
    extend(&vmm, 1, 0, LONG).await.expect("paused from now on");
    monitor.answer("stop", "{}").await;
    let status = machine.until("why it is paused", |status| !status.reason.is_empty()).await;
    assert_eq!(status.state, MachineState::Running, "nothing else was said");
    extend(&vmm, 1, LONG, LONG).await.expect("a renewal");
    monitor.answer("cont", "{}").await;
    monitor.say("{\"event\": \"STOP\"}").await;
    monitor.stands(true, "running").await;
    let goes_on = |status: &MachineStatus| status.state == MachineState::Running && status.reason.is_empty();
    machine.until("that it goes on", goes_on).await;
    vmm.stop().await;
}

#[tokio::test]
async fn a_machine_that_somebody_else_paused_stays_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let qemu = Qemu::new(folder.path());
    let vmm = TestVmm::start(folder.path());
    let mut machine = vmm.watch().await;
    let mut monitor = qemu.accept_qmp().await;
    monitor.stands(false, "paused").await;
    machine.until_state(MachineState::Paused).await;
    extend(&vmm, 1, 0, LONG).await.expect("the first");
    extend(&vmm, 1, LONG, LONG).await.expect("a renewal");
    // The next thing that QEMU is told is what an operator wants.
    let script = async {
        monitor.answer("cont", "{}").await;
        monitor.stands(true, "running").await;
    };
    let service = vmm.service();
    let (resumed, ()) = tokio::join!(service.call::<Resume>(Empty {}), script);
    assert_eq!(resumed.expect("resumed").state, MachineState::Running);
    vmm.stop().await;
}

#[tokio::test]
async fn a_machine_that_begins_to_run_without_a_lease_is_stopped() {
    let folder = tempfile::tempdir().expect("a folder");
    let qemu = Qemu::new(folder.path());
    let vmm = TestVmm::start(folder.path());
    let mut machine = vmm.watch().await;
    let mut monitor = qemu.accept_qmp().await;
    monitor.stands(false, "paused").await;
    machine.until_state(MachineState::Paused).await;
    extend(&vmm, 1, 0, LONG).await.expect("paused from now on");
    monitor.say("{\"event\": \"RESUME\"}").await;
    monitor.stands(true, "running").await;
    stopped(&mut monitor).await;
    vmm.stop().await;
}

#[tokio::test]
async fn a_qemu_whose_process_is_not_known_is_told_to_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let qemu = Qemu::new(folder.path());
    let vmm = TestVmm::start(folder.path());
    let mut machine = vmm.watch().await;
    let mut monitor = qemu.accept_qmp().await;
    monitor.stands(false, "prelaunch").await;
    machine.until_state(MachineState::Prelaunch).await;
    extend(&vmm, 1, 0, 0).await.expect("taken");
    monitor.answer("quit", "{}").await;
    drop((monitor, qemu));
    let gone = machine.until_state(MachineState::Gone).await;
    assert!(gone.reason.contains("its lease has ended"), "{gone:?}");
    vmm.stop().await;
}

#[tokio::test]
async fn deadlines_that_cannot_be_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let vmm = TestVmm::start(folder.path());
    let refused = extend(&vmm, 1, 2, 1).await.expect_err("the pause after the kill");
    assert_eq!(refused.code, Code::InvalidArgument);
    let refused = extend(&vmm, 1, 0, 700_000).await.expect_err("further than any session");
    assert_eq!(refused.code, Code::InvalidArgument);
    vmm.stop().await;
}

/// Records a process as its shim does.
fn record(folder: &Path, pid: u32) {
    let unit = folder.join("units").join(format!("qemu@{INSTANCE}"));
    std::fs::create_dir_all(&unit).expect("a folder");
    let start = procfs::start_time(pid).expect("it runs");
    let boot = procfs::boot_id().expect("a boot");
    Started { pid, start, shim_pid: pid, shim_start: start, boot }.write(&unit).expect("written");
}

#[tokio::test]
async fn a_real_qemu_is_paused_goes_on_and_is_killed_also_by_a_vmm_that_was_started_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(mut qemu) = real::start(folder.path()) else { return };
    record(folder.path(), qemu.id().expect("it runs"));
    let vmm = TestVmm::start(folder.path());
    let mut machine = vmm.watch().await;
    machine.until_state(MachineState::Prelaunch).await;
    extend(&vmm, 1, LONG, LONG).await.expect("the first");
    vmm.service().call::<Resume>(Empty {}).await.expect("resumed");
    extend(&vmm, 1, 0, LONG).await.expect("its time is over");
    machine.until_state(MachineState::Paused).await;
    extend(&vmm, 1, LONG, LONG).await.expect("renewed");
    machine.until_state(MachineState::Running).await;
    extend(&vmm, 1, 0, LONG).await.expect("its time is over");
    machine.until_state(MachineState::Paused).await;
    vmm.stop().await;

    // The next life knows that it was the timer that paused it.
    let vmm = TestVmm::start(folder.path());
    let mut machine = vmm.watch().await;
    machine.until_state(MachineState::Paused).await;
    extend(&vmm, 1, LONG, LONG).await.expect("renewed");
    machine.until_state(MachineState::Running).await;
    let kill_at = now_ms() + 300;
    extend(&vmm, 1, 200, 300).await.expect("its time is nearly over");
    vmm.stop().await;

    let vmm = TestVmm::start(folder.path());
    let ended = timeout(LIMIT, qemu.wait()).await.expect("it is killed").expect("it ends");
    assert!(now_ms() >= kill_at, "not before its time");
    assert_eq!(ended.signal(), Some(9), "{ended:?}");
    vmm.watch().await.until_state(MachineState::Gone).await;
    vmm.stop().await;
}

#[tokio::test]
async fn the_lease_of_an_earlier_qemu_does_not_count_for_the_next() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(mut first) = real::start(folder.path()) else { return };
    record(folder.path(), first.id().expect("it runs"));
    let vmm = TestVmm::start(folder.path());
    vmm.watch().await.until_state(MachineState::Prelaunch).await;
    extend(&vmm, 7, 0, 1).await.expect("its time is over");
    timeout(LIMIT, first.wait()).await.expect("it is killed").expect("it ends");
    vmm.stop().await;
    for name in ["qmp.sock", "console.sock"] {
        std::fs::remove_file(folder.path().join("vmm").join(INSTANCE).join(name)).expect("bound anew");
    }

    let Some(second) = real::start(folder.path()) else { return };
    record(folder.path(), second.id().expect("it runs"));
    let vmm = TestVmm::start(folder.path());
    let mut machine = vmm.watch().await;
    machine.until_state(MachineState::Prelaunch).await;
    extend(&vmm, 1, LONG, LONG).await.expect("no term is known of it");
    vmm.service().call::<Resume>(Empty {}).await.expect("resumed");
    machine.until_state(MachineState::Running).await;
    vmm.stop().await;
}
