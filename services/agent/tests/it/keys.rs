//! Keys and users that may not, and keys that end while they are used.

use std::time::Duration;

use acp_base::Code;
use acp_io_daemon::wall_now;
use acp_wire_api::{Scope, agent as api};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::world::{LIMIT, cluster, wanted};

#[tokio::test]
async fn unknown_expired_and_weak_keys_are_refused() {
    let (n1, others) = cluster(&["n2"]).await;
    let n2 = &others[0];
    let over = n1.hub.key("over", Scope::Admin, Some(wall_now().0 - 1));
    let weak = n1.hub.key("weak", Scope::Operate, None);
    n1.knows(&n1.hub).await;
    n2.knows(&n1.hub).await;
    let unknown = format!("acpk.{}", "a".repeat(64));
    for (key, what) in [(&over, "has expired"), (&unknown, "not one of"), (&"acpk.x".to_owned(), "is none")] {
        let denied = n1.open(wanted("network", Some(n2), Some(key))).await.expect_err(what);
        assert!(denied.code == Code::PermissionDenied && denied.message.contains(what), "{denied}");
        let asked = api::AuthenticateRequest { key: key.clone() };
        assert_eq!(n1.agent().call::<api::Authenticate>(asked).await.expect_err(what).code, Code::PermissionDenied);
    }
    let denied = n1.delete(n2, &weak, "a").await.expect_err("it may not write");
    assert!(denied.code == Code::PermissionDenied && denied.message.contains("key weak"), "{denied}");
    assert_eq!(n2.service.begun.load(std::sync::atomic::Ordering::SeqCst), 0);
    let asked = api::AuthenticateRequest { key: weak };
    let whose = n1.agent().call::<api::Authenticate>(asked).await.expect("a key").principal;
    assert_eq!((whose.name.as_deref(), whose.scope, whose.via), (Some("weak"), Some(Scope::Operate), None));
}

#[tokio::test]
async fn what_a_revoked_or_expired_key_has_opened_is_cut() {
    let (n1, others) = cluster(&["n2"]).await;
    let n2 = &others[0];
    let revoked = n1.hub.key("revoked", Scope::Admin, None);
    let kept = n1.hub.key("kept", Scope::Admin, None);
    let brief = n1.hub.key("brief", Scope::Admin, Some(wall_now().0 + 3_000));
    n1.knows(&n1.hub).await;
    n2.knows(&n1.hub).await;
    let mut open = Vec::new();
    for key in [&revoked, &brief, &kept] {
        open.push(n1.open(wanted("network", Some(n2), Some(key))).await.expect("opened").1);
    }
    n1.hub.revoke_key("revoked");
    for cut in &mut open[..2] {
        let read = tokio::time::timeout(LIMIT, cut.read(&mut [0; 1])).await.expect("it is cut");
        assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    }
    let quiet = tokio::time::timeout(Duration::from_millis(50), open[2].read(&mut [0; 1])).await;
    quiet.expect_err("the other key's goes on");
    open[2].write_all(b"{\"method\":\"org.varlink.service.GetInfo\"}\0").await.expect("sent");
    assert_eq!(open[2].read(&mut [0; 1]).await.expect("answered"), 1);
    n1.open(wanted("network", Some(n2), Some(&revoked))).await.expect_err("revoked");
}

/// Somebody who may open the agent's socket and is neither root nor one of our daemons.
#[tokio::test]
async fn a_user_without_a_key_does_not_get_the_nodes_rights() {
    use std::os::unix::fs::PermissionsExt as _;
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: another user's id needs root");
        return;
    }
    let (n1, others) = cluster(&["n2"]).await;
    let path = n1.directory.path().join("agent.sock");
    std::fs::set_permissions(n1.directory.path(), std::fs::Permissions::from_mode(0o755)).expect("ours");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).expect("ours");
    // The user id of one thread alone, which ends with it.
    let connecting = std::thread::spawn(move || {
        let nobody = rustix::process::Uid::from_raw(54_321);
        rustix::thread::set_thread_res_uid(nobody, nobody, nobody).expect("root may");
        std::os::unix::net::UnixStream::connect(path).expect("the socket is open")
    });
    let stream = connecting.join().expect("connected");
    stream.set_nonblocking(true).expect("set");
    let mut stream = tokio::net::UnixStream::from_std(stream).expect("a stream");
    let call = serde_json::json!({
        "method": "acp.agent.Open",
        "parameters": { "service": "network", "node": others[0].name },
        "upgrade": true,
    });
    stream.write_all(format!("{call}\0").as_bytes()).await.expect("sent");
    let mut answer = vec![0; 4_096];
    let length = tokio::time::timeout(LIMIT, stream.read(&mut answer)).await.expect("in time").expect("answered");
    let answer = String::from_utf8_lossy(&answer[..length]);
    assert!(answer.contains("acp.error.PermissionDenied") && answer.contains("without a key"), "{answer}");
}
