//! The checker against histories that are known to be linearizable, ones that are known not to be, and an exhaustive search.

mod made;
mod small;
mod whole;
