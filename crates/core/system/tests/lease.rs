//! A system that runs under a lease and loses it again and again.

use acp_base::{BootInstant, Uid};
use acp_core_system::{Durable, Effect, Guest, Input, Origin, Sight, Step, System};
use acp_wire_model::{system::PowerIntent, unit::UnitExit};

/// More often than a guest may end by itself within five minutes.
const TIMES: u64 = 10;

struct World {
    system: System,
    now: u64,
}

impl World {
    fn new() -> Self {
        let durable = Durable { power: PowerIntent::On, made: true, ..Durable::declared() };
        let origin = Origin { durable, task: None, same_boot: true };
        let system = System::new("guest".parse().expect("a name"), Uid::from_u128(1), origin);
        Self { system, now: 0 }
    }

    /// What happens, and whatever follows from steps that all succeed but the taking of a lease.
    fn take(&mut self, input: Input) {
        let mut inputs = vec![input];
        while let Some(input) = inputs.pop() {
            self.now += 1;
            let mut out = Vec::new();
            self.system.step(BootInstant::from_millis(self.now), input, &mut out);
            inputs.extend(out.into_iter().filter_map(|effect| match effect {
                Effect::Perform { step: Step::TakeLease, .. } => None,
                Effect::Perform { step, attempt } => Some(Input::Done { step, attempt, result: Ok(()) }),
                _ => None,
            }));
        }
    }

    fn run(&mut self) {
        if self.system.phase_name() == "leasing" {
            let attempt = (0..).find(|attempt| self.system.awaits(Step::TakeLease, *attempt)).expect("one");
            self.take(Input::Done { step: Step::TakeLease, attempt, result: Ok(()) });
        }
        self.take(Input::Units { qemu: Sight::Alive, vmm: Sight::Alive });
        // One that is found running has begun long ago.
        if self.system.phase_name() != "adopting" {
            self.take(Input::Machine(Guest::Prelaunch));
        }
        self.take(Input::Machine(Guest::Running));
        assert_eq!(self.system.phase_name(), "running");
    }

    fn is_killed(&mut self) {
        let exit = UnitExit { status: None, signal: Some(9), out_of_memory: false, lost: false };
        self.take(Input::Units { qemu: Sight::Ended(exit), vmm: Sight::Alive });
    }
}

#[test]
fn a_lost_lease_is_no_accident_and_the_system_waits_for_another_one() {
    let mut world = World::new();
    for _time in 0..TIMES {
        world.run();
        world.system.lease_lost();
        world.is_killed();
        assert_eq!(world.system.phase_name(), "leasing");
    }
    world.run();
    world.is_killed();
    let reason = world.system.durable().reason.clone();
    assert_eq!((world.system.phase_name(), &*reason), ("backoff", "QEMU was killed: it was ended by signal 9"));
}
