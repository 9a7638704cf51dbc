//! `acp.network`: a tap is the writing end of a pipe, so that it is seen when its last descriptor is closed.

use acp_io_daemon::Router;
use acp_wire_api::network::{OpenTap, OpenTapReply};

use super::World;

pub(crate) fn router(world: &World) -> Router {
    let mut router = Router::new();
    let w = world.clone();
    router.once_fds::<OpenTap, _, _>(move |call| {
        let world = w.clone();
        async move {
            world.called::<OpenTap>(&call.request.nic.to_string()).await?;
            let (reader, writer) = std::io::pipe().expect("a pipe");
            world.change(|state| state.taps.push(reader));
            let reply = OpenTapReply { link: "tap0".into(), mac: "52:54:00:00:00:01".into(), mtu: 1500 };
            Ok((reply, vec![writer.into()]))
        }
    });
    router
}

impl World {
    /// Whether every tap handed out was closed by everybody.
    pub(crate) fn taps_are_closed(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let state = self.lock();
        state.taps.iter().all(|tap| {
            let mut fds = [PollFd::new(tap, PollFlags::IN)];
            let now = Timespec { tv_sec: 0, tv_nsec: 0 };
            poll(&mut fds, Some(&now)).expect("a pipe can be polled");
            fds[0].revents().contains(PollFlags::HUP)
        })
    }
}
