//! Nodes and leaders under virtual time: messages are lost, late, doubled and out of order; leaders change and do not know it;
//! hypervisors stand still or begin anew; nodes are suspended; clocks begin anywhere. An invariant a file.

mod clock;
mod exclusive;
mod leader;
mod node;
mod served;
mod terms;
mod world;
