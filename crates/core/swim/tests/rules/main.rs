//! The rules one by one: the verdict's table, the machine around it, rings of a domain, what a ring refuses.

mod datagrams;
mod grid;
mod machine;
mod rings;
