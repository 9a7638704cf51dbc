//! Points in a debug build.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use crate::Injected;

static DIR: OnceLock<PathBuf> = OnceLock::new();

pub(crate) fn watch(dir: PathBuf) {
    // The first call counts.
    drop(DIR.set(dir));
}

pub(crate) fn point(name: &'static str) -> Result<(), Injected> {
    match DIR.get() {
        Some(dir) => look(dir, name),
        None => Ok(()),
    }
}

fn look(dir: &Path, name: &'static str) -> Result<(), Injected> {
    if let Ok(mut trace) = fs::File::options().append(true).open(dir.join("trace")) {
        // A line of this length is written whole; a trace that cannot be written shows as one that lacks lines.
        drop(trace.write_all(format!("{name}\n").as_bytes()));
    }
    let fired = dir.join(format!("{name}.fired"));
    // Whoever renames it has it.
    if fs::rename(dir.join(name), &fired).is_err() {
        return Ok(());
    }
    let order = fs::read_to_string(&fired).unwrap_or_default();
    let (action, passes) = order.trim().split_once(' ').unwrap_or((order.trim(), "1"));
    if let Some(left) = passes.parse::<u32>().ok().filter(|passes| *passes > 1) {
        let next = dir.join(format!("{name}.next"));
        // An order that cannot be put back is one that does not fire, which the test sees.
        drop(fs::write(&next, format!("{action} {}", left - 1)).and_then(|()| fs::rename(&next, dir.join(name))));
        drop(fs::remove_file(&fired));
        return Ok(());
    }
    match action {
        "kill" => {
            let killed = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
            unreachable!("a process cannot fail to kill itself: {killed:?}")
        }
        _error => Err(Injected(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_fires_when_it_was_passed_as_often_as_asked() {
        let dir = tempfile::tempdir().expect("a directory");
        fs::write(dir.path().join("a.b.c"), "error 3").expect("written");
        look(dir.path(), "a.b.c").expect("the first time");
        look(dir.path(), "a.b.c").expect("the second time");
        assert!(!dir.path().join("a.b.c.fired").exists());
        look(dir.path(), "a.b.c").expect_err("the third time");
        look(dir.path(), "a.b.c").expect("only once");
        assert!(dir.path().join("a.b.c.fired").exists());
    }

    #[test]
    fn a_point_fires_once_and_leaves_a_trace() {
        let dir = tempfile::tempdir().expect("a directory");
        look(dir.path(), "a.b.c").expect("nothing was asked for");
        fs::write(dir.path().join("trace"), "").expect("written");
        fs::write(dir.path().join("a.b.c"), "error").expect("written");
        look(dir.path(), "a.b.other").expect("another point");
        let injected = look(dir.path(), "a.b.c").expect_err("asked for");
        assert_eq!(injected.to_string(), "failpoint a.b.c");
        look(dir.path(), "a.b.c").expect("only once");
        assert!(dir.path().join("a.b.c.fired").exists());
        let trace = fs::read_to_string(dir.path().join("trace")).expect("there");
        assert_eq!(trace, "a.b.other\na.b.c\na.b.c\n");
    }
}
