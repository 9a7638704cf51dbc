//! The machine in a small world that fails, forgets and restarts at random: what must hold in every such story.

use std::time::Duration;

use acp_base::{BootInstant, Code, Failure, Uid};
use acp_core_system::{Durable, Effect, Guest, Input, Origin, Report, Sight, Step, System, Task, Verdict};
use acp_wire_model::{
    system::{PowerIntent, SystemState},
    unit::UnitExit,
};
use proptest::prelude::*;

/// How many rounds of perfect weather a story gets to come to rest. The longest wait is a shutdown that is not heard
/// (7 presses) and three restarts.
const ROUNDS_MAX: usize = 60;

#[derive(Clone, Debug)]
enum Event {
    Ask(Task),
    Cancel,
    Answer { which: usize, fails: bool },
    Observe,
    Tick,
    Poweroff,
    Kill,
    KillVmm,
    HypervisorDies { performed: bool },
    SpecDeleted,
}

#[derive(Debug)]
struct Qemu {
    ran: bool,
    acknowledged: bool,
    end: Option<(UnitExit, bool)>,
}

#[derive(Debug)]
struct World {
    system: System,
    saved: Durable,
    open: Option<Task>,
    pending: Vec<(Step, u32)>,
    qemu: Option<Qemu>,
    vmm: bool,
    watched: bool,
    declared: bool,
    forgotten: bool,
    now: BootInstant,
    report: Option<Report>,
}

impl World {
    fn new() -> Self {
        let saved = Durable::declared();
        let mut world = Self {
            system: build(&saved, Some(Task::Create)),
            saved,
            open: Some(Task::Create),
            pending: Vec::new(),
            qemu: None,
            vmm: false,
            watched: false,
            declared: true,
            forgotten: false,
            now: BootInstant::from_millis(1),
            report: None,
        };
        world.observe();
        world
    }

    fn step(&mut self, input: Input) {
        let mut out = Vec::new();
        self.system.step(self.now, input, &mut out);
        for effect in out {
            self.perform(effect);
        }
        if !self.forgotten {
            assert_eq!(self.system.durable(), &self.saved, "what must survive is saved");
        }
        if let Some(qemu) = &mut self.qemu
            && qemu.ran
            && self.report.as_ref().is_some_and(|report| report.state == SystemState::Running)
        {
            qemu.acknowledged = true;
        }
    }

    fn perform(&mut self, effect: Effect) {
        assert!(!self.forgotten, "nothing happens to a system that is gone: {effect:?}");
        match effect {
            Effect::Save(durable) => self.saved = durable,
            Effect::Perform { step, attempt } => {
                assert!(!self.pending.contains(&(step, attempt)), "{step:?} is under way already");
                self.pending.push((step, attempt));
                let spawning = self.pending.iter().any(|(step, _)| matches!(step, Step::SpawnQemu | Step::SpawnVmm));
                let removing = self.pending.iter().any(|(step, _)| *step == Step::RemoveUnits);
                assert!(!(spawning && removing), "units are removed while they are spawned");
            }
            Effect::WatchMachine => self.watched = true,
            Effect::ForgetMachine => self.watched = false,
            Effect::Progress(_) => {}
            Effect::Finish { task, result } => {
                assert_eq!(self.open.take(), Some(task), "finished once, with {result:?}");
            }
            Effect::Report(report) => self.report = Some(report),
            Effect::Forget => self.forgotten = true,
        }
    }

    /// The outer world does what the step says.
    fn act(&mut self, step: Step) -> Result<(), Failure> {
        match step {
            Step::SpawnQemu => {
                assert!(self.qemu.is_none(), "a second QEMU");
                self.qemu = Some(Qemu { ran: false, acknowledged: false, end: None });
            }
            Step::SpawnVmm => self.vmm = true,
            Step::Resume => match &mut self.qemu {
                Some(qemu) if qemu.end.is_none() => qemu.ran = true,
                _ => return Err(Failure::unavailable("no QEMU")),
            },
            Step::Quit => {
                self.must_not_harm();
                self.end(Some(0), None, false);
            }
            Step::RemoveUnits => {
                self.must_not_harm();
                (self.qemu, self.vmm) = (None, false);
            }
            Step::DeleteSpec => self.declared = false,
            Step::MakeVolumes
            | Step::TakeLease
            | Step::CheckLimits
            | Step::OpenVolumes
            | Step::OpenTaps
            | Step::Powerdown => {}
            Step::DeleteVolumes => assert!(self.qemu.is_none(), "disks of a QEMU are deleted"),
        }
        Ok(())
    }

    fn must_not_harm(&self) {
        if let Some(qemu) = &self.qemu {
            let harmed = qemu.acknowledged && qemu.end.is_none() && self.saved.power == PowerIntent::On;
            assert!(!harmed, "a guest that ran and should run is ended: {self:#?}");
        }
    }

    fn end(&mut self, status: Option<i32>, signal: Option<i32>, by_guest: bool) {
        if let Some(qemu) = &mut self.qemu
            && qemu.end.is_none()
        {
            qemu.end = Some((UnitExit { status, signal, out_of_memory: false, lost: false }, by_guest));
        }
    }

    fn answer(&mut self, which: usize, fails: bool) {
        if self.pending.is_empty() {
            return;
        }
        let (step, attempt) = self.pending.remove(which % self.pending.len());
        let result = if fails { Err(Failure::unavailable("the weather")) } else { self.act(step) };
        self.step(Input::Done { step, attempt, result });
    }

    fn observe(&mut self) {
        if self.forgotten {
            return;
        }
        let qemu = match &self.qemu {
            None => Sight::Absent,
            Some(Qemu { end: None, .. }) => Sight::Alive,
            Some(Qemu { end: Some((exit, _)), .. }) => Sight::Ended(exit.clone()),
        };
        let vmm = if self.vmm { Sight::Alive } else { Sight::Absent };
        if self.watched && self.vmm {
            let guest = match &self.qemu {
                None => Guest::Connecting,
                Some(Qemu { end: Some((_, by_guest)), .. }) => Guest::Gone { by_guest: *by_guest },
                Some(Qemu { ran: true, .. }) => Guest::Running,
                Some(_) => Guest::Prelaunch,
            };
            self.step(Input::Machine(guest));
        }
        if !self.forgotten {
            self.step(Input::Units { qemu, vmm });
        }
    }

    fn restart(&mut self, performed: bool) {
        for (step, _) in std::mem::take(&mut self.pending) {
            if performed {
                drop(self.act(step));
            }
        }
        self.watched = false;
        self.system = build(&self.saved, self.open);
        self.saved = self.system.durable().clone();
        self.observe();
    }

    fn happen(&mut self, event: &Event) {
        self.now = self.now + Duration::from_millis(10);
        if self.forgotten {
            return;
        }
        match event {
            Event::Ask(task) => {
                if let Verdict::Begin { cancels } = self.system.admit(*task) {
                    assert!(cancels.is_none() || cancels == self.open);
                    self.ask(*task);
                }
            }
            Event::Cancel => self.step(Input::Cancel),
            Event::Answer { which, fails } => self.answer(*which, *fails),
            Event::Observe => self.observe(),
            Event::Tick => self.tick(),
            Event::Poweroff => self.poweroff(),
            Event::Kill => self.end(None, Some(9), false),
            Event::KillVmm => self.vmm = false,
            Event::HypervisorDies { performed } => self.restart(*performed),
            Event::SpecDeleted => {
                self.declared = false;
                self.step(Input::SpecGone);
            }
        }
    }

    /// The driver ends the task that is replaced before the new one is at work, so the world does the same.
    fn ask(&mut self, task: Task) {
        let mut out = Vec::new();
        self.system.step(self.now, Input::Begin(task), &mut out);
        if let Some(at) =
            out.iter().position(|effect| matches!(effect, Effect::Finish { task: old, .. } if Some(*old) == self.open))
        {
            let cancelled = out.remove(at);
            assert!(
                matches!(&cancelled, Effect::Finish { result: Err(failure), .. } if failure.code == Code::Cancelled)
            );
            self.open = None;
        }
        assert_eq!(self.open, None, "two tasks at work");
        self.open = Some(task);
        out.into_iter().for_each(|effect| self.perform(effect));
    }

    fn poweroff(&mut self) {
        if self.qemu.as_ref().is_some_and(|qemu| qemu.ran) {
            self.end(Some(0), None, true);
        }
    }

    fn tick(&mut self) {
        if let Some(deadline) = self.system.next_deadline() {
            self.now = self.now.max(deadline);
            self.step(Input::Tick);
        }
    }

    /// Perfect weather: everything asked for is done, everything is seen, every wait passes.
    fn calm(&mut self) {
        for _ in 0..ROUNDS_MAX {
            while !self.pending.is_empty() && !self.forgotten {
                self.answer(0, false);
            }
            self.observe();
            if !self.forgotten && self.pending.is_empty() {
                self.tick();
            }
        }
    }

    fn check_rest(&self) {
        assert_eq!(self.open, None, "a task is open: {self:#?}");
        if self.forgotten {
            assert!(self.qemu.is_none(), "a QEMU without a system: {self:#?}");
            return;
        }
        let runs = self.qemu.as_ref().is_some_and(|qemu| qemu.ran && qemu.end.is_none());
        match self.report.as_ref().map(|report| report.state) {
            Some(SystemState::Running) => assert!(runs && self.saved.is_on(), "{self:#?}"),
            Some(SystemState::Stopped) => assert!(self.qemu.is_none() && !self.vmm && !self.saved.is_on(), "{self:#?}"),
            Some(SystemState::Failed) => assert!(self.qemu.is_none() && self.saved.is_on(), "{self:#?}"),
            other => panic!("it does not come to rest: {other:?} {self:#?}"),
        }
    }
}

fn build(saved: &Durable, task: Option<Task>) -> System {
    System::new(
        "demo".parse().expect("a name"),
        Uid::from_u128(7),
        Origin { durable: saved.clone(), task, same_boot: true },
    )
}

fn event() -> impl Strategy<Value = Event> {
    let timeout = Duration::from_secs(60);
    prop_oneof![
        4 => Just(Event::Ask(Task::Start)),
        1 => Just(Event::Ask(Task::Stop)),
        1 => any::<bool>().prop_map(move |force| Event::Ask(Task::Shutdown { timeout, force })),
        1 => Just(Event::Ask(Task::Delete)),
        1 => Just(Event::Cancel),
        12 => (any::<usize>(), prop::bool::weighted(0.1)).prop_map(|(which, fails)| Event::Answer { which, fails }),
        6 => Just(Event::Observe),
        1 => Just(Event::Tick),
        1 => Just(Event::Poweroff),
        1 => Just(Event::Kill),
        1 => Just(Event::KillVmm),
        2 => any::<bool>().prop_map(|performed| Event::HypervisorDies { performed }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn no_story_harms_a_guest_and_every_story_comes_to_rest(events in prop::collection::vec(event(), 0..80)) {
        let mut world = World::new();
        for event in &events {
            world.happen(event);
        }
        world.calm();
        world.check_rest();
    }

    #[test]
    fn a_deleted_declaration_ends_the_system_but_not_its_guest(
        events in prop::collection::vec(event(), 0..40), after in prop::collection::vec(event(), 0..20),
    ) {
        let mut world = World::new();
        for event in &events {
            world.happen(event);
        }
        world.happen(&Event::SpecDeleted);
        for event in &after {
            if !matches!(event, Event::HypervisorDies { .. }) {
                world.happen(event);
            }
        }
        world.calm();
        if !world.forgotten {
            world.poweroff();
            world.calm();
        }
        prop_assert!(world.forgotten, "{world:#?}");
    }
}

#[test]
fn an_undisturbed_system_is_made_started_and_deleted() {
    let mut world = World::new();
    world.calm();
    world.ask(Task::Start);
    world.calm();
    assert_eq!(world.report.as_ref().map(|report| report.state), Some(SystemState::Running));
    assert!(world.qemu.as_ref().is_some_and(|qemu| qemu.acknowledged));
    assert!(
        matches!(world.system.admit(Task::Delete), Verdict::Refuse(failure) if failure.message.contains("acpctl system stop demo"))
    );
    world.ask(Task::Stop);
    world.calm();
    world.ask(Task::Delete);
    world.calm();
    assert!(world.forgotten && !world.declared);
}
