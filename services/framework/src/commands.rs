//! What callers ask of the owner.

use std::{collections::BTreeSet, os::fd::OwnedFd, sync::Arc};

use acp_base::{Code, Failure};
use acp_core_supervise::{Input, Machine, Past};
use acp_io_cgroup::Limits;
use acp_io_daemon::Caller;
use acp_wire_api::framework::SpawnUnitRequest;
use acp_wire_model::unit::UnitState;
use rustix::process::Signal;

use crate::{
    account::Account,
    catalog::UnitName,
    persist::Parameters,
    roles,
    service::Service,
    template::Template,
    unit::{Answer, Goal, Unit, reply},
};

/// Descriptors that may come with a unit, as the interface says.
const FDS_MAX: usize = 64;
/// Arguments of a unit and their bytes, all together: far more than QEMU with 16 disks and 16 interfaces needs.
const ARGUMENTS_MAX: usize = 1024;
const ARGUMENT_BYTES_MAX: usize = 128 * 1024;
/// Units that were made on request: as many as the control groups and processes of one host bear.
const UNITS_MAX: usize = 20_000;

/// What a caller asks for.
#[derive(Debug)]
pub(crate) enum Command {
    /// Start, and answer when it is settled.
    Start(UnitName, Answer),
    /// Stop, and answer when it is gone.
    Stop(UnitName, Answer),
    /// Stop and start, and answer when it is settled.
    Restart(UnitName, Answer),
    /// Make and start, and answer when it runs.
    Spawn(Box<SpawnUnitRequest>, Vec<OwnedFd>, Caller, Answer),
    /// Stop and forget, and answer when it is gone.
    Remove(UnitName, Caller, Answer),
    /// Signal, and answer at once.
    Signal(UnitName, Signal, Caller, Answer),
}

impl Service {
    pub(crate) fn command(&mut self, command: Command) {
        match command {
            Command::Start(name, answer) => self.order(&name, Input::Start, Goal::Settled, answer),
            Command::Stop(name, answer) => self.order(&name, Input::Stop, Goal::Gone, answer),
            Command::Restart(name, answer) => self.order(&name, Input::Restart, Goal::Settled, answer),
            Command::Spawn(request, fds, caller, answer) => self.spawn_unit(*request, fds, &caller, answer),
            Command::Remove(name, caller, answer) => self.remove(&name, &caller, answer),
            Command::Signal(name, signal, caller, answer) => {
                let result = self.signal(&name, signal, &caller);
                reply(answer, result.map(|()| None));
            }
        }
    }

    fn order(&mut self, name: &UnitName, input: Input, goal: Goal, answer: Answer) {
        if self.is_stopping && goal != Goal::Gone {
            return reply(answer, Err(stopping()));
        }
        let Some(unit) = self.units.get_mut(name) else { return reply(answer, Err(unknown(name))) };
        if unit.is_withheld && goal != Goal::Gone {
            return reply(answer, Err(roles::withheld(name)));
        }
        tracing::info!(unit = %name, ?input, "asked for");
        unit.wait(goal, answer);
        self.feed(name, input);
    }

    fn spawn_unit(&mut self, request: SpawnUnitRequest, fds: Vec<OwnedFd>, caller: &Caller, answer: Answer) {
        match self.make(request, fds, caller) {
            Ok(name) => {
                if let Some(unit) = self.units.get_mut(&name) {
                    unit.wait(Goal::Running, answer);
                }
                let is_idle = self.units.get(&name).is_some_and(Unit::is_gone);
                if is_idle {
                    self.feed(&name, Input::Start);
                }
            }
            Err(failure) => reply(answer, Err(failure)),
        }
    }

    /// Makes the unit, or finds it running as asked for.
    fn make(&mut self, request: SpawnUnitRequest, fds: Vec<OwnedFd>, caller: &Caller) -> Result<UnitName, Failure> {
        if self.is_stopping {
            return Err(stopping());
        }
        let template = self.site.catalog.get(&request.template).cloned();
        let template =
            template.ok_or_else(|| Failure::not_found(format!("there is no template {:?}", request.template)))?;
        let name = UnitName::of(&request.template, &request.instance)?;
        may(caller, &template, &name)?;
        self.check_roles(&template)?;
        check(&template, &request, fds.len())?;
        let parameters = Parameters {
            arguments: request.arguments,
            fds: request.fds,
            environment: request.environment,
            limits: request.limits,
        };
        if let Some(present) = self.units.get(&name) {
            match is_as_asked(present, &parameters)? {
                true => return Ok(name),
                false => self.forget(&name),
            }
        }
        if self.units.len() >= UNITS_MAX {
            return Err(Failure::new(Code::ResourceExhausted, format!("this node has {UNITS_MAX} units already")));
        }
        let account = self.account(&template, &name)?;
        let machine = Machine::with_past(template.policy(), Past::default());
        let group = self.site.cgroups.group(&name.to_string());
        let mut unit = Unit::new(name.clone(), template, Self::new_uid(), account, group, machine, self.site.node());
        (unit.parameters, unit.given) = (parameters, fds);
        tracing::info!(unit = %name, by = caller.actor(), "unit made");
        // What was left of an earlier one is this one's from now on.
        self.unerased.retain(|left| left.name != name);
        self.units.insert(name.clone(), unit);
        // Whatever is made for it is found by its record, also by a later framework.
        if let Err(error) = self.record(&name) {
            self.forget(&name);
            return Err(Failure::unavailable(format!("{name} cannot be recorded: {error}")));
        }
        Ok(name)
    }

    /// Who a unit runs as. A system's user may be taken from one that was not run for long; its files go with it.
    pub(crate) fn account(&mut self, template: &Template, name: &UnitName) -> Result<Account, Failure> {
        if template.user != "system" {
            let account = self.site.accounts.named(&template.user);
            return account.ok_or_else(|| Failure::internal(format!("{name}: unknown user {}", template.user)));
        }
        let system = name.instance.as_deref().unwrap_or_default();
        let busy: BTreeSet<&str> = self.units.keys().filter_map(|unit| unit.instance.as_deref()).collect();
        let assigned = self.users.assign(system, |system| busy.contains(system));
        let assigned =
            assigned.map_err(|error| Failure::unavailable(format!("the table of systems' users: {error}")))?;
        let assigned = assigned.ok_or_else(|| {
            Failure::new(Code::ResourceExhausted, "every user for systems is in use: stop a system first".to_owned())
        })?;
        if let Some(evicted) = &assigned.evicted {
            self.remove_state(name, evicted);
        }
        Ok(self.site.accounts.system(assigned.number))
    }

    /// Removes what a system left in the state directories of its templates, before its user becomes another's.
    fn remove_state(&self, name: &UnitName, evicted: &str) {
        let path = self.site.paths.state_root.join(&name.template).join(evicted);
        match std::fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::error!(path = %path.display(), %error, "the state of a system without a user was not removed");
            }
            Ok(()) | Err(_) => tracing::info!(system = evicted, "a system's user was given to another one"),
        }
    }

    fn remove(&mut self, name: &UnitName, caller: &Caller, answer: Answer) {
        let Some(template) = self.site.catalog.get(&name.template) else { return reply(answer, Ok(None)) };
        if let Err(failure) = may(caller, template, name) {
            return reply(answer, Err(failure));
        }
        let Some(unit) = self.units.get_mut(name) else { return reply(answer, Ok(None)) };
        unit.wait(Goal::Removed, answer);
        // One that failed stays failed, for whoever reads the answer.
        if !unit.is_gone() {
            self.feed(name, Input::Stop);
        }
    }

    fn signal(&self, name: &UnitName, signal: Signal, caller: &Caller) -> Result<(), Failure> {
        let unit = self.units.get(name).ok_or_else(|| unknown(name))?;
        may(caller, &unit.template, name)?;
        let main = unit.main.as_ref().filter(|_main| unit.machine.has_process());
        let main = main.ok_or_else(|| Failure::precondition(format!("{name} has no process")))?;
        main.signal(signal).map_err(|error| Failure::internal(format!("{name} cannot be signalled: {error}")))
    }

    /// The tighter one of template and request.
    pub(crate) fn limits(&self, name: &UnitName) -> Limits {
        let Some(unit) = self.units.get(name) else { return Limits::default() };
        let (base, asked) = (unit.template.limits, &unit.parameters.limits);
        Limits {
            memory_bytes: tighter(base.memory_bytes, asked.memory_bytes),
            cpu_percent: tighter(base.cpu_percent, asked.cpu_percent),
            cpu_weight: base.cpu_weight,
            tasks: tighter(base.tasks, asked.tasks),
        }
    }
}

fn tighter<T: Ord>(one: Option<T>, other: Option<T>) -> Option<T> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

fn unknown(name: &UnitName) -> Failure {
    Failure::not_found(format!("there is no unit {name}; `acpctl service list` shows all"))
}

fn stopping() -> Failure {
    Failure::unavailable("the node is stopping")
}

/// Whether the caller may make, remove and signal units of this template.
fn may(caller: &Caller, template: &Arc<Template>, name: &UnitName) -> Result<(), Failure> {
    if template.boot {
        return Err(Failure::invalid(format!("{name} is started with the framework and not made on request")));
    }
    let is_owner = caller.daemon().is_some_and(|noun| template.owners.iter().any(|owner| owner == noun));
    if caller.uid == 0 || is_owner {
        return Ok(());
    }
    let text = format!("{} is no owner of {name}; {} may do this", caller.actor(), template.owners.join(", "));
    Err(Failure::new(Code::PermissionDenied, text))
}

/// Whether the unit already is what was asked for; if not, whether it may be replaced.
fn is_as_asked(unit: &Unit, parameters: &Parameters) -> Result<bool, Failure> {
    if unit.is_gone() {
        return Ok(false);
    }
    if unit.machine.state() == UnitState::Stopping && !unit.machine.is_wanted() {
        return Err(Failure::new(Code::Conflict, format!("{} is being stopped; try again when it is gone", unit.name)));
    }
    if unit.parameters != *parameters {
        return Err(Failure::new(
            Code::AlreadyExists,
            format!("{} runs with other parameters; remove it first", unit.name),
        ));
    }
    Ok(true)
}

fn check(template: &Template, request: &SpawnUnitRequest, fds: usize) -> Result<(), Failure> {
    let refuse = |text: String| Err(Failure::invalid(text));
    if !template.accepts_arguments && !request.arguments.is_empty() {
        return refuse(format!("arguments: {} takes none", request.template));
    }
    let bytes: usize = request.arguments.iter().map(String::len).sum();
    if request.arguments.len() > ARGUMENTS_MAX || bytes > ARGUMENT_BYTES_MAX {
        return refuse(format!("arguments: at most {ARGUMENTS_MAX} with {ARGUMENT_BYTES_MAX} bytes"));
    }
    if request.arguments.iter().any(|argument| argument.contains('\0')) {
        return refuse("arguments: none can hold a NUL".to_owned());
    }
    if !template.accepts_fds && fds > 0 {
        return refuse(format!("fds: {} takes none", request.template));
    }
    if request.fds.len() != fds || fds > FDS_MAX {
        return refuse(format!("fds: {} names for {fds} descriptors; at most {FDS_MAX}", request.fds.len()));
    }
    check_fd_names(template, &request.fds)?;
    for name in request.environment.keys() {
        let is_good = name.strip_prefix("ACP_").is_some_and(|rest| {
            !rest.is_empty() && rest.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
        });
        if !is_good || RESERVED.contains(&name.as_str()) {
            return refuse(format!(
                "environment: {name:?} cannot be set; keys begin with ACP_ and are not the framework's own"
            ));
        }
    }
    if request.environment.values().any(|value| value.contains('\0')) {
        return refuse("environment: no value can hold a NUL".to_owned());
    }
    if request.limits.memory_bytes == Some(0)
        || request.limits.cpu_percent == Some(0)
        || request.limits.tasks == Some(0)
    {
        return refuse("limits: with nothing at all no process runs".to_owned());
    }
    Ok(())
}

/// Variables that say who and where a unit is.
const RESERVED: [&str; 10] = [
    "ACP_NODE",
    "ACP_RUN_DIR",
    "ACP_STATE_DIR",
    "ACP_LOG_DIR",
    "ACP_CONFIG_DIR",
    "ACP_BIN_DIR",
    "ACP_IDENTITIES",
    "ACP_INSTANCE",
    "ACP_LOG",
    "ACP_LOG_FORMAT",
];

fn check_fd_names(template: &Template, names: &[String]) -> Result<(), Failure> {
    let taken = template.sockets.iter().map(|socket| &socket.name).chain(template.logs.iter().map(|log| &log.name));
    let mut seen: BTreeSet<&String> = taken.collect();
    for name in names {
        let is_good =
            !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
        if !is_good || !seen.insert(name) {
            return Err(Failure::invalid(format!("fds: {name:?} is no name, or there are two of it")));
        }
    }
    Ok(())
}

/// Reads the name of a signal that may be sent on request.
pub(crate) fn parse_signal(text: &str) -> Result<Signal, Failure> {
    match text {
        "HUP" => Ok(Signal::HUP),
        "USR1" => Ok(Signal::USR1),
        "USR2" => Ok(Signal::USR2),
        _ => Err(Failure::invalid(format!("signal: {text:?} is none of HUP, USR1, USR2"))),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use acp_wire_api::framework;

    use super::*;
    use crate::{catalog::Catalog, config::Config};

    fn request(template: &str) -> SpawnUnitRequest {
        SpawnUnitRequest {
            template: template.into(),
            instance: "x".into(),
            arguments: Vec::new(),
            fds: Vec::new(),
            environment: BTreeMap::new(),
            limits: framework::Limits::default(),
        }
    }

    fn refused(request: &SpawnUnitRequest, fds: usize) -> String {
        let catalog = Catalog::new(&Config::default()).expect("the shipped one is good");
        let template = catalog.get(&request.template).expect("it is shipped");
        check(template, request, fds).map(|()| String::new()).unwrap_or_else(|failure| failure.message)
    }

    #[test]
    fn requests_are_checked_against_their_template() {
        assert_eq!(refused(&request("vmm"), 0), "");
        assert_eq!(
            refused(&SpawnUnitRequest { arguments: vec!["x".into()], ..request("vmm") }, 0),
            "arguments: vmm takes none"
        );
        assert_eq!(refused(&SpawnUnitRequest { fds: vec!["a".into()], ..request("vmm") }, 1), "fds: vmm takes none");
        let good = SpawnUnitRequest { fds: vec!["tap0".into()], arguments: vec!["-x".into()], ..request("qemu") };
        assert_eq!(refused(&good, 1), "");
        assert!(refused(&good, 2).starts_with("fds: 1 names for 2 descriptors"));
        for name in ["qmp", "", "a b", "consolelog"] {
            let bad = SpawnUnitRequest { fds: vec![name.into()], ..request("qemu") };
            assert!(refused(&bad, 1).starts_with("fds: "), "{name:?}");
        }
        for name in ["PATH", "ACP_RUN_DIR", "ACP_", "ACP_a", "LD_PRELOAD"] {
            let bad = SpawnUnitRequest { environment: BTreeMap::from([(name.into(), "x".into())]), ..request("vmm") };
            assert!(refused(&bad, 0).starts_with("environment: "), "{name:?}");
        }
        let limits = framework::Limits { memory_bytes: Some(0), ..framework::Limits::default() };
        assert!(refused(&SpawnUnitRequest { limits, ..request("vmm") }, 0).starts_with("limits: "));
    }

    #[test]
    fn limits_only_get_tighter() {
        assert_eq!(tighter(Some(5), Some(3)), Some(3));
        assert_eq!(tighter(Some(5), Some(7)), Some(5));
        assert_eq!(tighter(None, Some(7)), Some(7));
        assert_eq!(tighter::<u32>(None, None), None);
    }
}
