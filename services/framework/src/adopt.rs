//! The start of the framework: what runs is taken over, what shall run is started.

use std::{io, sync::Arc};

use acp_base::Uid;
use acp_core_supervise::{Input, Machine, Past};
use acp_io_failpoint::point;
use acp_io_unit::{Process, is_bound_to, record::Started};

use crate::{
    account::Account,
    catalog::UnitName,
    error::chain,
    persist::UnitRecord,
    places::FIRST_FD,
    prepare::{bind_listeners, place_socket},
    service::Service,
    template::{Pass, Readiness, Template},
    unit::Unit,
};

impl Service {
    /// Takes over the units of an earlier framework and starts those that are started with every framework.
    pub(crate) fn adopt(&mut self) -> io::Result<()> {
        let records = self.records.load()?;
        for record in &records {
            acp_io_unit::record::check(&self.site.records(&record.name))?;
        }
        for record in records {
            if record.boot_id == self.site.boot_id {
                self.adopt_unit(record);
                point("framework.adopt.unit-adopted")?;
            } else if let Err(error) = self.records.remove(&record.name) {
                tracing::warn!(unit = record.name, %error, "the record of a unit of an earlier boot was not removed");
            }
        }
        let boot: Vec<(String, Arc<Template>)> =
            self.site.catalog.boot().map(|(name, template)| (name.to_owned(), Arc::clone(template))).collect();
        for (name, template) in &boot {
            let name = UnitName { template: name.clone(), instance: None };
            if !self.units.contains_key(&name) {
                self.add(name.clone(), Arc::clone(template), None, Past::default());
                self.feed(&name, Input::Start);
            }
        }
        self.follow_roles();
        // Every socket is there before the first daemon runs, so that early calls wait instead of failing.
        for unit in self.units.values_mut().filter(|unit| unit.template.boot && !unit.is_withheld) {
            if let Err(error) = bind_listeners(&self.site, unit) {
                tracing::error!(unit = %unit.name, error = chain(&error), "a socket cannot be bound; it is tried again at the unit's start");
            }
        }
        Ok(())
    }

    fn adopt_unit(&mut self, record: UnitRecord) {
        let found = record.name.parse::<UnitName>().ok().and_then(|name| {
            let template = self.site.catalog.get(&name.template)?;
            (template.boot == name.instance.is_none()).then(|| (name, Arc::clone(template)))
        });
        let Some((name, template)) = found else {
            tracing::error!(
                unit = record.name,
                "a unit's template is gone from the configuration; whatever runs is left alone"
            );
            return;
        };
        let past = Past { restarts: record.restarts, exit: record.exit.clone(), failed: record.failed.clone() };
        if !self.add(name.clone(), template, Some(record.uid), past) {
            return;
        }
        if let Some(unit) = self.units.get_mut(&name) {
            unit.parameters = record.parameters.clone();
            unit.node = record.node.clone().unwrap_or_else(|| self.part.configured().clone());
            unit.is_withheld = record.withheld;
            unit.resume(record.since_ms);
        }
        let was_started = record.exit.is_some() || record.failed.is_some();
        if record.has_process {
            self.adopt_process(&name, &record);
        } else if record.wanted {
            self.feed(&name, Input::Start);
        } else if name.instance.is_some() && !was_started {
            // The last framework ended while it made the unit. Its owner was not answered and asks again.
            self.forget(&name);
        }
    }

    /// Adds a unit without a process; answers whether that worked.
    fn add(&mut self, name: UnitName, template: Arc<Template>, uid: Option<Uid>, past: Past) -> bool {
        let account: Account = match self.account(&template, &name) {
            Ok(account) => account,
            Err(failure) => {
                tracing::error!(unit = %name, %failure, "a unit has no user");
                return false;
            }
        };
        let group = self.site.cgroups.group(&name.to_string());
        let machine = Machine::with_past(template.policy(), past);
        let unit = Unit::new(
            name.clone(),
            template,
            uid.unwrap_or_else(Self::new_uid),
            account,
            group,
            machine,
            self.site.node(),
        );
        self.units.insert(name, unit);
        true
    }

    /// Takes over the unit's process, or finds out how it ended meanwhile.
    fn adopt_process(&mut self, name: &UnitName, record: &UnitRecord) {
        let records = self.site.records(&name.to_string());
        let started = Started::read(&records).filter(|started| started.boot == self.site.boot_id);
        let main = started.as_ref().and_then(|started| open(name, started.pid, started.start));
        let shim = started.as_ref().and_then(|started| open(name, started.shim_pid, started.shim_start));
        let Some(unit) = self.units.get_mut(name) else { return };
        self.generations += 1;
        unit.generation = self.generations;
        let main = main.map(Arc::new);
        unit.main.clone_from(&main);
        if let Some(main) = &main {
            retake_listeners(&self.site, unit, main);
        }
        // One that is ready by being there says nothing more, whenever the last framework ended.
        let is_there = main.is_some() && unit.template.readiness == Readiness::Exec;
        self.feed(name, Input::Adopted { ready: record.ready || is_there });
        match main {
            Some(main) => {
                tracing::info!(unit = %name, pid = main.pid(), "unit adopted");
                if let Some(unit) = self.units.get_mut(name).filter(|_unit| record.ready) {
                    unit.resume(record.since_ms);
                }
                let is_watched = shim.is_some();
                if let Some(job) = self.job(name) {
                    self.tasks.spawn("unit", job.watch(main, shim));
                }
                if !is_watched {
                    self.feed(name, Input::ShimLost);
                }
                if !record.wanted {
                    self.feed(name, Input::Stop);
                }
            }
            None => {
                if let Some(job) = self.job(name) {
                    self.tasks.spawn("unit", job.conclude(started, shim));
                }
                if !record.wanted {
                    self.feed(name, Input::Stop);
                }
            }
        }
    }
}

fn open(name: &UnitName, pid: u32, start: u64) -> Option<Process> {
    Process::open(pid, start).unwrap_or_else(|error| {
        tracing::error!(unit = %name, pid, %error, "a process cannot be watched");
        None
    })
}

/// Takes duplicates of the listening sockets that the running process inherited, so that its successor has the same ones and
/// no call is lost. What cannot be taken is bound anew when the unit starts again.
fn retake_listeners(site: &crate::site::Site, unit: &mut Unit, main: &Process) {
    let listening = unit.template.sockets.iter().filter(|socket| socket.pass == Pass::Listen);
    for (number, socket) in (FIRST_FD..).zip(listening) {
        let taken = i32::try_from(number).map_err(io::Error::other).and_then(|number| main.descriptor(number));
        let place = place_socket(site, unit.account, unit.name.instance.as_deref(), socket);
        match (taken, place) {
            (Ok(listener), Ok((path, _ownership))) if is_bound_to(&listener, &path) => {
                unit.listeners.insert(socket.name.clone(), listener);
            }
            (taken, _place) => {
                let error = taken.err().map_or("it is another one".to_owned(), |error| error.to_string());
                tracing::warn!(unit = %unit.name, socket = socket.name, error, "a socket was not taken over");
            }
        }
    }
}
