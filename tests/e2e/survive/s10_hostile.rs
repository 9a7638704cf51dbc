//! S10: a hostile client, a member of the group `acp`, takes all it can get from each daemon's socket. Others do not notice.

mod attacks;
mod figures;
mod user;
mod visitors;

use std::{path::PathBuf, thread, time::Duration};

use acp_dev_testkit::wait_for;
use anyhow::{Context as _, Result, anyhow, ensure};

use self::{figures::Figures, visitors::Visitors};
use crate::{harness::Case, world::World};

/// The cases of this line.
pub(crate) const CASES: &[Case] =
    &[Case { name: "survive::s10_a_hostile_client_hurts_nobody_else", run: nobody_else_is_hurt }];

/// The daemons that everybody in the group can reach.
const NOUNS: [&str; 5] = ["framework", "cluster", "storage", "network", "hypervisor"];
/// The user who sits on connections.
const SITTER: u32 = 61_901;
/// The user who does everything else.
const ATTACKER: u32 = 61_902;
/// A user who only asks how the daemons are.
const VISITOR: u32 = 61_903;
/// How long 99 of 100 calls of others may take while debug builds share two processors with the attackers. A daemon that is
/// locked up answers in seconds or not at all.
const OTHERS_P99_MAX: Duration = Duration::from_millis(250);
/// What a daemon may hold more at worst: 16 MiB in messages of the one user who attacks, as much again while a message is
/// read, and what the connections themselves take.
const GROWTH_MAX: u64 = 48 << 20;
/// What may stay when all of them are gone: memory that the allocator keeps for the next time.
const REST_MAX: u64 = 24 << 20;
/// How long the daemons may take to notice that the attackers are gone.
const SETTLE_LIMIT: Duration = Duration::from_secs(15);
/// How many systems come and go for the watchers that never read.
const CHANGES: usize = 5;

fn nobody_else_is_hurt(world: &World) -> Result<()> {
    user::raise_descriptor_limit()?;
    let sockets: Vec<PathBuf> = NOUNS.iter().map(|noun| world.node.socket(noun)).collect();
    let before = Figures::take(world, &NOUNS)?;
    before.forget_peaks()?;
    let (attacked, visits) = thread::scope(|scope| {
        let visitors = Visitors::start(scope, &sockets, &[0, VISITOR]);
        let attacked = attack(world, &sockets);
        (attacked, visitors.finish())
    });
    let peak = Figures::take(world, &NOUNS)?;
    let settled = wait_for("the daemons' figures to come back", SETTLE_LIMIT, || {
        let now = Figures::take(world, &NOUNS).map_err(|error| format!("{error:#}"))?;
        now.check_rest(&before, REST_MAX).map_err(|error| format!("{error:#}"))
    });
    // A run is long; whatever it found is told at once.
    let visited = visits.and_then(|visits| visits.iter().try_for_each(|visit| visit.check(OTHERS_P99_MAX)));
    let checks =
        [attacked, visited, peak.check_same_processes(&before), peak.check_peaks(&before, GROWTH_MAX), settled];
    let wrong: Vec<String> = checks.into_iter().filter_map(Result::err).map(|error| format!("{error:#}")).collect();
    ensure!(wrong.is_empty(), "{}", wrong.join("\n    "));
    Ok(())
}

/// Every attack, while objects come and go.
fn attack(world: &World, sockets: &[PathBuf]) -> Result<()> {
    thread::scope(|scope| {
        let slow = scope.spawn(|| user::run_as(ATTACKER, || attacks::begun_and_never_finished(&sockets[0])));
        let sitting = user::run_as(SITTER, || attacks::sit(sockets))?;
        let deaf = user::run_as(ATTACKER, || attacks::watch_and_never_read(&world.node.socket("cluster")))?;
        let attackers = scope.spawn(|| {
            user::run_as(ATTACKER, || {
                sockets.iter().try_for_each(|socket| {
                    attacks::half_messages(socket).with_context(|| format!("half messages at {}", socket.display()))?;
                    attacks::one_gigabyte(socket).with_context(|| format!("1 GB at {}", socket.display()))?;
                    attacks::calls_ahead(socket).with_context(|| format!("calls ahead at {}", socket.display()))?;
                    attacks::garbage(socket).with_context(|| format!("garbage at {}", socket.display()))?;
                    attacks::descriptors(socket).with_context(|| format!("descriptors at {}", socket.display()))?;
                    attacks::come_and_go(socket).with_context(|| format!("a storm at {}", socket.display()))
                })
            })
        });
        let changed = (0..CHANGES).try_for_each(|number| come_and_go(world, number));
        for thread in [attackers, slow] {
            thread.join().map_err(|_panic| anyhow!("an attacker panicked"))??;
        }
        drop(deaf);
        attacks::still_sits(sitting)?;
        changed
    })
}

/// A system is made and ended.
fn come_and_go(world: &World, number: usize) -> Result<()> {
    let name = format!("s10-{number}");
    world.create(&name)?;
    world.delete(&name)
}
