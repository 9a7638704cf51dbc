//! Images that are none, and one that reaches outside.

use std::{fs, process::Command};

use anyhow::{Context as _, Result, ensure};

use crate::world::World;

pub(crate) fn garbage(world: &World) -> Result<()> {
    let dir = world.scratch("garbage")?;
    let qcow2 = fs::read(&world.image)?;
    let cases: [(&str, Vec<u8>); 4] = [
        ("empty", Vec::new()),
        ("text", b"this is a letter, not a disk\n".to_vec()),
        ("picture", [b"\x89PNG\r\n\x1a\n".as_slice(), &[0; 1000]].concat()),
        ("cut", qcow2[..70_000].to_vec()),
    ];
    let before = (world.specs()?, world.node.json(&["image", "list"])?.as_array().map(Vec::len));
    for (name, content) in cases {
        let path = dir.join(name);
        fs::write(&path, content)?;
        let said = world.node.acpctl(&["image", "import", name, path.to_str().context("UTF-8")?, "--wait"])?;
        ensure!(said.status == 64 || said.status == 4, "{name} was not refused: {said:?}");
        ensure!(said.stderr.len() > 20, "{name}: it says only {:?}", said.stderr);
    }
    let after = (world.specs()?, world.node.json(&["image", "list"])?.as_array().map(Vec::len));
    ensure!(before == after, "refused imports changed something: {before:?} {after:?}");
    Ok(())
}

pub(crate) fn backing_outside(world: &World) -> Result<()> {
    let dir = world.scratch("backing")?;
    let secret = dir.join("secret");
    fs::write(&secret, vec![b's'; 1 << 20])?;
    let cases = [
        ("absolute", format!("backing_file={},backing_fmt=raw", secret.display())),
        ("upwards", "backing_file=../../../../etc/passwd,backing_fmt=raw".to_owned()),
        ("data", format!("data_file={},data_file_raw=on", dir.join("outside.raw").display())),
    ];
    let before = world.specs()?;
    for (name, options) in cases {
        let path = dir.join(format!("{name}.qcow2"));
        let mut command = Command::new("qemu-img");
        command.args(["create", "-q", "-u", "-f", "qcow2", "-o", &options]).arg(&path).arg("1M");
        ensure!(command.status()?.success(), "qemu-img cannot make {name}");
        let said = world.node.acpctl(&["image", "import", name, path.to_str().context("UTF-8")?, "--wait"])?;
        ensure!(said.status == 64 || said.status == 4, "{name} was not refused: {said:?}");
        let word = if name == "data" { "data" } else { "backing" };
        ensure!(said.stderr.contains(word), "{name}: it does not say why: {:?}", said.stderr);
    }
    ensure!(world.specs()? == before, "refused imports changed something");
    Ok(())
}
