//! The order in which units start.

use std::collections::{BTreeMap, BTreeSet};

/// Why a set of units has no start order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// A unit needs one that does not exist.
    #[error("{unit} requires {missing}, which does not exist")]
    Unknown {
        /// The unit.
        unit: String,
        /// What it needs.
        missing: String,
    },
    /// Units need each other; the path begins and ends with the same unit.
    #[error("units require each other: {}", .0.join(" -> "))]
    Cycle(Vec<String>),
}

/// The units so that each comes after all that it requires; otherwise in the order of their names.
///
/// # Errors
/// When a requirement does not exist or requirements form a cycle.
pub fn start_order(requires: &BTreeMap<String, Vec<String>>) -> Result<Vec<String>, OrderError> {
    let mut walk = Walk { requires, done: BTreeSet::new(), path: Vec::new(), order: Vec::new() };
    for unit in requires.keys() {
        walk.visit(unit)?;
    }
    Ok(walk.order)
}

struct Walk<'a> {
    requires: &'a BTreeMap<String, Vec<String>>,
    done: BTreeSet<&'a str>,
    path: Vec<&'a str>,
    order: Vec<String>,
}

impl<'a> Walk<'a> {
    fn visit(&mut self, unit: &'a str) -> Result<(), OrderError> {
        if self.done.contains(unit) {
            return Ok(());
        }
        if let Some(start) = self.path.iter().position(|on_path| *on_path == unit) {
            let cycle = self.path[start..].iter().chain([&unit]).map(|name| (*name).to_owned()).collect();
            return Err(OrderError::Cycle(cycle));
        }
        self.path.push(unit);
        for needed in self.requires.get(unit).into_iter().flatten() {
            if !self.requires.contains_key(needed) {
                return Err(OrderError::Unknown { unit: unit.to_owned(), missing: needed.clone() });
            }
            self.visit(needed)?;
        }
        self.path.pop();
        self.done.insert(unit);
        self.order.push(unit.to_owned());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn graph(edges: &[(&str, &[&str])]) -> BTreeMap<String, Vec<String>> {
        edges.iter().map(|(unit, needs)| ((*unit).into(), needs.iter().map(|need| (*need).into()).collect())).collect()
    }

    #[test]
    fn a_unit_comes_after_what_it_requires() {
        let units = graph(&[
            ("cluster", &[]),
            ("hypervisor", &["storage", "network"]),
            ("network", &["cluster"]),
            ("storage", &["cluster"]),
        ]);
        assert_eq!(start_order(&units).expect("no cycle"), ["cluster", "storage", "network", "hypervisor"]);
    }

    #[test]
    fn a_cycle_is_refused_and_named() {
        let units = graph(&[("a", &["b"]), ("b", &["c"]), ("c", &["b"])]);
        let error = start_order(&units).expect_err("b and c form a cycle");
        assert_eq!(error.to_string(), "units require each other: b -> c -> b");
    }

    #[test]
    fn an_unknown_requirement_is_refused_and_named() {
        let error = start_order(&graph(&[("a", &["ghost"])])).expect_err("ghost does not exist");
        assert_eq!(error, OrderError::Unknown { unit: "a".into(), missing: "ghost".into() });
    }

    proptest! {
        #[test]
        fn any_graph_is_ordered_or_has_a_cycle(edges in prop::collection::vec((0_u8..8, 0_u8..8), 0..20)) {
            let mut units: BTreeMap<String, Vec<String>> = (0..8).map(|unit| (unit.to_string(), Vec::new())).collect();
            for (unit, need) in &edges {
                units.entry(unit.to_string()).or_default().push(need.to_string());
            }
            match start_order(&units) {
                Ok(order) => {
                    prop_assert_eq!(order.len(), 8);
                    for (unit, need) in edges {
                        let place = |name: u8| order.iter().position(|unit| *unit == name.to_string());
                        prop_assert!(place(need) < place(unit));
                    }
                }
                Err(OrderError::Cycle(path)) => {
                    prop_assert_eq!(path.first(), path.last());
                    for pair in path.windows(2) {
                        prop_assert!(units[&pair[0]].contains(&pair[1]));
                    }
                }
                Err(unknown @ OrderError::Unknown { .. }) => prop_assert!(false, "{}", unknown),
            }
        }
    }
}
