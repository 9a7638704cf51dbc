//! Rings and the hub's verdicts on virtual time: loss, silence, standstill, partitions, crashes, restarts. One invariant a file.
//!
//! Each case runs for a few seeds; `ACP_SIM_SEEDS` says for how many times as many. A failure names its seed.

mod bursts;
mod detect;
mod heal;
mod hub;
mod lossy;
mod network;
mod node;
mod quiet;
mod restart;
mod seeds;
mod standstill;
mod strangers;
mod world;
