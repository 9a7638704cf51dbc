//! What holds after any sequence of events.

use std::time::Duration;

use acp_base::BootInstant;
use acp_core_supervise::{ENDS_MAX, ENDS_WINDOW, Input, Machine, Output, Policy, Readiness, Restart};
use acp_wire_model::unit::{UnitExit, UnitState};
use proptest::prelude::*;

/// What happens to a unit from outside; the world below turns it into inputs that are possible at that moment.
#[derive(Clone, Debug)]
enum Event {
    Start,
    Stop,
    Restart,
    SpawnAnswer { works: bool },
    Ready,
    Ping,
    Die { status: i32 },
    ShimDies,
    Wait { millis: u64 },
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        1 => Just(Event::Start),
        1 => Just(Event::Stop),
        1 => Just(Event::Restart),
        4 => any::<bool>().prop_map(|works| Event::SpawnAnswer { works }),
        3 => Just(Event::Ready),
        2 => Just(Event::Ping),
        4 => prop_oneof![Just(0), Just(1), Just(64), Just(75), Just(78)].prop_map(|status| Event::Die { status }),
        1 => Just(Event::ShimDies),
        6 => (0_u64..20_000).prop_map(|millis| Event::Wait { millis }),
    ]
}

fn policy() -> impl Strategy<Value = Policy> {
    let restart = prop_oneof![Just(Restart::Always), Just(Restart::OnFailure), Just(Restart::Never)];
    let readiness = prop_oneof![Just(Readiness::Notify), Just(Readiness::Exec)];
    (restart, readiness, prop::option::of(Just(Duration::from_secs(15)))).prop_map(|(restart, readiness, watchdog)| {
        Policy {
            restart,
            readiness,
            start_timeout: Duration::from_secs(30),
            stop_timeout: Duration::from_secs(10),
            watchdog,
        }
    })
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum World {
    Nothing,
    Spawning,
    Running,
}

struct Run {
    machine: Machine,
    world: World,
    now: BootInstant,
    killed: bool,
    spawns: Vec<BootInstant>,
}

impl Run {
    fn new(policy: Policy) -> Self {
        Self {
            machine: Machine::new(policy),
            world: World::Nothing,
            now: BootInstant::from_millis(1),
            killed: false,
            spawns: Vec::new(),
        }
    }

    fn feed(&mut self, input: Input) {
        let mut out = Vec::new();
        self.machine.step(self.now, input, &mut out);
        for output in out {
            match output {
                Output::Spawn => {
                    assert_eq!(self.world, World::Nothing, "a second process");
                    self.world = World::Spawning;
                    self.spawns.push(self.now);
                }
                Output::Kill => self.killed = self.world != World::Nothing,
                Output::Terminate => assert_eq!(self.world, World::Running, "nobody is there to be asked"),
                Output::Changed => {}
            }
        }
        assert_eq!(self.machine.has_process(), self.world != World::Nothing);
        if self.machine.state() == UnitState::Waiting {
            self.feed(Input::DependenciesReady);
        }
    }

    fn die(&mut self, status: i32) {
        self.world = World::Nothing;
        let exit = if std::mem::take(&mut self.killed) { (None, Some(9)) } else { (Some(status), None) };
        self.feed(Input::Exited(UnitExit { status: exit.0, signal: exit.1, out_of_memory: false, lost: false }));
    }

    fn answer(&mut self, works: bool) {
        self.world = if works { World::Running } else { World::Nothing };
        self.feed(if works { Input::SpawnDone } else { Input::SpawnFailed("no".into()) });
    }

    fn wait(&mut self, millis: u64) {
        let until = self.now + Duration::from_millis(millis);
        while let Some(due) = self.machine.next_deadline().filter(|due| *due <= until) {
            self.now = due.max(self.now);
            self.feed(Input::Tick);
            if self.killed && self.world == World::Running {
                self.die(0);
            }
        }
        self.now = until;
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Start => self.feed(Input::Start),
            Event::Stop => self.feed(Input::Stop),
            Event::Restart => self.feed(Input::Restart),
            Event::SpawnAnswer { works } if self.world == World::Spawning => self.answer(works),
            Event::Ready if self.world == World::Running => self.feed(Input::Ready),
            Event::Ping if self.world == World::Running => self.feed(Input::WatchdogPing),
            Event::Die { status } if self.world == World::Running => self.die(status),
            Event::ShimDies if self.world == World::Running => self.feed(Input::ShimLost),
            Event::Wait { millis } => self.wait(millis),
            Event::SpawnAnswer { .. } | Event::Ready | Event::Ping | Event::Die { .. } | Event::ShimDies => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn there_are_never_two_processes_and_stop_always_stops(policy in policy(), events in prop::collection::vec(event(), 0..80)) {
        let mut run = Run::new(policy);
        for event in events {
            run.apply(event);
        }
        run.feed(Input::Stop);
        if run.world == World::Spawning {
            run.answer(true);
        }
        run.wait(60_000);
        prop_assert_eq!(run.machine.state(), UnitState::Stopped);
        prop_assert_eq!(run.world, World::Nothing);
        prop_assert_eq!(run.machine.next_deadline(), None);
    }

    #[test]
    fn restarts_are_bounded_without_an_operator(policy in policy(), lives in prop::collection::vec(0_u64..5_000, 1..60)) {
        let mut run = Run::new(policy);
        run.feed(Input::Start);
        for life in lives {
            if run.world == World::Spawning {
                run.answer(true);
            }
            run.wait(life);
            if run.world == World::Running {
                run.die(1);
            }
            run.wait(10_000);
        }
        for (index, first) in run.spawns.iter().enumerate() {
            let within = run.spawns[index..].iter().filter(|spawn| spawn.since(*first) < ENDS_WINDOW).count();
            prop_assert!(within <= ENDS_MAX, "{within} spawns within {ENDS_WINDOW:?}");
        }
    }
}
