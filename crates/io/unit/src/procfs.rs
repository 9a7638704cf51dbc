//! The few facts about processes that only `/proc` tells.

use std::{ffi::OsStr, fs, io, os::unix::ffi::OsStrExt as _, path::PathBuf};

/// When the process was started, in clock ticks since boot (field 22 of `/proc/PID/stat`, `proc_pid_stat(5)`). Together with
/// the id it names a process for as long as the host is up.
///
/// # Errors
/// When there is no such process.
pub fn start_time(pid: u32) -> io::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    parse_start_time(&stat)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, format!("/proc/{pid}/stat is not as documented")))
}

/// The command's name is in parentheses and may itself hold spaces and parentheses: fields count from the last one.
fn parse_start_time(stat: &str) -> Option<u64> {
    let (_command, fields) = stat.rsplit_once(") ")?;
    fields.split(' ').nth(22 - 3)?.parse().ok()
}

/// What the kernel appends to the path of a program whose file was removed, or replaced by a rename (`proc_pid_exe(5)`).
const REPLACED: &[u8] = b" (deleted)";

/// The path of a process's program, if another file has taken its place since the process started, or none.
pub fn replaced_program(pid: u32) -> Option<PathBuf> {
    let path = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    let was = path.as_os_str().as_bytes().strip_suffix(REPLACED)?;
    Some(PathBuf::from(OsStr::from_bytes(was)))
}

/// The id of this boot of the host.
///
/// # Errors
/// When `/proc` is not mounted.
pub fn boot_id() -> io::Result<String> {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").map(|id| id.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_times_are_read_whatever_the_command_is_called() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 1000 2 18446744073709551615";
        assert_eq!(parse_start_time(stat), Some(4711));
        assert_eq!(parse_start_time("7 (a"), None);
    }

    #[test]
    fn a_program_whose_file_was_replaced_is_told() {
        let directory = tempfile::tempdir().expect("a directory");
        let (path, next) = (directory.path().join("sleep"), directory.path().join("next"));
        fs::copy("/bin/sleep", &path).and_then(|_bytes| fs::copy(&path, &next)).expect("copied");
        let mut child = std::process::Command::new(&path).arg("100").spawn().expect("it runs");
        let before = replaced_program(child.id());
        fs::rename(&next, &path).expect("replaced");
        let after = replaced_program(child.id());
        child.kill().and_then(|()| child.wait()).expect("it is ours");
        assert_eq!((before, after), (None, Some(path)));
    }

    #[test]
    fn this_process_has_a_start_time_and_a_boot() {
        assert!(start_time(std::process::id()).expect("it runs") > 0);
        assert_eq!(boot_id().expect("proc is mounted").len(), 36);
    }

    #[test]
    fn a_start_time_is_one_of_the_numbers_after_the_name() {
        acp_dev_fuzz::check(env!("CARGO_MANIFEST_DIR"), "stat", |bytes| {
            let text = String::from_utf8_lossy(bytes);
            if let Some(time) = parse_start_time(&text) {
                let (_name, fields) = text.rsplit_once(") ").expect("a start time comes after a name");
                assert!(fields.split(' ').any(|field| field.parse() == Ok(time)), "{time}");
            }
        });
    }
}
