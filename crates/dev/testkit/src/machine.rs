//! A node in a virtual machine that can lose its power: QEMU under TCG with Debian's kernel and busybox, as they are on the
//! demo image, ACP's own programs, and a disk that survives.
//!
//! Killing QEMU loses exactly what the machine had not written to its disk: its page cache is its own memory, while what it
//! has written lies in the host's. Deliberately not here: a disk that loses what it has acknowledged without having been
//! asked to flush; that every acknowledgement follows a flush is seen by tracing system calls.
//!
//! **Invariant**: QEMU ends with the process that started it.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{cpio::Archive, ledger::Line};

/// ACP's programs in the machine.
const PROGRAMS: [&str; 8] = [
    "acp-shim",
    "acp-framework",
    "acp-hub",
    "acp-cluster",
    "acp-storage",
    "acp-storage-worker",
    "acp-hypervisor",
    "acp-dev-load",
];
/// Others that daemons run.
const TOOLS: [&str; 1] = ["/usr/bin/qemu-img"];
/// The machine's memory: kernel and daemons take about 150 MB.
const MEMORY_MIB: u32 = 512;
/// Nothing that takes an emulated processor long; a panic ends the machine.
const KERNEL: &str = "console=ttyS0 quiet panic=-1 nokaslr mitigations=off rdinit=/acp-init";
/// The disk with the node's state: twice the reserve that the storage service keeps free, and room for small disks.
const DATA_BYTES: u64 = 2 << 30;
/// Room on the disk of programs beside them: inodes, directories.
const SLACK_BYTES: u64 = 16 << 20;
/// Archives that follow each other in one file begin at such a multiple.
const ALIGNMENT: usize = 4;

/// A machine with its disks; off.
#[derive(Debug)]
pub struct Machine {
    dir: PathBuf,
}

impl Machine {
    /// Makes the machine's files in `dir`, with ACP's programs of `bin` and the kernel of the demo image.
    pub fn build(dir: &Path, bin: &Path, demo: &Path) -> Result<Self> {
        let machine = Self { dir: dir.to_owned() };
        fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
        machine.boot_files(demo)?;
        let bytes = machine.programs(bin)?;
        machine.disk("programs.img", bytes + SLACK_BYTES, Some("programs"))?;
        fs::remove_dir_all(dir.join("programs")).context("cannot remove the copied programs")?;
        machine.disk("data.img", DATA_BYTES, None)?;
        Ok(machine)
    }

    /// Switches it on. `life` counts its starts; `systems` is how many clients make systems, and with none the node has no
    /// hypervisor.
    pub fn boot(&self, life: u32, systems: u32) -> Result<Running> {
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL", "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-no-reboot"]);
        command.args(["-display", "none", "-machine", "q35", "-cpu", "max", "-accel", "tcg", "-smp", "1"]);
        command.arg("-m").arg(MEMORY_MIB.to_string());
        command.args(["-kernel", "vmlinuz", "-initrd", "initrd", "-append"]);
        command.arg(format!("{KERNEL} acp.life={life} acp.systems={systems}"));
        command.arg("-serial").arg("file:console").arg("-serial").arg(format!("file:{}", said(life)));
        command.args(["-drive", "file=programs.img,format=raw,if=none,id=programs,readonly=on"]);
        command.args(["-device", "nvme,drive=programs,serial=programs"]);
        // Without the host's own flushes, which would only take time: it is not the host that loses its power.
        command.args(["-drive", "file=data.img,format=raw,if=none,id=data,cache=unsafe"]);
        command.args(["-device", "nvme,drive=data,serial=data"]);
        command.current_dir(&self.dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit());
        let lines = File::create(self.dir.join(said(life))).context("cannot make the file of the serial port")?;
        drop(lines);
        let child = command.spawn().context("cannot start QEMU")?;
        let lines = File::open(self.dir.join(said(life))).context("cannot read the serial port")?;
        Ok(Running { child, lines, rest: Vec::new(), console: self.dir.join("console") })
    }

    /// Takes kernel and busybox from the demo image and adds our own first process.
    fn boot_files(&self, demo: &Path) -> Result<()> {
        let here =
            |program: &str, arguments: &[&str]| run(Command::new(program).args(arguments).current_dir(&self.dir));
        run(Command::new("qemu-img").args(["convert", "-O", "raw"]).arg(demo).arg(self.dir.join("demo.raw")))?;
        here("mcopy", &["-n", "-i", "demo.raw", "::vmlinuz", "::initrd", "."])?;
        fs::remove_file(self.dir.join("demo.raw"))?;
        let mut archive = Archive::new();
        archive.file("acp-init", 0o755, include_bytes!("../guest/init"));
        archive.file("framework.toml", 0o644, include_bytes!("../guest/framework.toml"));
        let path = self.dir.join("initrd");
        let mut initrd = fs::read(&path).context("the demo image has no initrd")?;
        initrd.resize(initrd.len().next_multiple_of(ALIGNMENT), 0);
        initrd.extend(archive.finish());
        fs::write(&path, initrd).context("cannot write the initrd")
    }

    /// Copies programs without their debug information, and the libraries they need; answers their size in bytes.
    fn programs(&self, from: &Path) -> Result<u64> {
        let (bin, lib) = (self.dir.join("programs/bin"), self.dir.join("programs/lib"));
        fs::create_dir_all(&bin)?;
        fs::create_dir_all(&lib)?;
        let programs = PROGRAMS.iter().map(|name| from.join(name)).chain(TOOLS.iter().map(PathBuf::from));
        let mut libraries = BTreeSet::new();
        for program in programs {
            ensure!(program.exists(), "{} is missing: `cargo xtask test` builds or installs it", program.display());
            run(Command::new("strip").arg("-o").arg(bin.join(name(&program)?)).arg(&program))?;
            libraries.extend(needed(&program)?);
        }
        for library in &libraries {
            fs::copy(library, lib.join(name(library)?))
                .with_context(|| format!("cannot copy {}", library.display()))?;
        }
        [bin, lib].iter().try_fold(0, |sum, folder| Ok(sum + size(folder)?))
    }

    /// Makes an ext4 disk, with the content of a folder if one is given.
    fn disk(&self, file: &str, bytes: u64, content: Option<&str>) -> Result<()> {
        File::create(self.dir.join(file))?.set_len(bytes)?;
        let mut command = Command::new("mke2fs");
        command.args(["-q", "-F", "-t", "ext4", "-E", "lazy_itable_init=1,nodiscard"]);
        if let Some(folder) = content {
            command.args(["-d", folder, "-O", "^has_journal"]);
        }
        run(command.arg(file).current_dir(&self.dir))
    }
}

/// The file that holds what was said in a life.
fn said(life: u32) -> String {
    format!("said-{life}")
}

fn run(command: &mut Command) -> Result<()> {
    let out = command.output().with_context(|| format!("cannot run {}", command.get_program().display()))?;
    if out.status.success() {
        return Ok(());
    }
    bail!("{} failed: {}", command.get_program().display(), String::from_utf8_lossy(&out.stderr).trim_end())
}

fn name(path: &Path) -> Result<&std::ffi::OsStr> {
    path.file_name().with_context(|| format!("{} names no file", path.display()))
}

/// The shared libraries of a program, the loader among them.
fn needed(program: &Path) -> Result<Vec<PathBuf>> {
    let out = Command::new("ldd").arg(program).output().context("cannot run ldd")?;
    ensure!(out.status.success(), "ldd does not know {}", program.display());
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    Ok(text.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect())
}

fn size(folder: &Path) -> Result<u64> {
    fs::read_dir(folder)?.try_fold(0, |sum, entry| Ok(sum + entry?.metadata()?.len()))
}

/// A machine that is on; its plug is pulled when this is dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    lines: File,
    /// The beginning of a line whose end was not read yet.
    rest: Vec<u8>,
    console: PathBuf,
}

impl Running {
    /// What was said since the last call.
    pub fn lines(&mut self) -> Result<Vec<Line>> {
        self.lines.read_to_end(&mut self.rest).context("cannot read the serial port")?;
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else { return Ok(Vec::new()) };
        let whole: Vec<u8> = self.rest.drain(..=end).collect();
        Ok(String::from_utf8_lossy(&whole).lines().filter_map(Line::parse).collect())
    }

    /// Whether QEMU has ended by itself.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait().context("QEMU cannot be looked at")?.is_some())
    }

    /// The last lines of the machine's console.
    pub fn console(&self) -> String {
        const END_BYTES: i64 = 2_000;
        let read = || -> std::io::Result<Vec<u8>> {
            let mut file = File::open(&self.console)?;
            if file.metadata()?.len() > END_BYTES.unsigned_abs() {
                file.seek(SeekFrom::End(-END_BYTES))?;
            }
            let mut end = Vec::new();
            file.read_to_end(&mut end)?;
            Ok(end)
        };
        String::from_utf8_lossy(&read().unwrap_or_default()).into_owned()
    }

    /// Pulls the plug; answers what was said until then.
    pub fn kill(mut self) -> Result<Vec<Line>> {
        self.child.kill().context("cannot kill QEMU")?;
        self.child.wait().context("QEMU does not end")?;
        self.lines()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait().map(drop)) {
            eprintln!("QEMU {} may still run: {error}", self.child.id());
        }
    }
}
