//! Performs the steps that a system's machine asks for, by calling the other services.
//!
//! Deliberately not here: what a step's end means (the core decides), and which memory is free (the owner knows).

use std::{collections::BTreeMap, os::fd::OwnedFd, time::Duration};

use acp_base::{Code, Failure, Name, Uid};
use acp_core_system::{
    Step,
    command_line::{self, Accelerator, DiskLayer, Machine},
    limits,
};
use acp_io_client::Client;
use acp_io_failpoint::point;
use acp_wire_api::{
    Empty,
    cluster::{Delete, DeleteRequest},
    framework::{self, RemoveUnit, SpawnUnit, SpawnUnitRequest, Unit, UnitRequest},
    network::{OpenTap, OpenTapRequest},
    storage::{CreateVolume, CreateVolumeRequest, DeleteVolume, DeleteVolumeRequest, OpenVolume, VolumeRequest},
    vmm,
};
use acp_wire_model::{Kind, system::SystemSpec};
use futures_util::future::{join, try_join_all};
use tokio::sync::watch;

use crate::{accelerator::Verdict, entry::Standing, lease};

/// How long making or deleting one volume may take: creating a linked clone is a matter of milliseconds, a pool on a slow
/// file system takes longer.
const VOLUME_DEADLINE: Duration = Duration::from_secs(120);

/// How long one unit may take to be removed: longer than the framework waits before it kills.
const REMOVE_DEADLINE: Duration = Duration::from_secs(60);

/// How long the machine monitor may take to press a button.
const BUTTON_DEADLINE: Duration = Duration::from_secs(10);

/// How long a caller waits for a lease: longer than the 8 s after which a node that is gone has lost it.
const LEASE_LIMIT: Duration = Duration::from_secs(12);

/// The template of a system's QEMU.
pub(crate) const QEMU: &str = "qemu";
/// The template of a system's machine monitor.
pub(crate) const VMM: &str = "vmm";

/// The name of a system's unit.
pub(crate) fn unit_name(template: &str, uid: Uid) -> String {
    format!("{template}@{}", uid.simple())
}

/// An opened disk: its chain from the top down with a descriptor each.
#[derive(Debug)]
pub(crate) struct OpenDisk {
    pub(crate) layers: Vec<DiskLayer>,
    pub(crate) fds: Vec<OwnedFd>,
}

/// An opened network interface.
#[derive(Debug)]
pub(crate) struct OpenNic {
    pub(crate) mac: String,
    pub(crate) fd: OwnedFd,
}

/// What QEMU is started with.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) accelerator: Accelerator,
    pub(crate) disks: Vec<OpenDisk>,
    pub(crate) nics: Vec<OpenNic>,
}

/// What a step brought.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Nothing but its success.
    Nothing,
    /// The accelerator is known; the owner goes on to look at the memory.
    Accelerator(Accelerator),
    /// Every disk, in order.
    Disks(Vec<OpenDisk>),
    /// Every interface, in order.
    Nics(Vec<OpenNic>),
    /// The unit that was spawned.
    Spawned(Unit),
    /// Making volumes came to this disk and no further; it and those after it are not the system's own if it was there
    /// before.
    MadeUpTo {
        /// How many disks, from the first, are the system's own.
        own_disks: usize,
        /// Why it ended there.
        failure: Failure,
    },
}

/// Everything a step needs to know about its system.
#[derive(Debug)]
pub(crate) struct Act {
    pub(crate) client: Client,
    pub(crate) uid: Uid,
    pub(crate) name: Name,
    pub(crate) spec: SystemSpec,
    pub(crate) own_disks: usize,
    pub(crate) verdict: watch::Receiver<Option<Verdict>>,
    /// Only for [`Step::SpawnQemu`].
    pub(crate) parts: Option<Parts>,
    /// The lease of a system that runs under one.
    pub(crate) lease: Option<watch::Receiver<Standing>>,
    /// Whether somebody waits for the lease and is told in time that it cannot be had.
    pub(crate) is_awaited: bool,
    /// Whether the machine monitor's unit is there but has ended, so that it must be removed before it is spawned.
    pub(crate) vmm_ended: bool,
}

impl Act {
    /// Performs the step to its end.
    pub(crate) async fn perform(mut self, step: Step) -> Result<Outcome, Failure> {
        match step {
            Step::MakeVolumes => self.make_volumes().await,
            Step::TakeLease => self.take_lease().await,
            Step::CheckLimits => self.accelerator().await,
            Step::OpenVolumes => self.open_volumes().await,
            Step::OpenTaps => self.open_taps().await,
            Step::SpawnQemu => self.spawn_qemu().await,
            Step::SpawnVmm => self.spawn_vmm().await,
            Step::Resume => self.resume().await,
            Step::Powerdown => self.press::<vmm::Powerdown>("hypervisor.shutdown.pressed").await,
            Step::Quit => self.press::<vmm::Quit>("hypervisor.stop.quit").await,
            Step::RemoveUnits => self.remove_units().await,
            Step::DeleteVolumes => self.delete_volumes().await,
            Step::DeleteSpec => self.delete_spec().await,
        }
    }

    /// One after the other, so that it is known which of them are the system's own when one fails.
    async fn make_volumes(&self) -> Result<Outcome, Failure> {
        for (index, disk) in self.spec.disks.iter().enumerate() {
            let request = CreateVolumeRequest {
                pool: disk.pool.clone(),
                volume: disk.volume.clone(),
                size_bytes: Some(disk.size_bytes),
                image: disk.image.clone(),
                format: None,
            };
            let storage = self.client.service("storage").deadline(VOLUME_DEADLINE);
            let made = storage.call::<CreateVolume>(request).await;
            if let Err(failure) = made.and_then(|_made| Ok(point("hypervisor.create.volume-made")?)) {
                let is_foreign = failure.code == Code::AlreadyExists;
                let own_disks = if is_foreign { index } else { index + 1 };
                return Ok(Outcome::MadeUpTo { own_disks, failure });
            }
        }
        Ok(Outcome::Nothing)
    }

    /// Waits for the lease; for somebody not longer than it takes until a node that is gone has lost it.
    async fn take_lease(&mut self) -> Result<Outcome, Failure> {
        let Some(lease) = &mut self.lease else { return Ok(Outcome::Nothing) };
        let has = async |lease: &mut watch::Receiver<Standing>| {
            let granted = lease.wait_for(|standing| standing.deadlines.is_some()).await;
            granted
                .map(|_standing| Outcome::Nothing)
                .map_err(|_closed| Failure::unavailable("the hypervisor is ending"))
        };
        if !self.is_awaited {
            return has(lease).await;
        }
        match tokio::time::timeout(LEASE_LIMIT, has(lease)).await {
            Ok(had) => had,
            Err(_elapsed) => Err(lease::not_had(&lease.borrow().reason)),
        }
    }

    /// The machine monitor knows until when the guest may run before it lets it.
    async fn resume(&self) -> Result<Outcome, Failure> {
        if let Some(lease) = &self.lease {
            let Standing { deadlines, reason } = lease.borrow().clone();
            let deadlines = deadlines.ok_or_else(|| lease::not_had(&reason))?;
            lease::extend(&self.client, self.uid, deadlines).await?;
        }
        self.press::<vmm::Resume>("hypervisor.start.resumed").await
    }

    async fn accelerator(&mut self) -> Result<Outcome, Failure> {
        let decided = self.verdict.wait_for(Option::is_some).await;
        let verdict = decided.map_err(|_closed| Failure::unavailable("the hypervisor is ending"))?;
        let accelerator = verdict.as_ref().map_or(Accelerator::Tcg, |verdict| verdict.accelerator);
        Ok(Outcome::Accelerator(accelerator))
    }

    async fn open_volumes(&self) -> Result<Outcome, Failure> {
        let opening = self.spec.disks.iter().map(|disk| {
            let request = VolumeRequest { pool: disk.pool.clone(), volume: disk.volume.clone() };
            let storage = self.client.service("storage");
            async move {
                let (reply, fds) = storage.call_fds::<OpenVolume>(request, Vec::new()).await?;
                if reply.layers.len() != fds.len() || fds.is_empty() {
                    return Err(Failure::internal("storage answered layers and descriptors that do not match"));
                }
                let layer =
                    |layer: &acp_wire_api::storage::Layer| DiskLayer { format: layer.format, writable: layer.writable };
                Ok(OpenDisk { layers: reply.layers.iter().map(layer).collect(), fds })
            }
        });
        let disks = try_join_all(opening).await?;
        point("hypervisor.start.volumes-opened")?;
        Ok(Outcome::Disks(disks))
    }

    async fn open_taps(&self) -> Result<Outcome, Failure> {
        let opening = (0..self.spec.nics.len()).map(|index| {
            let network = self.client.service("network");
            let nic = u32::try_from(index).unwrap_or(u32::MAX);
            let request = OpenTapRequest { system: self.uid, nic };
            async move {
                let (reply, fds) = network.call_fds::<OpenTap>(request, Vec::new()).await?;
                match <[OwnedFd; 1]>::try_from(fds) {
                    Ok([fd]) => Ok(OpenNic { mac: reply.mac, fd }),
                    Err(fds) => {
                        Err(Failure::internal(format!("network answered {} descriptors for one tap", fds.len())))
                    }
                }
            }
        });
        let nics = try_join_all(opening).await?;
        point("hypervisor.start.taps-opened")?;
        Ok(Outcome::Nics(nics))
    }

    async fn spawn_qemu(&mut self) -> Result<Outcome, Failure> {
        let parts = self.parts.take().ok_or_else(|| Failure::internal("QEMU is spawned without its parts"))?;
        let (request, fds) = self.qemu_request(parts);
        let framework = self.client.service("framework");
        let (reply, _none) = framework.call_fds::<SpawnUnit>(request, fds).await?;
        point("hypervisor.start.qemu-spawned")?;
        Ok(Outcome::Spawned(reply.unit))
    }

    fn qemu_request(&self, parts: Parts) -> (SpawnUnitRequest, Vec<OwnedFd>) {
        let layers: Vec<Vec<DiskLayer>> = parts.disks.iter().map(|disk| disk.layers.clone()).collect();
        let macs: Vec<String> = parts.nics.iter().map(|nic| nic.mac.clone()).collect();
        let machine = Machine {
            name: &self.name,
            uid: self.uid,
            spec: &self.spec,
            accelerator: parts.accelerator,
            disks: &layers,
            macs: &macs,
        };
        let arguments = command_line::arguments(&machine);
        let (mut names, mut fds) = (Vec::new(), Vec::new());
        for (index, disk) in parts.disks.into_iter().enumerate() {
            names.extend((0..disk.fds.len()).map(|layer| command_line::disk_fd(index, layer)));
            fds.extend(disk.fds);
        }
        for (index, nic) in parts.nics.into_iter().enumerate() {
            names.push(command_line::tap_fd(index));
            fds.push(nic.fd);
        }
        let limit = limits::memory_limit(self.spec.memory_bytes, parts.accelerator);
        let request = SpawnUnitRequest {
            template: QEMU.to_owned(),
            instance: self.uid.simple(),
            arguments,
            fds: names,
            environment: BTreeMap::new(),
            limits: framework::Limits { memory_bytes: Some(limit.0), cpu_percent: None, tasks: None },
        };
        (request, fds)
    }

    async fn spawn_vmm(&self) -> Result<Outcome, Failure> {
        if self.vmm_ended {
            self.remove_unit(VMM).await?;
        }
        let request = SpawnUnitRequest {
            template: VMM.to_owned(),
            instance: self.uid.simple(),
            arguments: Vec::new(),
            fds: Vec::new(),
            environment: BTreeMap::new(),
            limits: framework::Limits::default(),
        };
        let reply = self.client.service("framework").call::<SpawnUnit>(request).await?;
        point("hypervisor.start.vmm-spawned")?;
        Ok(Outcome::Spawned(reply.unit))
    }

    async fn press<M: acp_wire_api::Method<Request = Empty>>(&self, done: &'static str) -> Result<Outcome, Failure> {
        let vmm = self.client.instance(VMM, &self.uid.simple()).deadline(BUTTON_DEADLINE);
        vmm.call::<M>(Empty {}).await?;
        point(done)?;
        Ok(Outcome::Nothing)
    }

    async fn remove_units(&self) -> Result<Outcome, Failure> {
        let (qemu, vmm) = join(self.remove_unit(QEMU), self.remove_unit(VMM)).await;
        qemu.and(vmm)?;
        point("hypervisor.remove.units-removed")?;
        Ok(Outcome::Nothing)
    }

    async fn remove_unit(&self, template: &str) -> Result<(), Failure> {
        let framework = self.client.service("framework").deadline(REMOVE_DEADLINE);
        let request = UnitRequest { name: unit_name(template, self.uid) };
        framework.call::<RemoveUnit>(request).await.map(|_removed| ())
    }

    /// The volumes that are the system's own. What is gone already is no error.
    async fn delete_volumes(&self) -> Result<Outcome, Failure> {
        for disk in self.spec.disks.iter().take(self.own_disks) {
            let request = DeleteVolumeRequest { pool: disk.pool.clone(), volume: disk.volume.clone(), if_exists: true };
            let storage = self.client.service("storage").deadline(VOLUME_DEADLINE);
            match storage.call::<DeleteVolume>(request).await {
                Ok(_empty) => {}
                // A pool that is gone has taken its volumes with it.
                Err(failure) if failure.code == Code::NotFound => {}
                Err(failure) => return Err(failure),
            }
            point("hypervisor.delete.volume-deleted")?;
        }
        Ok(Outcome::Nothing)
    }

    async fn delete_spec(&self) -> Result<Outcome, Failure> {
        let request = DeleteRequest { kind: Kind::System, uid: self.uid };
        match self.client.service("cluster").call::<Delete>(request).await {
            Ok(_index) => {
                point("hypervisor.delete.undeclared")?;
                Ok(Outcome::Nothing)
            }
            Err(failure) if failure.code == Code::NotFound => Ok(Outcome::Nothing),
            Err(failure) => Err(failure),
        }
    }
}
