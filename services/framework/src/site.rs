//! What all units have in common: the host, the places, the accounts.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use acp_base::Name;
use acp_io_cgroup::Cgroups;
use acp_io_daemon::{Context, Fatal, Paths};
use acp_io_unit::{Ownership, ensure_directory, procfs};
use acp_wire_api::framework::Host;
use rustix::fs::{FlockOperation, flock};

use crate::{
    account::{Account, Accounts},
    catalog::{Catalog, OWN_GROUP},
    config::Config,
    error::chain,
};

/// The socket for what units say of themselves, in the run directory.
const NOTIFY_SOCKET: &str = "notify";

/// The file that one framework at a time holds locked, in the run directory.
const LOCK: &str = "framework.lock";

/// What all units have in common.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) catalog: Catalog,
    pub(crate) accounts: Accounts,
    pub(crate) cgroups: Cgroups,
    pub(crate) paths: Paths,
    /// This node's name, which its cluster may change.
    node: RwLock<Name>,
    /// What the host lacks, in a sentence.
    pub(crate) lacks: Option<String>,
    pub(crate) boot_id: String,
    pub(crate) log_bytes_max: u64,
    pub(crate) log_files: u32,
    /// Held for as long as this process lives: two frameworks would fight over the units.
    _lock: fs::File,
}

impl Site {
    /// Looks at the host and makes the directories that all units share.
    pub(crate) fn open(config: &Config, context: &Context) -> Result<Arc<Self>, Fatal> {
        let catalog = Catalog::new(config).map_err(Fatal::config)?;
        let accounts = Accounts::open(config.uid_base)
            .map_err(|error| Fatal::temporary(format!("cannot read the system's users: {error}")))?;
        make_directories(&context.paths, &accounts)?;
        let lock = lock(&context.paths.run)?;
        let (cgroups, lacks) = open_cgroups(config);
        let boot_id = procfs::boot_id().map_err(|error| Fatal::config(format!("/proc must be mounted: {error}")))?;
        Ok(Arc::new(Self {
            catalog,
            accounts,
            cgroups,
            paths: context.paths.clone(),
            node: RwLock::new(context.node.clone()),
            lacks,
            boot_id,
            log_bytes_max: config.log_bytes_max,
            log_files: config.log_files,
            _lock: lock,
        }))
    }

    pub(crate) fn host(&self) -> Host {
        Host {
            cgroups: self.cgroups.layout().version().to_string(),
            controllers: self.cgroups.layout().controllers(),
            boot_id: self.boot_id.clone(),
            node: self.node().to_string(),
        }
    }

    /// What this node is called now.
    pub(crate) fn node(&self) -> Name {
        self.node.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The node has got this name.
    pub(crate) fn rename(&self, name: Name) {
        *self.node.write().unwrap_or_else(PoisonError::into_inner) = name;
    }

    pub(crate) fn notify_socket(&self) -> PathBuf {
        self.paths.run.join(NOTIFY_SOCKET)
    }

    /// Where the shim of a unit leaves its records.
    pub(crate) fn records(&self, unit: &str) -> PathBuf {
        self.paths.run.join("units").join(unit)
    }

    /// The log file of a unit.
    pub(crate) fn log(&self, unit: &str) -> PathBuf {
        self.paths.log.join(format!("{unit}.log"))
    }
}

fn make_directories(paths: &Paths, accounts: &Accounts) -> Result<(), Fatal> {
    let units = paths.run.join("units");
    let shim = accounts.shim();
    let plan: [(&Path, Account, u32); 5] = [
        (&paths.run, Account::ROOT, 0o755),
        (&units, Account::ROOT, 0o755),
        // Passed through by daemons on the way to their own.
        (&paths.state_root, Account::ROOT, 0o711),
        (&paths.state, Account::ROOT, 0o700),
        (&paths.log, shim, 0o750),
    ];
    for (path, account, mode) in plan {
        let ownership = Ownership { uid: account.uid, gid: account.gid, mode };
        // These may be links to another disk, unlike what is made below them, where units own directories.
        let made = fs::create_dir_all(path)
            .and_then(|()| fs::canonicalize(path))
            .and_then(|place| ensure_directory(&place, ownership));
        made.map_err(|error| Fatal::temporary(format!("cannot make the directory {}: {error}", path.display())))?;
    }
    Ok(())
}

fn lock(run: &Path) -> Result<fs::File, Fatal> {
    let path = run.join(LOCK);
    let open = || -> io::Result<fs::File> {
        let file = fs::File::options().create(true).truncate(false).write(true).open(&path)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(file)
    };
    open().map_err(|error| {
        let advice = "another framework of this node runs, or is just ending";
        Fatal::temporary(format!("cannot lock {}: {error}: {advice}", path.display()))
    })
}

/// A host without usable control groups runs units all the same, and says what is missing.
fn open_cgroups(config: &Config) -> (Cgroups, Option<String>) {
    let opened = Cgroups::open(&config.cgroup_root, OWN_GROUP).and_then(|cgroups| {
        cgroups.adopt_self(OWN_GROUP)?;
        Ok(cgroups)
    });
    let (cgroups, missing) = match opened {
        Ok(cgroups) => {
            let present = cgroups.layout().controllers();
            let missing: Vec<_> =
                ["memory", "cpu", "pids"].into_iter().filter(|name| !present.iter().any(|has| has == name)).collect();
            let reason = format!(
                "this host has no control group controller for {}: such limits are not enforced",
                missing.join(", ")
            );
            (cgroups, (!missing.is_empty()).then_some(reason))
        }
        Err(error) => {
            let reason = format!("control groups cannot be used ({}): no limits are enforced", chain(&error));
            (Cgroups::none(), Some(reason))
        }
    };
    if let Some(reason) = &missing {
        tracing::warn!(reason, "control groups");
    }
    (cgroups, missing)
}
