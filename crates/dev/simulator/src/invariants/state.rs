//! Once nothing disturbs any more, all have the same state: those that began with an image, too; and what it claims holds.

use crate::world::World;

pub(super) fn all_are_equal(world: &World) -> Result<(), String> {
    let image = |node: usize| world.nodes[node].state.image().map(acp_core_cdb::Image::encode);
    let first = image(0).ok_or("nothing was ever founded")?;
    for node in &world.nodes {
        node.state.verify()?;
        if image(node.number).as_ref() != Some(&first) {
            let (own, other) = (node.state.index(), world.nodes[0].state.index());
            return Err(format!("{} is at {own}, 0 at {other}, and they are not the same", node.number));
        }
    }
    Ok(())
}
