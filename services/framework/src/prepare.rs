//! Everything a unit's process needs before it can be started: directories, devices, sockets, files, environment.

use std::{
    collections::BTreeMap,
    fs, io,
    os::{
        fd::OwnedFd,
        unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
};

use acp_io_failpoint::point;
use acp_io_unit::{Ownership, bind, ensure_directory, launch::Launch};
use rustix::fs::OFlags;

use crate::{
    account::Account,
    devices::Devices,
    error::StartError,
    places::Places,
    site::Site,
    template::{self, Log, Pass, Readiness, Socket, Template},
    unit::Unit,
};

/// Where programs without a path are looked for.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Variables of the framework's own environment that units inherit, if they are set.
const INHERITED: [&str; 2] = ["ACP_LOG", "ACP_LOG_FORMAT"];

/// A process that can be started.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) launch: Launch,
    /// In the order of their numbers.
    pub(crate) descriptors: Vec<OwnedFd>,
}

/// Prepares a unit's process.
pub(crate) fn prepare(site: &Site, devices: &mut Devices, unit: &mut Unit) -> Result<Prepared, StartError> {
    if unit.given.len() < unit.parameters.fds.len() {
        return Err(StartError::DescriptorsLost);
    }
    let name = unit.name.to_string();
    let records = site.records(&name);
    let shim = site.accounts.shim();
    ensure(&records, Ownership { uid: shim.uid, gid: shim.gid, mode: 0o755 })?;
    make_directories(site, unit)?;
    point("framework.start.directories-made")?;
    let groups = groups(site, devices, &unit.template)?;
    bind_listeners(site, unit)?;
    point("framework.start.sockets-bound")?;
    let (names, descriptors) = descriptors(site, unit)?;
    point("framework.start.descriptors-opened")?;
    let listeners = unit.listeners.len();
    let places = Places { paths: &site.paths, instance: unit.name.instance.as_deref(), descriptors: &names };
    let fill = |text: &String| places.fill(text).map_err(StartError::Template);
    let template = &unit.template;
    let launch = Launch {
        program: fill(&template.program)?,
        arguments: template.arguments.iter().chain(&unit.parameters.arguments).map(fill).collect::<Result<_, _>>()?,
        environment: environment(site, unit, &names[..listeners]).into_iter().collect(),
        unit: name.clone(),
        uid: unit.account.uid,
        gid: unit.account.gid,
        groups,
        capabilities: template.capabilities.iter().filter_map(|capability| capability.parse().ok()).collect(),
        cgroups: unit.group.folders(),
        open_files_max: template.open_files_max,
        descriptors: descriptors.len(),
        listeners,
        records,
        log: site.log(&name),
        log_bytes_max: site.log_bytes_max,
        log_files: site.log_files,
        shim_uid: shim.uid,
        shim_gid: shim.gid,
    };
    Ok(Prepared { launch, descriptors })
}

/// Binds those of the unit's listening sockets that it does not have.
pub(crate) fn bind_listeners(site: &Site, unit: &mut Unit) -> Result<(), StartError> {
    make_socket_directories(site, unit)?;
    for socket in unit.template.sockets.iter().filter(|socket| socket.pass == Pass::Listen) {
        if !unit.listeners.contains_key(&socket.name) {
            let (path, ownership) = place_socket(site, unit.account, unit.name.instance.as_deref(), socket)?;
            unit.listeners.insert(socket.name.clone(), bind(&path, ownership)?);
        }
    }
    Ok(())
}

/// The path of a socket, who owns it and who may use it.
pub(crate) fn place_socket(
    site: &Site,
    own: Account,
    instance: Option<&str>,
    socket: &Socket,
) -> Result<(PathBuf, Ownership), StartError> {
    let places = Places { paths: &site.paths, instance, descriptors: &[] };
    let path = places.path(&socket.path).map_err(StartError::Template)?;
    let uid =
        if socket.owner == "self" { Some(own.uid) } else { site.accounts.named(&socket.owner).map(|owner| owner.uid) };
    let gid = if socket.group == "self" { Some(own.gid) } else { site.accounts.group_named(&socket.group) };
    // The catalog has checked all three.
    let mode = template::mode(&socket.mode).map_err(StartError::Template)?;
    match (uid, gid) {
        (Some(uid), Some(gid)) => Ok((path, Ownership { uid, gid, mode })),
        _ => Err(StartError::Template(format!("socket {}: unknown owner or group", socket.name))),
    }
}

fn ensure(path: &Path, ownership: Ownership) -> Result<(), StartError> {
    ensure_directory(path, ownership).map_err(StartError::path("make the directory", path))
}

fn make_directories(site: &Site, unit: &Unit) -> Result<(), StartError> {
    make_directories_if(site, unit, |_path| true)
}

/// Sockets are bound before anything else is done for a unit.
fn make_socket_directories(site: &Site, unit: &Unit) -> Result<(), StartError> {
    make_directories_if(site, unit, |path| path.starts_with(&site.paths.run))
}

fn make_directories_if(site: &Site, unit: &Unit, wanted: impl Fn(&Path) -> bool) -> Result<(), StartError> {
    let places = Places { paths: &site.paths, instance: unit.name.instance.as_deref(), descriptors: &[] };
    for directory in &unit.template.directories {
        let path = places.path(&directory.path).map_err(StartError::Template)?;
        let owner = if directory.owner == "self" { Some(unit.account) } else { site.accounts.named(&directory.owner) };
        let owner =
            owner.ok_or_else(|| StartError::Template(format!("directory {}: unknown owner", path.display())))?;
        let mode = template::mode(&directory.mode).map_err(StartError::Template)?;
        if wanted(&path) {
            ensure(&path, Ownership { uid: owner.uid, gid: owner.gid, mode })?;
        }
    }
    Ok(())
}

fn groups(site: &Site, devices: &mut Devices, template: &Template) -> Result<Vec<u32>, StartError> {
    let mut groups: Vec<u32> = template.groups.iter().filter_map(|name| site.accounts.group_named(name)).collect();
    for device in &template.devices {
        groups.extend(devices.give(Path::new(&device.path), device.optional)?);
    }
    groups.sort_unstable();
    groups.dedup();
    Ok(groups)
}

/// Every descriptor of the new process with its name: listening sockets first, then named ones, files, and what was given.
fn descriptors(site: &Site, unit: &Unit) -> Result<(Vec<String>, Vec<OwnedFd>), StartError> {
    let (mut names, mut fds) = (Vec::new(), Vec::new());
    let again =
        |fd: &OwnedFd| fd.try_clone().map_err(StartError::path("duplicate a descriptor of", &unit.template.program));
    for socket in unit.template.sockets.iter().filter(|socket| socket.pass == Pass::Listen) {
        if let Some(listener) = unit.listeners.get(&socket.name) {
            names.push(socket.name.clone());
            fds.push(again(listener)?);
        }
    }
    for socket in unit.template.sockets.iter().filter(|socket| socket.pass == Pass::Named) {
        let (path, ownership) = place_socket(site, unit.account, unit.name.instance.as_deref(), socket)?;
        names.push(socket.name.clone());
        fds.push(bind(&path, ownership)?);
    }
    for log in &unit.template.logs {
        names.push(log.name.clone());
        fds.push(open_log(site, unit, log)?);
    }
    for (name, fd) in unit.parameters.fds.iter().zip(&unit.given) {
        names.push(name.clone());
        fds.push(again(fd)?);
    }
    Ok((names, fds))
}

/// Opens a file for appending that belongs to the unit's user. The directory may be the user's own, so nothing that it could
/// have put there is followed or given away: no symbolic link, and no file that has another name elsewhere.
fn open_log(site: &Site, unit: &Unit, log: &Log) -> Result<OwnedFd, StartError> {
    let places = Places { paths: &site.paths, instance: unit.name.instance.as_deref(), descriptors: &[] };
    let path = places.path(&log.path).map_err(StartError::Template)?;
    let open = || -> io::Result<OwnedFd> {
        let flags = i32::try_from((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits()).map_err(io::Error::other)?;
        let mut options = fs::File::options();
        let file = options.append(true).create(true).mode(0o600).custom_flags(flags).open(&path)?;
        let present = file.metadata()?;
        if !present.is_file() || present.nlink() != 1 {
            return Err(io::Error::other("it is no plain file of its own"));
        }
        std::os::unix::fs::fchown(&file, Some(unit.account.uid), Some(unit.account.gid))?;
        rustix::fs::fcntl_setfl(&file, OFlags::APPEND)?;
        Ok(file.into())
    };
    open().map_err(StartError::path("open", path))
}

fn environment(site: &Site, unit: &Unit, listeners: &[String]) -> BTreeMap<String, String> {
    let path = |path: &Path| path.display().to_string();
    let mut all = BTreeMap::from([
        ("PATH".to_owned(), PATH.to_owned()),
        ("ACP_NODE".to_owned(), unit.node.to_string()),
        ("ACP_RUN_DIR".to_owned(), path(&site.paths.run)),
        ("ACP_STATE_DIR".to_owned(), path(&site.paths.state_root)),
        ("ACP_LOG_DIR".to_owned(), path(&site.paths.log)),
        ("ACP_CONFIG_DIR".to_owned(), path(&site.paths.config)),
        ("ACP_BIN_DIR".to_owned(), path(&site.paths.bin)),
        ("ACP_IDENTITIES".to_owned(), site.accounts.identities()),
    ]);
    all.extend(INHERITED.into_iter().filter_map(|name| Some((name.to_owned(), std::env::var(name).ok()?))));
    all.extend(unit.name.instance.iter().map(|instance| ("ACP_INSTANCE".to_owned(), instance.clone())));
    if unit.template.readiness == Readiness::Notify || unit.template.watchdog_s.is_some() {
        all.insert("NOTIFY_SOCKET".to_owned(), path(&site.notify_socket()));
    }
    if let Some(silence) = unit.template.watchdog() {
        all.insert("WATCHDOG_USEC".to_owned(), silence.as_micros().to_string());
    }
    if !listeners.is_empty() {
        all.insert("LISTEN_FDNAMES".to_owned(), listeners.join(":"));
    }
    all.extend(unit.parameters.environment.clone());
    all
}

/// Removes the listening sockets of a unit that shall not run: who calls it is told so at once.
pub(crate) fn close_listeners(site: &Site, unit: &mut Unit) -> Result<(), StartError> {
    let places = Places { paths: &site.paths, instance: unit.name.instance.as_deref(), descriptors: &[] };
    let listening = unit.template.sockets.iter().filter(|socket| socket.pass == Pass::Listen);
    for path in listening.filter_map(|socket| places.path(&socket.path).ok()) {
        gone(fs::remove_file(&path)).map_err(StartError::path("remove", &path))?;
    }
    unit.listeners.clear();
    Ok(())
}

/// Removes what was made for an instance in the run directory, its shim's records and its control group. What is gone
/// already is no error.
pub(crate) fn clean(site: &Site, unit: &Unit) -> Result<(), StartError> {
    let places = Places { paths: &site.paths, instance: unit.name.instance.as_deref(), descriptors: &[] };
    let sockets = unit.template.sockets.iter().filter_map(|socket| places.path(&socket.path).ok());
    for path in sockets {
        gone(fs::remove_file(&path)).map_err(StartError::path("remove", &path))?;
    }
    point("framework.remove.sockets-removed")?;
    let of_instance = unit.template.directories.iter().rev().filter(|directory| directory.path.contains("{instance}"));
    let paths = of_instance.filter_map(|directory| places.path(&directory.path).ok());
    for path in paths.filter(|path| path.starts_with(&site.paths.run)) {
        match gone(fs::remove_dir(&path)) {
            // Another unit of the same instance may still use it.
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => {}
            removed => removed.map_err(StartError::path("remove", &path))?,
        }
    }
    point("framework.remove.directories-removed")?;
    let records = site.records(&unit.name.to_string());
    gone(fs::remove_dir_all(&records)).map_err(StartError::path("remove", &records))?;
    Ok(unit.group.remove()?)
}

fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
