//! Which file lies above which.

use std::collections::{BTreeMap, BTreeSet};

use acp_base::ByteSize;
use acp_wire_model::image::DiskFormat;

use crate::Place;

/// The longest chain, counted in files. Each layer costs a lookup per cluster read and a descriptor per start.
pub const CHAIN_LAYERS_MAX: usize = 16;

/// What is known of one file of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The layout, by the file's name.
    pub format: DiskFormat,
    /// Size of the disk in bytes.
    pub virtual_size: ByteSize,
    /// What lies directly below.
    pub backing: Option<(Place, DiskFormat)>,
    /// Why the file itself cannot be used, in a sentence; empty when it can.
    pub problem: String,
}

/// The files of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inventory(BTreeMap<Place, Facts>);

/// A volume and all that lies below it, from the top down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain(pub Vec<(Place, DiskFormat)>);

/// Why a file cannot be used or changed. Nothing changed; a retry helps only after the pool's files changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// The file is not there.
    #[error("there is no {0} in this pool")]
    Missing(Place),
    /// A file further down is not there.
    #[error("{above} cannot be used: the {below} it is based on is missing")]
    BackingMissing {
        /// The file with the reference.
        above: Place,
        /// What it refers to.
        below: Place,
    },
    /// A file of the chain cannot be used.
    #[error("{place} cannot be used: {problem}")]
    Unusable {
        /// The file.
        place: Place,
        /// Why.
        problem: String,
    },
    /// The file below has another layout than the header above says.
    #[error("{above} cannot be used: the {below} it is based on has another format than its header says")]
    BackingFormat {
        /// The file with the reference.
        above: Place,
        /// What it refers to.
        below: Place,
    },
    /// The chain comes back to a file.
    #[error("{0} is based on itself")]
    Loop(Place),
    /// The chain is too long.
    #[error("the chain of linked clones below {0} is longer than {CHAIN_LAYERS_MAX} files: make a full clone instead")]
    TooLong(Place),
    /// Others lie above it.
    #[error("{place} is the base of {}: delete {} first", list(above), them(above))]
    HasClones {
        /// The file.
        place: Place,
        /// The files directly above it.
        above: Vec<Place>,
    },
}

fn list(places: &[Place]) -> String {
    let names: Vec<_> = places.iter().map(ToString::to_string).collect();
    names.join(", ")
}

fn them(places: &[Place]) -> &'static str {
    if places.len() == 1 { "it" } else { "them" }
}

impl Inventory {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a file; answers what was known of one of the same place before.
    pub fn insert(&mut self, place: Place, facts: Facts) -> Option<Facts> {
        self.0.insert(place, facts)
    }

    /// What is known of a file.
    pub fn get(&self, place: &Place) -> Option<&Facts> {
        self.0.get(place)
    }

    /// Every file in the order of places.
    pub fn iter(&self) -> impl Iterator<Item = (&Place, &Facts)> {
        self.0.iter()
    }

    /// The files that lie directly above this one.
    pub fn above(&self, place: &Place) -> Vec<Place> {
        let backed = |facts: &Facts| facts.backing.as_ref().is_some_and(|(below, _)| below == place);
        self.0.iter().filter(|(_, facts)| backed(facts)).map(|(above, _)| above.clone()).collect()
    }

    /// The chain from this file down, each file usable.
    pub fn chain(&self, top: &Place) -> Result<Chain, ChainError> {
        let mut facts = self.usable(top)?;
        let mut place = top;
        let mut seen = BTreeSet::from([top]);
        let mut layers = vec![(top.clone(), facts.format)];
        while let Some((below, format)) = &facts.backing {
            if !seen.insert(below) {
                return Err(ChainError::Loop(below.clone()));
            }
            if layers.len() == CHAIN_LAYERS_MAX {
                return Err(ChainError::TooLong(top.clone()));
            }
            facts = self.below(place, below, *format)?;
            layers.push((below.clone(), *format));
            place = below;
        }
        Ok(Chain(layers))
    }

    /// Whether this file may be opened for writing or changed: nothing may lie above it, or the clones would break.
    pub fn check_write(&self, place: &Place) -> Result<Chain, ChainError> {
        self.check_remove(place)?;
        self.chain(place)
    }

    /// Whether this file may be removed: it need not be usable, but nothing may lie above it.
    pub fn check_remove(&self, place: &Place) -> Result<(), ChainError> {
        let above = self.above(place);
        if above.is_empty() { Ok(()) } else { Err(ChainError::HasClones { place: place.clone(), above }) }
    }

    /// Whether another layer may lie above this file.
    pub fn check_layer_above(&self, place: &Place) -> Result<&Facts, ChainError> {
        let chain = self.chain(place)?;
        if chain.0.len() >= CHAIN_LAYERS_MAX {
            return Err(ChainError::TooLong(place.clone()));
        }
        self.usable(place)
    }

    fn usable(&self, place: &Place) -> Result<&Facts, ChainError> {
        let facts = self.0.get(place).ok_or_else(|| ChainError::Missing(place.clone()))?;
        if facts.problem.is_empty() {
            return Ok(facts);
        }
        Err(ChainError::Unusable { place: place.clone(), problem: facts.problem.clone() })
    }

    fn below(&self, above: &Place, below: &Place, format: DiskFormat) -> Result<&Facts, ChainError> {
        match self.usable(below) {
            Ok(facts) if facts.format == format => Ok(facts),
            Ok(_other) => Err(ChainError::BackingFormat { above: above.clone(), below: below.clone() }),
            Err(ChainError::Missing(_)) => {
                Err(ChainError::BackingMissing { above: above.clone(), below: below.clone() })
            }
            Err(other) => Err(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn volume(name: &str) -> Place {
        Place::Volume(name.parse().expect("a name"))
    }

    fn facts(backing: Option<&str>) -> Facts {
        let backing = backing.map(|name| (volume(name), DiskFormat::Qcow2));
        Facts { format: DiskFormat::Qcow2, virtual_size: ByteSize::mib(1), backing, problem: String::new() }
    }

    fn inventory(files: &[(&str, Option<&str>)]) -> Inventory {
        let mut inventory = Inventory::new();
        for (name, backing) in files {
            inventory.insert(volume(name), facts(*backing));
        }
        inventory
    }

    #[test]
    fn a_chain_goes_from_the_top_down() {
        let files = inventory(&[("a", Some("b")), ("b", Some("c")), ("c", None)]);
        let names: Vec<_> = files.chain(&volume("a")).expect("a chain").0.into_iter().map(|layer| layer.0).collect();
        assert_eq!(names, [volume("a"), volume("b"), volume("c")]);
        assert_eq!(files.check_write(&volume("a")).map(|chain| chain.0.len()), Ok(3));
    }

    #[test]
    fn what_lies_below_others_is_neither_written_nor_removed() {
        let files = inventory(&[("a", Some("c")), ("b", Some("c")), ("c", None)]);
        let error = ChainError::HasClones { place: volume("c"), above: vec![volume("a"), volume("b")] };
        assert_eq!(files.check_write(&volume("c")), Err(error.clone()));
        assert_eq!(files.check_remove(&volume("c")), Err(error.clone()));
        assert_eq!(error.to_string(), "volume \"c\" is the base of volume \"a\", volume \"b\": delete them first");
        assert_eq!(files.check_remove(&volume("a")), Ok(()));
    }

    #[test]
    fn broken_chains_are_refused_with_the_broken_link() {
        let mut files = inventory(&[("a", Some("b")), ("b", Some("gone")), ("x", Some("y")), ("y", Some("x"))]);
        let missing = ChainError::BackingMissing { above: volume("b"), below: volume("gone") };
        assert_eq!(files.chain(&volume("a")), Err(missing));
        assert_eq!(files.chain(&volume("x")), Err(ChainError::Loop(volume("x"))));
        assert_eq!(files.chain(&volume("none")), Err(ChainError::Missing(volume("none"))));
        files.insert(volume("gone"), Facts { format: DiskFormat::Raw, ..facts(None) });
        let format = ChainError::BackingFormat { above: volume("b"), below: volume("gone") };
        assert_eq!(files.chain(&volume("a")), Err(format));
        files.insert(volume("gone"), Facts { problem: "it is cut off".into(), ..facts(None) });
        let unusable = ChainError::Unusable { place: volume("gone"), problem: "it is cut off".into() };
        assert_eq!(files.chain(&volume("a")), Err(unusable));
    }

    #[test]
    fn a_chain_has_a_last_layer() {
        let names: Vec<String> = (0..=CHAIN_LAYERS_MAX).map(|index| format!("v{index}")).collect();
        let mut files = Inventory::new();
        for (index, name) in names.iter().enumerate() {
            files.insert(volume(name), facts(index.checked_sub(1).map(|below| names[below].as_str())));
        }
        let last = volume(&names[CHAIN_LAYERS_MAX - 1]);
        assert_eq!(files.chain(&last).map(|chain| chain.0.len()), Ok(CHAIN_LAYERS_MAX));
        assert_eq!(files.check_layer_above(&last), Err(ChainError::TooLong(last.clone())));
        let above = volume(&names[CHAIN_LAYERS_MAX]);
        assert_eq!(files.chain(&above), Err(ChainError::TooLong(above.clone())));
        assert!(files.check_layer_above(&volume(&names[CHAIN_LAYERS_MAX - 2])).is_ok());
    }

    proptest::proptest! {
        /// Any graph of references: every chain ends, is bounded and has each file once.
        #[test]
        fn every_chain_ends(links in proptest::collection::vec(proptest::option::of(0_usize..24), 24)) {
            let names: Vec<String> = (0..links.len()).map(|index| format!("v{index}")).collect();
            let mut files = Inventory::new();
            for (name, link) in names.iter().zip(&links) {
                files.insert(volume(name), facts(link.map(|below| names[below].as_str())));
            }
            for name in &names {
                if let Ok(Chain(layers)) = files.chain(&volume(name)) {
                    let distinct: BTreeSet<_> = layers.iter().map(|layer| &layer.0).collect();
                    proptest::prop_assert_eq!(distinct.len(), layers.len());
                    proptest::prop_assert!(layers.len() <= CHAIN_LAYERS_MAX);
                }
            }
        }
    }
}
