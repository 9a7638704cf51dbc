//! What is looked after from time to time, because nothing tells when somebody removes it: the sockets that units listen to.
//!
//! A socket whose name was removed cannot get it back: the unit is started again with a new one. Guests are no daemon's
//! children, so that costs them nothing.

use acp_core_supervise::Input;
use acp_wire_model::unit::UnitState;

use crate::{
    catalog::{OWN_GROUP, UnitName},
    prepare::place_socket,
    service::Service,
    template::Pass,
    unit::Unit,
};

impl Service {
    /// Has every unit started again that nobody can reach any more.
    pub(crate) fn keep_reachable(&mut self) {
        let lost: Vec<(UnitName, Vec<String>)> = self
            .units
            .values()
            .filter(|unit| unit.machine.state() == UnitState::Ready)
            .map(|unit| (unit.name.clone(), self.lost_sockets(unit)))
            .filter(|(_name, sockets)| !sockets.is_empty())
            .collect();
        for (name, sockets) in lost {
            tracing::error!(unit = %name, ?sockets, "somebody removed a unit's sockets: it is started again with new ones");
            if let Some(unit) = self.units.get_mut(&name) {
                unit.listeners.retain(|socket, _listener| !sockets.contains(socket));
            }
            self.feed(&name, Input::Restart);
        }
    }

    fn lost_sockets(&self, unit: &Unit) -> Vec<String> {
        let listening = unit.template.sockets.iter().filter(|socket| socket.pass == Pass::Listen);
        let is_lost = |socket: &&crate::template::Socket| {
            let place = place_socket(&self.site, unit.account, unit.name.instance.as_deref(), socket);
            place.is_ok_and(|(path, _ownership)| !path.exists())
        };
        listening.filter(is_lost).map(|socket| socket.name.clone()).collect()
    }

    /// Whether this framework itself can still be reached.
    pub(crate) fn is_reachable(&self) -> bool {
        self.site.paths.run.join(format!("{OWN_GROUP}.sock")).exists()
    }
}
