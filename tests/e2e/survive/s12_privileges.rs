//! S12: who may do and read what. The tables here are those of docs/threat-model.md, number by number.

mod calls;
mod files;
mod processes;
mod secrets;

use crate::harness::Case;

/// The cases of this line.
pub(crate) const CASES: &[Case] = &[
    Case { name: "survive::s12_every_process_has_its_user_and_nothing_more", run: processes::every_process },
    Case { name: "survive::s12_every_file_has_its_owner_and_mode", run: files::every_file },
    Case { name: "survive::s12_others_may_not_call", run: calls::others },
    Case { name: "survive::s12_a_password_is_in_no_log_command_line_or_record", run: secrets::password },
];

/// The first of the numbers that the framework uses where the distribution has no users for ACP: the group's.
const BASE: u32 = 61_000;
const SHIM: u32 = BASE + 1;
const CLUSTER: u32 = BASE + 2;
const STORAGE: u32 = BASE + 3;
const NETWORK: u32 = BASE + 4;
const HYPERVISOR: u32 = BASE + 5;
const DNSMASQ: u32 = BASE + 6;
const HUB: u32 = BASE + 8;
const AGENT: u32 = BASE + 9;
const API: u32 = BASE + 10;
/// The first user of a system.
const SYSTEMS: u32 = BASE + 1_000;
