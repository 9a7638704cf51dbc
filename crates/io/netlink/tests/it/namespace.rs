//! A network namespace for one test.

use std::{future::Future, time::Duration};

use acp_dev_wait::{seen, wait_for_async};
use acp_io_netlink::{Link, Netlink};
use nix::sched::{CloneFlags, unshare};

/// How long a condition may take: the kernel acts within milliseconds, a loaded machine may not run us at once.
const WAIT_LIMIT: Duration = Duration::from_secs(5);

/// Runs `test` on a thread that is alone in a fresh network namespace, which ends with it.
pub(crate) fn in_namespace<F: Future<Output = ()>>(test: impl FnOnce(Netlink) -> F + Send + 'static) {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: a network namespace needs root");
        return;
    }
    let body = move || {
        unshare(CloneFlags::CLONE_NEWNET).expect("root may make a network namespace");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let (netlink, driver) = Netlink::open().expect("a netlink socket");
            tokio::select! {
                () = driver.run() => panic!("the driver ended before the test"),
                () = test(netlink) => {}
            }
        });
    };
    std::thread::spawn(body).join().expect("the test failed, see above");
}

/// The link of this name.
pub(crate) async fn link(netlink: &Netlink, name: &str) -> Option<Link> {
    netlink.links().await.expect("links are listed").into_iter().find(|link| link.name == name)
}

/// Waits until the link of this name is as wanted.
pub(crate) async fn wait_link(netlink: &Netlink, name: &str, is_wanted: impl Fn(Option<&Link>) -> bool) {
    let look = async || seen(link(netlink, name).await, |link| is_wanted(link.as_ref()));
    wait_for_async(&format!("link {name}"), WAIT_LIMIT, look).await.expect("the kernel acts");
}
