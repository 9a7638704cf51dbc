//! The failpoints of a node: which an operation passes, and how one is made to act.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::world::World;

/// How a point acts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// What was just done is answered as if it had failed.
    Error,
    /// The process is gone.
    Kill,
}

impl Mode {
    const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Kill => "kill",
        }
    }
}

/// The directory that the daemons look into, for as long as this lives: without it a point does nothing.
pub(super) struct Failpoints(PathBuf);

impl Failpoints {
    /// Makes the directory; every daemon, whoever it runs as, can use it.
    pub(super) fn open(world: &World) -> Result<Self> {
        let directory = world.node.layout().run().join("failpoints");
        fs::create_dir_all(&directory).context("cannot make the directory of failpoints")?;
        open_to_all(&directory, 0o777)?;
        Ok(Self(directory))
    }

    /// Every point that is passed from now on is written down.
    pub(super) fn trace(&self) -> Result<()> {
        let path = self.0.join("trace");
        fs::write(&path, "").context("cannot make the trace")?;
        open_to_all(&path, 0o666)
    }

    /// Ends the trace; answers the points that were passed, in the order of their first passing, and how often.
    pub(super) fn traced(&self) -> Result<Vec<(String, usize)>> {
        let path = self.0.join("trace");
        let text = fs::read_to_string(&path).context("cannot read the trace")?;
        fs::remove_file(&path)?;
        let mut points: Vec<(String, usize)> = Vec::new();
        for line in text.lines() {
            match points.iter_mut().find(|(point, _count)| point == line) {
                Some((_point, count)) => *count += 1,
                None => points.push((line.to_owned(), 1)),
            }
        }
        Ok(points)
    }

    /// Makes a point act once, when it is passed for the `pass`th time.
    pub(super) fn arm(&self, point: &str, mode: Mode, pass: usize) -> Result<()> {
        let path = self.0.join(point);
        let aside = self.0.join("order");
        fs::write(&aside, format!("{} {pass}", mode.word()))?;
        fs::rename(&aside, &path).with_context(|| format!("cannot arm {point}"))
    }

    /// Whether the point has acted.
    pub(super) fn has_fired(&self, point: &str) -> bool {
        self.0.join(format!("{point}.fired")).exists()
    }

    /// Takes an order back, acted upon or not.
    pub(super) fn disarm(&self, point: &str) -> Result<()> {
        for name in [point.to_owned(), format!("{point}.fired")] {
            match fs::remove_file(self.0.join(&name)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(error).with_context(|| format!("cannot disarm {name}"));
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }
}

impl Drop for Failpoints {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("the directory of failpoints stays: {error}");
        }
    }
}

fn open_to_all(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| format!("cannot open {} to all", path.display()))
}
