//! The whole daemon inside a test, among peers that are faked at their sockets.

mod fakes;
mod leases;
mod node;
mod orphans;
mod qemu;

use std::time::Duration;

use acp_base::{ByteSize, Change, Code, Failure};
use acp_wire_api::{
    cluster::{Create, CreateRequest},
    hypervisor::{DeleteSystem, GetNode, ResetSystem, ShutdownSystem, ShutdownSystemRequest, StartSystem, StopSystem},
};
use acp_wire_model::{
    Kind,
    job::JobState,
    system::{ExitReason, PowerIntent, SystemState},
};

use node::{Node, request};

/// How long anything in these tests may take: far more than it takes, so that it only passes when something is broken.
pub(crate) const LIMIT: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_system_is_created_started_stopped_and_deleted() {
    let node = Node::start().await;
    let uid = node.create().await;
    let instance = uid.simple();
    node.wait_for_accelerator().await;
    node.run_job::<StartSystem>(request()).await.expect("it starts");
    let meta = node.wait_for_state(uid, SystemState::Running).await;
    assert_eq!((meta.intent, meta.pid, meta.accelerator.as_deref()), (PowerIntent::On, Some(4711), Some("tcg")));

    let spawned = node.world.lock().spawned.clone();
    let qemu = spawned.iter().find(|request| request.template == "qemu").expect("QEMU was spawned");
    assert_eq!(qemu.fds, ["disk0.0", "disk0.1", "tap0"]);
    assert_eq!(qemu.limits.memory_bytes, Some(ByteSize::mib(256 + 350).0));
    assert!(qemu.arguments.windows(2).any(|pair| pair == ["-name", "demo"]), "{:?}", qemu.arguments);
    assert!(node.call::<StartSystem>(request()).await.expect("no error").job.is_none(), "it runs already");
    node.call::<ResetSystem>(request()).await.expect("a running system can be reset");

    let refused = node.call::<DeleteSystem>(request()).await.expect_err("it runs");
    assert_eq!(refused.code, Code::FailedPrecondition);
    assert!(refused.message.contains("acpctl system stop demo"), "{refused}");

    node.run_job::<StopSystem>(request()).await.expect("it stops");
    let meta = node.wait_for_state(uid, SystemState::Stopped).await;
    assert_eq!((meta.intent, meta.exit), (PowerIntent::Off, Some(ExitReason::Stopped)));
    assert!(node.world.was_called("Quit") && node.world.lock().units.is_empty());
    assert!(node.call::<ResetSystem>(request()).await.is_err());

    node.run_job::<DeleteSystem>(request()).await.expect("it is deleted");
    assert!(node.world.lock().volumes.is_empty(), "its disk is gone");
    assert!(!node.world.lock().objects.contains_key(&uid), "its declaration is gone");
    node.wait("its slot is taken back", |node| !node.world.lock().metas.contains_key(&uid)).await;
    let gone = node.call::<StartSystem>(request()).await.expect_err("it is gone");
    assert_eq!(gone.code, Code::NotFound);
    assert!(!node.has_record(&instance));
}

#[tokio::test]
async fn every_step_that_fails_undoes_the_ones_before_and_says_so() {
    let steps = [
        ("OpenVolume", "its disks cannot be opened: ordered"),
        ("OpenTap", "its network interfaces cannot be opened: ordered"),
        ("SpawnUnit qemu", "QEMU cannot be started: ordered"),
        ("SpawnUnit vmm", "its machine monitor cannot be started: ordered"),
        ("Resume", "its processors cannot be let run: ordered"),
    ];
    let node = Node::start().await;
    let uid = node.create().await;
    for (label, reason) in steps {
        node.world.fail(label, Failure::precondition("ordered"));
        let failure = node.run_job::<StartSystem>(request()).await.expect_err(label);
        assert_eq!(failure.message, reason, "{label}");
        let meta = node.wait_for_meta(uid, |meta| meta.reason == reason && meta.job.is_none()).await;
        assert_eq!(meta.state, SystemState::Stopped, "{label}");
        assert_eq!((meta.intent, meta.exit), (PowerIntent::Off, Some(ExitReason::StartFailed)), "{label}");
        assert!(node.world.lock().units.is_empty(), "{label}: units are left");
        node.wait("descriptors are closed", |node| node.world.taps_are_closed()).await;
        node.world.mend();
    }
    node.run_job::<StartSystem>(request()).await.expect("nothing of it is left behind");
}

#[tokio::test]
async fn a_creation_that_fails_leaves_nothing() {
    let node = Node::start().await;
    node.world.fail("CreateVolume", Failure::new(Code::ResourceExhausted, "the pool is full"));
    let failure = node.try_create().await.expect_err("no disk");
    assert_eq!(
        (failure.code, failure.message.as_str()),
        (Code::ResourceExhausted, "its disks cannot be made: the pool is full")
    );
    assert!(node.world.lock().objects.values().all(|object| object.kind != Kind::System));
    assert!(node.world.was_called("DeleteVolume default/demo"));
    node.world.mend();
    node.create().await;
}

#[tokio::test]
async fn a_creation_that_was_declared_and_not_begun_says_that_something_was_done() {
    let mut node = Node::start().await;
    node.world.hold("Create");
    let ending = async {
        node.wait_until("it is being declared", || node.world.was_called("Create")).await;
        node.end_soon();
        node.world.release();
    };
    let (failure, ()) = tokio::join!(node.call_create(node::create_request()), ending);
    let failure = failure.expect_err("nobody is left to begin it");
    assert_eq!((failure.code, failure.changed), (Code::Unavailable, Change::Partial), "{failure}");
    node.die().await;
    node.revive().await;
    node.wait_until("its disks are made", || node.world.was_called("CreateVolume")).await;
}

#[tokio::test]
async fn a_volume_of_somebody_else_is_not_deleted_with_a_failed_creation() {
    let node = Node::start().await;
    node.world.fail("CreateVolume", Failure::new(Code::AlreadyExists, "it exists with another size"));
    let failure = node.try_create().await.expect_err("the volume is somebody else's");
    assert_eq!(failure.code, Code::AlreadyExists);
    assert!(!node.world.was_called("DeleteVolume"));
}

#[tokio::test]
async fn bad_requests_get_precise_errors_and_change_nothing() {
    let node = Node::start().await;
    let mut create = node::create_request();
    create.image = Some("nothing".parse().expect("a name"));
    let failure = node.call_create(create).await.expect_err("no such image");
    assert_eq!(
        (failure.code, failure.message.as_str()),
        (Code::NotFound, "there is no image \"nothing\"; see: acpctl image list")
    );
    let mut create = node::create_request();
    create.networks = vec!["nowhere".parse().expect("a name")];
    assert_eq!(node.call_create(create).await.expect_err("no such network").code, Code::NotFound);
    let mut create = node::create_request();
    create.disk_bytes = Some(ByteSize::mib(1));
    assert!(node.call_create(create).await.expect_err("too small").message.starts_with("disk_bytes: 1048576 is less"));
    assert!(!node.world.was_called("Create"), "nothing was proposed");

    node.create().await;
    let failure = node.call_create(node::create_request()).await.expect_err("the name is taken");
    assert_eq!(failure.code, Code::AlreadyExists);
    let shutdown = ShutdownSystemRequest { name: node::name(), timeout_ms: Some(4_000_000), force: false };
    let failure = node.call::<ShutdownSystem>(shutdown).await.expect_err("too long");
    assert_eq!(failure.message, "timeout_ms: 4000000 is more than the most, 3600000");
}

#[tokio::test]
async fn a_start_that_lacks_memory_is_refused_and_changes_nothing() {
    let node = Node::start().await;
    let mut create = node::create_request();
    create.memory_bytes = Some(ByteSize::gib(4 << 10));
    let reply = node.call_create(create).await.expect("declared");
    node.wait_for_job(reply.job).await.expect("its disk is made");
    node.wait_for_accelerator().await;
    let failure = node.call::<StartSystem>(request()).await.expect_err("nobody has 4 TiB");
    assert_eq!(failure.code, Code::ResourceExhausted);
    assert!(failure.message.starts_with("system demo: it needs 4"), "{failure}");
    assert!(failure.message.contains("256MiB reserved for the host"), "{failure}");
    let meta = node.wait_for_state(reply.uid, SystemState::Stopped).await;
    assert_eq!(meta.intent, PowerIntent::Off);
    assert!(!node.world.was_called("OpenVolume"));
}

#[tokio::test]
async fn a_start_waits_for_the_disks_to_be_made() {
    let node = Node::start().await;
    node.world.hold("CreateVolume");
    let created = node.call_create(node::create_request()).await.expect("declared");
    let start = node.run_job::<StartSystem>(request());
    let release = async {
        node.wait("the disk is being made", |node| node.world.was_called("CreateVolume")).await;
        node.world.release();
    };
    let (started, ()) = tokio::join!(start, release);
    started.expect("it starts after its disk was made");
    node.wait_for_state(created.uid, SystemState::Running).await;
}

#[tokio::test]
async fn an_interrupted_start_goes_on_to_running() {
    for held in ["OpenTap", "SpawnUnit qemu", "SpawnUnit vmm", "Resume"] {
        let mut node = Node::start().await;
        let uid = node.create().await;
        node.world.hold(held);
        let job = node.call::<StartSystem>(request()).await.expect("it begins").job.expect("a job");
        node.wait("the step is under way", |node| node.world.was_called(held)).await;
        node.die().await;
        node.world.release();
        node.revive().await;
        node.wait_for_job(job).await.unwrap_or_else(|failure| panic!("interrupted in {held}: {failure}"));
        node.wait_for_state(uid, SystemState::Running).await;
        assert_eq!(node.world.lock().units.len(), 2, "one QEMU and one monitor");
    }
}

#[tokio::test]
async fn an_interrupted_creation_goes_on() {
    let mut node = Node::start().await;
    node.world.hold("CreateVolume");
    let created = node.call_create(node::create_request()).await.expect("declared");
    node.wait("the disk is being made", |node| node.world.was_called("CreateVolume")).await;
    node.die().await;
    node.world.release();
    node.revive().await;
    node.wait_for_job(created.job).await.expect("it is made");
    node.wait_for_state(created.uid, SystemState::Stopped).await;
}

#[tokio::test]
async fn a_stop_cancels_a_start() {
    let node = Node::start().await;
    let uid = node.create().await;
    node.world.hold("OpenVolume");
    let start = node.call::<StartSystem>(request()).await.expect("it begins").job.expect("a job");
    node.wait("its tap is open", |node| node.world.was_called("OpenTap")).await;
    let second = node.call::<StartSystem>(request()).await.expect_err("a job is at work");
    assert_eq!(second.code, Code::Conflict);
    node.run_job::<StopSystem>(request()).await.expect("it stops");
    let failure = node.wait_for_job(start).await.expect_err("cancelled");
    assert_eq!(failure.code, Code::Cancelled);
    let meta = node.wait_for_state(uid, SystemState::Stopped).await;
    assert_eq!(meta.intent, PowerIntent::Off);
    node.world.release();
    node.wait("descriptors are closed", |node| node.world.taps_are_closed()).await;
    assert!(!node.world.was_called("SpawnUnit"));
}

#[tokio::test]
async fn cancelling_the_job_of_a_start_undoes_it() {
    let node = Node::start().await;
    let uid = node.create().await;
    node.world.hold("SpawnUnit qemu");
    let start = node.call::<StartSystem>(request()).await.expect("it begins").job.expect("a job");
    node.wait("its monitor runs", |node| node.world.was_called("SpawnUnit qemu")).await;
    node.cancel(start).await;
    node.world.release();
    assert_eq!(node.wait_for_job(start).await.expect_err("cancelled").code, Code::Cancelled);
    assert_eq!(node.job(start).await.state, JobState::Cancelled);
    node.wait_for_state(uid, SystemState::Stopped).await;
    assert!(node.world.lock().units.is_empty());
}

#[tokio::test]
async fn an_interrupted_deletion_goes_on_to_the_end() {
    let mut node = Node::start().await;
    let uid = node.create().await;
    node.world.hold("DeleteVolume");
    let job = node.call::<DeleteSystem>(request()).await.expect("it begins").job.expect("a job");
    node.wait("its disk is being deleted", |node| node.world.was_called("DeleteVolume")).await;
    node.die().await;
    node.world.release();
    node.revive().await;
    node.wait_for_job(job).await.expect("it goes on");
    assert!(node.world.lock().volumes.is_empty() && !node.world.lock().objects.contains_key(&uid));
}

#[tokio::test]
async fn a_deletion_waits_for_a_service_that_is_away() {
    let node = Node::start().await;
    node.create().await;
    node.world.fail("Delete", Failure::unavailable("restarting"));
    let job = node.call::<DeleteSystem>(request()).await.expect("it begins").job.expect("a job");
    node.wait("it was tried", |node| node.world.was_called("DeleteVolume")).await;
    node.world.mend();
    node.wait_for_job(job).await.expect("it is tried again");
}

#[tokio::test]
async fn a_volume_that_is_needed_keeps_its_system() {
    let node = Node::start().await;
    let uid = node.create().await;
    node.world.fail("DeleteVolume", Failure::precondition("volume default/demo is the base of default/copy"));
    let failure = node.run_job::<DeleteSystem>(request()).await.expect_err("refused");
    assert!(failure.message.contains("is the base of"), "{failure}");
    let meta = node.wait_for_state(uid, SystemState::Stopped).await;
    assert!(meta.reason.contains("is the base of"));
    node.world.mend();
    node.run_job::<StartSystem>(request()).await.expect("it is as it was");
}

#[tokio::test]
async fn a_running_guest_is_adopted_and_left_alone() {
    let mut node = Node::start().await;
    let uid = node.create().await;
    node.run_job::<StartSystem>(request()).await.expect("it starts");
    let before = node.world.lock().calls.len();
    node.die().await;
    node.revive().await;
    node.wait_for_state(uid, SystemState::Running).await;
    // Before the monitor has spoken, the start waits for its word; after it there is nothing to do.
    if let Some(job) = node.call::<StartSystem>(request()).await.expect("no error").job {
        node.wait_for_job(job).await.expect("it runs");
    }
    assert!(node.call::<StartSystem>(request()).await.expect("no error").job.is_none());
    let touched = ["Quit", "RemoveUnit", "SpawnUnit", "Resume", "Powerdown"];
    let calls = node.world.lock().calls[before..].to_vec();
    assert!(!calls.iter().any(|call| touched.iter().any(|touch| call.starts_with(touch))), "{calls:?}");
}

#[tokio::test]
async fn a_guest_that_powered_off_stays_off_also_when_nobody_watched() {
    let mut node = Node::start().await;
    let uid = node.create().await;
    for is_away in [false, true] {
        node.run_job::<StartSystem>(request()).await.expect("it starts");
        if is_away {
            node.die().await;
        }
        node.world.end_qemu(&uid.simple(), Some(0), None, true);
        if is_away {
            node.revive().await;
        }
        let meta = node.wait_for_state(uid, SystemState::Stopped).await;
        assert_eq!((meta.intent, meta.exit), (PowerIntent::Off, Some(ExitReason::GuestPoweroff)));
        node.wait("its units are removed", |node| node.world.lock().units.is_empty()).await;
    }
}

#[tokio::test]
async fn a_killed_guest_is_restarted() {
    let node = Node::start().await;
    let uid = node.create().await;
    node.run_job::<StartSystem>(request()).await.expect("it starts");
    node.world.end_qemu(&uid.simple(), None, Some(9), false);
    node.wait("QEMU is spawned again", |node| node.world.count("SpawnUnit qemu") == 2).await;
    let meta = node.wait_for_state(uid, SystemState::Running).await;
    assert_eq!((meta.intent, meta.exit), (PowerIntent::On, Some(ExitReason::Killed)));
}

#[tokio::test]
async fn a_guest_that_does_not_hear_the_power_button_runs_on_or_is_stopped() {
    let node = Node::start().await;
    let uid = node.create().await;
    node.run_job::<StartSystem>(request()).await.expect("it starts");
    let shutdown = |force| ShutdownSystemRequest { name: node::name(), timeout_ms: Some(50), force };
    let failure = node.run_job::<ShutdownSystem>(shutdown(false)).await.expect_err("it does not listen");
    assert_eq!(failure.code, Code::DeadlineExceeded);
    let meta = node.wait_for_state(uid, SystemState::Running).await;
    assert_eq!(meta.intent, PowerIntent::On);
    assert!(node.world.was_called("Powerdown"));
    node.run_job::<ShutdownSystem>(shutdown(true)).await.expect("it is stopped");
    assert_eq!(node.wait_for_state(uid, SystemState::Stopped).await.exit, Some(ExitReason::Stopped));
}

#[tokio::test]
async fn a_shutdown_that_comes_while_the_guest_is_adopted_waits_for_its_monitor() {
    let mut node = Node::start().await;
    let uid = node.create().await;
    node.run_job::<StartSystem>(request()).await.expect("it starts");
    node.die().await;
    node.revive().await;
    let shutdown = ShutdownSystemRequest { name: node::name(), timeout_ms: Some(50), force: true };
    node.run_job::<ShutdownSystem>(shutdown).await.expect("it is not refused");
    assert!(node.world.was_called("Powerdown"));
    assert_eq!(node.wait_for_state(uid, SystemState::Stopped).await.exit, Some(ExitReason::Stopped));
}

#[tokio::test]
async fn an_existing_system_starts_while_the_cluster_database_is_away() {
    let mut node = Node::start().await;
    let uid = node.create().await;
    node.die().await;
    node.world.stop("cluster").await;
    node.revive().await;
    node.run_job::<StartSystem>(request()).await.expect("its spec is known here");
    assert!(node.world.lock().units.contains_key(&format!("qemu@{}", uid.simple())));
    node.run_job::<StopSystem>(request()).await.expect("it stops as well");
    assert!(!node.world.was_called("RenewSession"), "a pinned system asks nobody");
}

#[tokio::test]
async fn a_system_declared_by_hand_gets_its_disks() {
    let node = Node::start().await;
    let uid = acp_io_daemon::new_uid();
    let spec = serde_json::json!({
        "node": "test", "cpus": 1, "memory_bytes": 64 << 20,
        "disks": [{"pool": "default", "volume": "hand", "size_bytes": 1 << 20}],
    });
    let request = CreateRequest { kind: Kind::System, name: "hand".parse().expect("a name"), uid: Some(uid), spec };
    node.client.service("cluster").call::<Create>(request).await.expect("declared");
    node.wait_for_state(uid, SystemState::Stopped).await;
    assert!(node.world.lock().volumes.contains("default/hand"));
}

#[tokio::test]
async fn the_node_says_what_it_can_do() {
    let node = Node::start().await;
    node.wait_for_accelerator().await;
    let reply = node.call::<GetNode>(acp_wire_api::Empty {}).await.expect("an answer");
    assert_eq!(reply.meta.accelerator, "tcg");
    assert!(reply.meta.cpus > 0 && reply.stats.memory_available_bytes > 0, "{reply:?}");
    node.wait("it is published", |node| node.world.lock().metas.contains_key(&acp_base::Uid::from_u128(101))).await;
}
